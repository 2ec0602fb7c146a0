"""Rounds from left to right: accuracies with their intervals."""

from collections.abc import Sequence
from pathlib import Path

from harden.pictures.canvas import BLUE, GREY, INK, ORANGE, canvas, printable

Bar = tuple[float, float, float]
"""Low, value and high of an accuracy, shares of 1."""


def rounds(
    path: Path,
    *,
    names: Sequence[str],
    own: Sequence[Bar],
    now: Sequence[Bar | None],
    clean: Sequence[Bar],
    promoted: Sequence[bool],
    title: str,
) -> None:
    """Draws a column a round: clean accuracy, the worst case as the round measured itself, and under the newest suite.

    A round that was not promoted is drawn hollow. Raises ValueError where the sequences differ in length.
    """
    with canvas(path, title=title, size=(8.0, 4.2)) as figure:
        axes = figure.subplots()
        lines = (
            ("clean", clean, INK, -0.12),
            ("worst case, own round", own, BLUE, 0.0),
            ("worst case, newest suite", now, ORANGE, 0.12),
        )
        for label, bars, colour, shift in lines:
            places = [(at + shift, bar, held) for at, (bar, held) in enumerate(zip(bars, promoted, strict=True)) if bar]
            axes.plot(
                [at for at, _, _ in places], [100 * bar[1] for _, bar, _ in places], color=colour, lw=1.2, label=label
            )
            for at, bar, held in places:
                axes.vlines(at, 100 * bar[0], 100 * bar[2], color=colour, lw=2, alpha=0.5)
                axes.plot([at], [100 * bar[1]], marker="o", color=colour, markerfacecolor=colour if held else "white")
        axes.set_xticks(range(len(names)), [printable(name) for name in names])
        axes.set(ylabel="accuracy, %", xlim=(-0.5, len(names) - 0.5))
        axes.grid(visible=True, axis="y")
        figure.legend(loc="outside lower center", ncols=3)
        axes.text(
            1.0, 1.02, "hollow: refused by its gates", transform=axes.transAxes, ha="right", fontsize=8, color=GREY
        )
