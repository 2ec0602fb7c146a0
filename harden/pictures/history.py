"""Accuracy and loss over the epochs of a training."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from harden.pictures.canvas import BLUE, GREY, INK, ORANGE, canvas, printable

ACCURACIES: dict[str, tuple[str, dict[str, Any]]] = {  # key in a row -> what the legend says, how it is drawn
    "val_clean": ("clean, validation", {"color": BLUE, "lw": 2.0}),
    "val_clean_ema": ("clean, averaged weights", {"color": BLUE, "lw": 1.6, "ls": "--"}),
    "train_clean": ("clean, training", {"color": BLUE, "lw": 1.2, "ls": ":"}),
    "val_robust": ("attacked, validation", {"color": ORANGE, "lw": 2.0}),
    "val_robust_ema": ("attacked, averaged weights", {"color": ORANGE, "lw": 1.6, "ls": "--"}),
    "train_robust": ("attacked, training", {"color": ORANGE, "lw": 1.2, "ls": ":"}),
}
LOSS: dict[str, Any] = {"color": INK, "lw": 1.6}
MOST_EVENTS = 8
FEW_POINTS = 12  # up to here every point gets a dot; a single one would be invisible without


def curves(
    history: Sequence[Mapping[str, float]],
    path: Path,
    *,
    title: str,
    events: Sequence[tuple[float, str]] = (),
) -> None:
    """Draws accuracy and loss over the epochs.

    history: one row an epoch, with `epoch` (or else its place counts, from 1), `loss`, and those of
    `ACCURACIES` that were measured, as shares 0..1; other keys, and values that are not finite, are left out.
    events: (epoch, text), marked in both panels and told below; of more than `MOST_EVENTS` the first ones.
    """
    percent = [{key: 100 * row[key] for key in ACCURACIES if key in row} for row in history]
    epochs = [row.get("epoch", place) for place, row in enumerate(history, start=1)]
    with canvas(path, title=title, size=(9.0, 5.4)) as figure:
        accuracy, loss = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        for key, (label, style) in ACCURACIES.items():
            _line(accuracy, epochs, [row.get(key, math.nan) for row in percent], label + ": {:.1f} %", style)
        _line(loss, epochs, [row.get("loss", math.nan) for row in history], "training loss: {:.4g}", LOSS)
        accuracy.set(ylabel="accuracy, %", ylim=(0, 100))
        loss.set(ylabel="loss", xlabel="epoch", xlim=(0, 1.02 * max([1.0, *epochs])))
        loss.xaxis.set_major_locator(MaxNLocator(integer=True))
        for axes in (accuracy, loss):
            axes.grid(visible=True)
            _legend(axes)
        _events(figure, [accuracy, loss], events)


def _line(axes: Axes, epochs: Sequence[float], values: Sequence[float], label: str, style: Mapping[str, Any]) -> None:
    """Draws the finite values; the last one fills the place in `label`."""
    points = [point for point in zip(epochs, values, strict=True) if math.isfinite(point[1])]
    if points:
        marker = "o" if len(points) <= FEW_POINTS else ""
        said = label.format(points[-1][1])
        axes.plot(*zip(*points, strict=True), label=said, marker=marker, markersize=3.5, **style)


def _legend(axes: Axes) -> None:
    if axes.lines:
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.02), title="last values", alignment="left")
    else:
        axes.text(0.5, 0.5, "nothing measured", transform=axes.transAxes, ha="center", color=GREY)


def _events(figure: Figure, panels: Sequence[Axes], events: Sequence[tuple[float, str]]) -> None:
    shown = list(enumerate(events[:MOST_EVENTS], start=1))
    above = panels[0].get_xaxis_transform()
    for number, (epoch, _) in shown:
        for axes in panels:
            axes.axvline(epoch, color=GREY, lw=1.0, ls=(0, (4, 2)), zorder=1)
        panels[0].text(epoch, 1.01, str(number), transform=above, ha="center", va="bottom", fontsize=8)
    told = [f"{number}  epoch {epoch:g}: {printable(text)}" for number, (epoch, text) in shown]
    if len(events) > len(shown):
        told.append(f"and {len(events) - len(shown)} more")
    if told:
        figure.supxlabel("\n".join(told), x=0.01, ha="left", fontsize=8.5, color=INK)
