"""Clean images, adversarial ones, and what models say about them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from harden.pictures.canvas import BLUE, ORANGE, canvas, printable

MOST = 10
LONGEST_NAME = 14
SMALLEST_CELL = 1.2  # inches
LETTER = 0.075  # inches that a letter of a caption takes, generously
LINE = 12.0  # points from one line of a caption to the next

Images = NDArray[np.float64]


def examples(
    path: Path,
    *,
    clean: ArrayLike,
    adversarial: ArrayLike,
    labels: Sequence[int],
    before: Mapping[str, Sequence[int]],
    after: Mapping[str, Sequence[int]],
    classes: Sequence[str],
    eps_text: str,
) -> None:
    """Draws clean images, adversarial ones and their difference: a column an image, the first `MOST` of them.

    clean, adversarial: (n, c, h, w) float in [0, 1]; colour for c = 3, else the mean over channels as grey.
    labels: the true classes. before, after: name of a model -> the classes it says for the clean and for the
    adversarial images. eps_text: attack and bound, for the title ("PGD-20, Linf, eps 8/255").

    Raises ValueError where the shapes do not fit.
    """
    x, x_adv = _images(clean)[:MOST], _images(adversarial)[:MOST]
    if x.shape != x_adv.shape or len(x) == 0 or len(labels) < len(x):
        got = f"{x.shape} clean, {x_adv.shape} adversarial and {len(labels)} labels"
        raise ValueError(f"examples: {got} do not fit")
    factor = magnification(x_adv - x)
    rows = {"clean": x, "adversarial": x_adv, f"difference\n× {factor}": 0.5 + factor * (x_adv - x)}
    said = [_lines(says, labels[: len(x)], classes) for says in (before, after)]
    with canvas(path, title=eps_text, size=_size(len(x), said)) as figure:
        grid = figure.subplots(3, len(x), squeeze=False)
        for cells, (name, images) in zip(grid, rows.items(), strict=True):
            _row(cells, name, images)
        for cell, label in zip(grid[0], labels, strict=False):
            cell.set_title(_name(classes[label]), loc="center", fontsize=9.5, fontweight="bold")
        for cells, lines in zip(grid, said, strict=False):
            _captions(cells, lines)


def magnification(difference: Images) -> int:
    """The largest whole factor with which every difference still fits between black and white."""
    largest = float(np.abs(difference).max())
    return max(1, int(0.5 / largest + 1e-6)) if largest > 0 else 1


def _images(array: ArrayLike) -> Images:
    """(n, c, h, w) as (n, h, w, 3)."""
    x = np.asarray(array, dtype=np.float64)
    if x.ndim != 4:
        raise ValueError(f"examples: images must be (n, c, h, w), got {x.shape}")
    colour = x if x.shape[1] == 3 else x.mean(axis=1, keepdims=True).repeat(3, axis=1)
    return np.moveaxis(colour, 1, -1)


def _lines(
    says: Mapping[str, Sequence[int]], labels: Sequence[int], classes: Sequence[str]
) -> list[list[tuple[str, bool]]]:
    """For each model and image, the words and whether they are right."""
    return [
        [
            (f"{_name(model)}: {_name(classes[k])} {'✓' if k == y else '✗'}", k == y)
            for k, y in zip(said, labels, strict=False)
        ]
        for model, said in says.items()
    ]


def _size(count: int, said: Sequence[Sequence[Sequence[tuple[str, bool]]]]) -> tuple[float, float]:
    longest = max((len(text) for lines in said for line in lines for text, _ in line), default=0)
    cell = max(SMALLEST_CELL, LETTER * longest)
    return 1.3 + cell * count, 0.7 + 3 * SMALLEST_CELL + sum(len(lines) for lines in said) * LINE / 72


def _row(cells: Sequence[Axes], name: str, images: Images) -> None:
    for cell, image in zip(cells, images, strict=True):
        cell.imshow(np.clip(image, 0.0, 1.0), interpolation="nearest")
        cell.set(xticks=[], yticks=[])
        cell.spines[:].set_visible(False)
    cells[0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=8)


def _captions(cells: Sequence[Axes], lines: Sequence[Sequence[tuple[str, bool]]]) -> None:
    """Below the images, a line a model: blue where it is right, bold orange where not."""
    for number, line in enumerate(lines):
        place = (0.0, -4.0 - LINE * number)
        for cell, (text, right) in zip(cells, line, strict=True):
            look: dict[str, Any] = {"color": BLUE} if right else {"color": ORANGE, "fontweight": "bold"}
            align: dict[str, Any] = {"ha": "center", "va": "top", "fontsize": 8}
            cell.annotate(text, (0.5, 0.0), place, "axes fraction", "offset points", **(align | look))


def _name(text: str) -> str:
    return printable(text, LONGEST_NAME)
