"""How far the evidence for a mark stands out from what keys show that have nothing to do with the weights."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from harden.pictures.canvas import BLUE, GREY, INK, ORANGE, canvas

LEAST, BINS = 4.5, 36


def correlation(null: Sequence[float], found: Mapping[str, float], path: Path, *, title: str, threshold: float) -> None:
    """Draws Z of other keys as a histogram, the normal curve, the threshold, and each reading that was found.

    found: Z by the name of the reading. Above 30 the axis is logarithmic.
    """
    with canvas(path, title=title, size=(9.0, 4.0)) as figure:
        axes = figure.subplots()
        width = 2 * LEAST / BINS
        edges = [-LEAST + width * number for number in range(BINS + 1)]
        axes.hist(list(null), bins=edges, density=True, color=BLUE, alpha=0.45, label=f"{len(null)} other keys")
        fine = [-LEAST + 2 * LEAST * number / 300 for number in range(301)]
        axes.plot(
            fine, [math.exp(-z * z / 2) / math.sqrt(2 * math.pi) for z in fine], color=INK, lw=1.2, label="normal"
        )
        axes.axvline(threshold, color=GREY, ls="--", lw=1.2, label=f"match from Z {threshold:.1f} on")
        for style, (name, z) in zip(("-", "-.", ":", (0, (1, 3))), found.items(), strict=False):
            axes.axvline(z, color=ORANGE, ls=style, lw=1.8, label=f"{name}: Z {z:.1f}")
        most = max([threshold, *found.values()])
        if most > 30:
            axes.set_xscale("symlog", linthresh=10.0)
        axes.set(xlabel="Z, correlation with the key's pattern in standard deviations", ylabel="density", yticks=[])
        axes.set_xlim(-1.1 * LEAST, 1.25 * most)
        axes.legend(loc="upper center", ncols=2)
