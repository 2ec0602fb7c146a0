"""The two drawings of a review, as coordinates: rounds under one suite, and accuracy against eps of each round."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harden.reviewing.review import Review, Row

WIDTH, LINE, LEFT, RIGHT, TOP = 720, 34, 92, 150, 12
HEIGHT, FOOT = 280, 42
COLOURS = 6
"""How many lines can be told apart; older rounds than that are left out."""


@dataclass(frozen=True)
class Bar:
    """A round's interval: its name, where it lies, low, value and high across, and the figure in words."""

    name: str
    y: float
    low: float
    value: float
    high: float
    text: str
    mark: str


@dataclass(frozen=True)
class Ladder:
    """Rounds under the newest suite, one below the other."""

    bars: list[Bar]
    across: list[tuple[float, str]]
    height: int
    title: str
    width: int = WIDTH
    left: int = LEFT
    right: int = WIDTH - RIGHT


@dataclass(frozen=True)
class Curves:
    """Accuracy against eps: for each round its name, colour, points as a path and where its last point lies."""

    lines: list[tuple[str, int, str, float, float]]
    across: list[tuple[float, str]]
    up: list[tuple[float, str]]
    title: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = 52
    right: int = WIDTH - 80
    bottom: int = HEIGHT - FOOT
    top: int = TOP


def ladder(review: Review) -> Ladder | None:
    """The worst case of every round's model under the newest round's suite; None where one alone was measured."""
    rows = [(row, row.now) for row in review.rows if row.now is not None]
    if len(rows) < 2:
        return None
    low = max(0.0, min(now["low"] for _, now in rows) - 0.05)
    high = min(1.0, max(now["high"] for _, now in rows) + 0.03)

    def x(share: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (share - low) / (high - low), 1)

    bars = [_bar(row, now, place, x, review) for place, (row, now) in enumerate(rows)]
    ticks = [low + (high - low) * step / 4 for step in range(5)]
    first, last = rows[0][1], rows[-1][1]
    ends = " to ".join(f"{100 * one['value']:.1f} %" for one in (first, last))
    title = f"worst case from {ends} under the suite of {review.newest.round}"
    return Ladder(bars, [(x(tick), f"{100 * tick:.0f} %") for tick in ticks], TOP + LINE * len(rows) + 26, title)


def _bar(row: Row, now: Mapping[str, float], place: int, x: Any, review: Review) -> Bar:
    return Bar(
        row.round,
        TOP + LINE * place + LINE / 2,
        x(now["low"]),
        x(now["value"]),
        x(now["high"]),
        f"{100 * now['value']:.1f} %",
        "refused" if not row.promoted else "champion" if row.round == _champion(review) else "",
    )


def _champion(review: Review) -> str | None:
    return next((row.round for row in reversed(review.rows) if row.promoted), None)


def curves(review: Review) -> Curves | None:
    """The security curves of the rounds, each as its own round measured it."""
    chosen = review.curves[-COLOURS:]
    if not chosen:
        return None
    most = max(float(point["radius"]) for _, points in chosen for point in points) or 1.0
    drawing = Curves([], [], [], "")

    def at(point: Mapping[str, Any]) -> tuple[float, float]:
        across = drawing.left + (drawing.right - drawing.left) * float(point["radius"]) / most
        up = drawing.top + (drawing.bottom - drawing.top) * (1 - float(point["accuracy"]["value"]))
        return round(across, 1), round(up, 1)

    lines = []
    for number, (name, points) in enumerate(chosen):
        places = [at(point) for point in points]
        lines.append((name, number, " ".join(f"{x:g},{y:g}" for x, y in places), *places[-1]))
    across = [(drawing.left + (drawing.right - drawing.left) * step / 4, f"{most * step / 4:.3g}") for step in range(5)]
    up = [(drawing.top + (drawing.bottom - drawing.top) * (1 - step / 4), f"{25 * step} %") for step in range(5)]
    return Curves(lines, across, up, f"accuracy against eps of {_named(chosen)}")


def _named(chosen: Sequence[tuple[str, Any]]) -> str:
    return ", ".join(name for name, _ in chosen)
