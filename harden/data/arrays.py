"""Data sets from NumPy arrays, out of an .npz file or a user's function. What is ambiguous is refused."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harden.data.checks import SCALE_HINT, check_labels
from harden.data.dataset import DataSet, Split
from harden.data.split import count_for_test, with_test_part
from harden.errors import DataError

APART = ("x_train", "y_train", "x_test", "y_test")
WHOLE = ("x", "y")
CHANNELS = (1, 3)

Array = NDArray[Any]


def from_arrays(arrays: Mapping[str, Array], *, name: str, source: str, test_share: float) -> DataSet:
    """The data set in `arrays`: x_train, y_train, x_test, y_test, or x and y with a fixed test part by class.

    Images: (n, h, w), (n, h, w, c) or (n, c, h, w) with c of 1 or 3, as uint8 or as floats in [0, 1].
    Labels: whole numbers 0..C-1, (n,) or (n, 1). `classes`, if there: C names. Raises DataError otherwise.
    """
    if all(key in arrays for key in APART):
        train = _split(arrays["x_train"], arrays["y_train"], f"{source}: train")
        test = _split(arrays["x_test"], arrays["y_test"], f"{source}: test")
        return DataSet(name, _classes(arrays, train.y, source), train, test, source)
    if all(key in arrays for key in WHOLE):
        whole = _split(arrays["x"], arrays["y"], source)
        classes = _classes(arrays, whole.y, source)
        check_labels(whole.y, len(classes), where=source)
        train, test = with_test_part(whole, count_for_test(len(whole), test_share, where=source))
        return DataSet(name, classes, train, test, source)
    got = ", ".join(sorted(arrays)) or "nothing"
    raise DataError(f"{source}: holds {got}, wanted {', '.join(APART)}, or {', '.join(WHOLE)}")


def _split(x: Array, y: Array, where: str) -> Split:
    images, labels = _images(np.asarray(x), where), _labels(np.asarray(y), where)
    if len(images) != len(labels):
        raise DataError(f"{where}: {len(images)} images but {len(labels)} labels, wanted one label an image")
    return Split(images, labels)


def _images(x: Array, where: str) -> Tensor:
    if x.dtype != np.uint8 and x.dtype.kind != "f":
        raise DataError(f"{where}: images are {x.dtype}, wanted uint8 or floats in 0..1", SCALE_HINT)
    if x.size == 0:
        raise DataError(f"{where}: no images, shape {x.shape}")
    target = np.uint8 if x.dtype == np.uint8 else np.float32
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is refused as such
        copy = np.array(_channels_first(x, where), dtype=target, order="C")
    return torch.from_numpy(copy)


def _channels_first(x: Array, where: str) -> Array:
    """`x` as (n, c, h, w). The axis of 1 or 3 is the channels'; where that leaves a choice it is not made."""
    if x.ndim == 3:
        return x[:, None]
    first, last = (x.ndim == 4 and x.shape[axis] in CHANNELS for axis in (1, -1))
    if first == last:
        problem = "ambiguous" if first else "wrong"
        raise DataError(
            f"{where}: image shape {x.shape} is {problem}, wanted (n, h, w), (n, h, w, c) or (n, c, h, w)",
            "c is 1 or 3, and only one of the two places may hold such a number",
        )
    return x if first else np.moveaxis(x, -1, 1)


def _labels(y: Array, where: str) -> Tensor:
    flat = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if flat.ndim != 1 or flat.dtype.kind not in "iu":
        raise DataError(f"{where}: labels are {y.dtype} of shape {y.shape}, wanted whole numbers of shape (n,)")
    return torch.from_numpy(flat.astype(np.int64))


def _classes(arrays: Mapping[str, Array], y: Tensor, source: str) -> tuple[str, ...]:
    """The names given, else the numbers up to the highest label in `y`, which must leave no number out."""
    if "classes" not in arrays:
        return tuple(str(number) for number in range(_count(y, source)))
    names = np.asarray(arrays["classes"])
    if names.ndim != 1 or names.dtype.kind != "U":
        raise DataError(f"{source}: classes are {names.dtype} of shape {names.shape}, wanted texts of shape (C,)")
    return tuple(str(name) for name in names)


def _count(y: Tensor, source: str) -> int:
    used = np.unique(y.numpy())
    gaps = np.flatnonzero(used != np.arange(len(used)))
    if gaps.size:
        first = int(gaps[0])
        raise DataError(
            f"{source}: label {int(used[first])} where {first} was wanted, labels count from 0 without gaps"
        )
    return len(used)
