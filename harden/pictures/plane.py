"""The loss over the plane of an attack's direction and a random one."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from harden.pictures.canvas import INK, ORANGE, canvas, printable

LEVELS = 10


def surface(path: Path, *, grid: ArrayLike, xs: ArrayLike, ys: ArrayLike, title: str, value: str = "loss") -> None:
    """Draws values over a plane as heat map and contours; those that are not finite stay white.

    grid: (len(ys), len(xs)). xs (along the attack), ys (along a random direction): increasing, in units of
    the attack's own perturbation, so that the clean image is at (0, 0) and the adversarial one at (1, 0),
    where the attack reaches the edge of the ball. value: what the numbers are.

    Raises ValueError where the shapes do not fit.
    """
    z, along, across = (np.asarray(array, dtype=np.float64) for array in (grid, xs, ys))
    if z.shape != (len(across), len(along)) or min(z.shape) < 2:
        raise ValueError(f"surface: grid is {z.shape}, wanted ({len(across)}, {len(along)}), at least 2 by 2")
    shown = np.ma.masked_invalid(z)
    with canvas(path, title=title, size=(6.4, 4.9)) as figure:
        axes = figure.subplots()
        mesh = axes.pcolormesh(along, across, shown, cmap="viridis", shading="nearest", rasterized=True)
        if shown.count() and shown.min() < shown.max():
            axes.contour(along, across, shown, levels=LEVELS, colors="white", linewidths=0.6, alpha=0.7)
        figure.colorbar(mesh, ax=axes, label=printable(value))
        _marks(axes)
        axes.set(xlabel="along the attack, × eps", ylabel="along a random direction, × eps")
        figure.legend(loc="outside lower center", ncols=3)


def _marks(axes: Axes) -> None:
    edge: dict[str, Any] = {"markeredgecolor": INK, "ls": "", "clip_on": False, "markersize": 8, "zorder": 5}
    axes.axvline(1.0, color=ORANGE, lw=1.5, ls=(0, (4, 2)), label="edge of the ball")
    axes.plot([0], [0], marker="o", color="white", label="clean image", **edge)
    axes.plot([1], [0], marker="X", color=ORANGE, label="adversarial image", **edge)
