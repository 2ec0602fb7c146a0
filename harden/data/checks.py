"""What every data set must hold, whichever reader it came from.

Each check raises DataError (a wrong digest Untrusted) and names the first offender.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from harden.errors import DataError, Untrusted

SCALE_HINT = "divide pixels by 255, or keep them as uint8"


def check_shapes(x: Tensor, y: Tensor) -> None:
    """Images (n, c, h, w) uint8 or float32, labels (n,) int64, one for one."""
    if x.dtype not in (torch.uint8, torch.float32) or x.dim() != 4:
        raise DataError(f"images are {_form(x)}, wanted (n, c, h, w) of uint8 or float32")
    if y.dtype != torch.int64 or y.dim() != 1:
        raise DataError(f"labels are {_form(y)}, wanted (n,) of int64")
    if len(x) != len(y):
        raise DataError(f"{len(x)} images but {len(y)} labels, wanted one label an image")


def check_images(x: Tensor, *, where: str) -> None:
    """At least one image with pixels, and floats finite and inside [0, 1]."""
    if x.numel() == 0:
        raise DataError(f"{where}: no images, shape {tuple(x.shape)}")
    if x.dtype == torch.uint8:
        return
    low, high = torch.aminmax(x)  # NaN wins both
    if low >= 0 and high <= 1:
        return
    outside = ~((x >= 0) & (x <= 1))
    sample = int(outside.flatten(1).any(1).nonzero()[0])
    value = float(x[sample][outside[sample]][0])
    raise DataError(f"{where}: image {sample} holds pixel value {value:g}, wanted 0..1", SCALE_HINT)


def check_classes(classes: Sequence[str], *, where: str) -> None:
    """There is something to tell apart: with one class no attack could ever succeed."""
    if len(classes) < 2:
        got = ", ".join(map(repr, classes)) or "none"
        raise DataError(f"{where}: a data set needs at least 2 classes, got {got}")


def check_labels(y: Tensor, classes: int, *, where: str) -> None:
    """Every label is a class number, 0..classes-1."""
    outside = ((y < 0) | (y >= classes)).nonzero()
    if len(outside):
        at = int(outside[0])
        raise DataError(f"{where}: label {int(y[at])} at index {at}, wanted 0..{classes - 1}")


def check_presence(y: Tensor, classes: Sequence[str], *, where: str) -> None:
    """Every class has an image."""
    missing = (torch.bincount(y, minlength=len(classes)) == 0).nonzero()
    if len(missing):
        first = int(missing[0])
        raise DataError(f"{where}: class {first} ({classes[first]!r}) has no image")


def check_digest(where: str, got: str, wanted: str) -> None:
    """The SHA-256 of a file's content, in hex, is the published one. Raises Untrusted."""
    if got != wanted:
        raise Untrusted(
            f"{where}: content has sha256 {got}, wanted {wanted}",
            "copy the file again from its source; data.verify=false takes the files as they are",
        )


def _form(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} of {str(tensor.dtype).removeprefix('torch.')}"
