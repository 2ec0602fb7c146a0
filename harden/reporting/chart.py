"""The security curve as an SVG drawing whose colours are the page's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 14, 42


@dataclass(frozen=True)
class Chart:
    """Where things lie, in the units of the drawing."""

    line: str
    band: str
    dots: list[tuple[float, float, str]]
    checks: list[tuple[float, float, str]]
    across: list[tuple[float, str]]
    up: list[tuple[float, str]]
    eps: float
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def chart(curve: Mapping[str, Any], radius: float) -> Chart:
    """The drawing of `curve`, the part of that name in `evaluation.json`; `radius`: the threat's eps as a number."""
    points: Sequence[Mapping[str, Any]] = curve["points"]
    most = max(float(point["radius"]) for point in points) or 1.0

    def at(x: float, share: float) -> tuple[float, float]:
        return (
            round(LEFT + (WIDTH - LEFT - RIGHT) * x / most, 2),
            round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - share), 2),
        )

    places = [at(point["radius"], point["accuracy"]["value"]) for point in points]
    edge = [at(point["radius"], point["accuracy"]["high"]) for point in points]
    edge += [at(point["radius"], point["accuracy"]["low"]) for point in reversed(points)]
    told = [f"eps {point['radius']:.4g}: {point['accuracy']['value']:.1%}" for point in points]
    checks = [
        (*at(check["radius"], check["accuracy"]["value"]), f"{check['attack']}: {check['accuracy']['value']:.1%}")
        for check in curve.get("checks", ())
    ]
    return Chart(
        line=_path(places),
        band=_path(edge),
        dots=[(*place, text) for place, text in zip(places, told, strict=True)],
        checks=checks,
        across=[(at(most * step / 4, 0)[0], f"{most * step / 4:.3g}") for step in range(5)],
        up=[(at(0, step / 4)[1], f"{25 * step} %") for step in range(5)],
        eps=at(radius, 0)[0],
    )


def _path(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in places)
