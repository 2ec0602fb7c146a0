"""What every engine may rely on: numbers that are float32 values in range, tensors that fit each other."""

import math
from ctypes import c_float

import torch
from torch import Tensor


def single(name: str, value: float) -> float:
    """`value` rounded to float32. Raises ValueError where that is not finite."""
    rounded = c_float(value).value  # a tenth of numpy.float32's time, and silent about overflow
    if not math.isfinite(rounded):
        raise ValueError(f"{name} must be finite in float32, got {value!r}")
    return rounded


def limits(eps: float, low: float, high: float) -> tuple[float, float, float]:
    """(eps, low, high) in float32. Raises ValueError for a negative eps and for a box without inside."""
    eps = single("eps", eps)
    if eps < 0:
        raise ValueError(f"eps must be >= 0, got {eps!r}")
    return eps, *ordered(low, high)


def ordered(low: float, high: float) -> tuple[float, float]:
    """(low, high) in float32. Raises ValueError where low > high."""
    low, high = single("low", low), single("high", high)
    if low > high:
        raise ValueError(f"low must be <= high, got {low!r} and {high!r}")
    return low, high


def pixels_in(share: float, batch: Tensor) -> int:
    """ceil(share * d) of a sample's d pixels. Raises ValueError for a share outside (0, 1]."""
    if not 0 < share <= 1:
        raise ValueError(f"share must be in (0, 1], got {share!r}")
    return math.ceil(share * math.prod(batch.shape[1:]))


def word(name: str, value: int, bits: int) -> int:
    """`value`. Raises ValueError where it does not fit `bits` unsigned bits."""
    if not 0 <= value < 1 << bits:
        raise ValueError(f"{name} must be in 0..2**{bits} - 1, got {value!r}")
    return value


def agree(out: Tensor, **others: Tensor) -> None:
    """Raises ValueError unless all have `out`'s shape, dtype and device, and there are pixels."""
    if out.dtype not in (torch.float32, torch.float64) or 0 in (out.ndim, *out.shape[1:]):
        raise ValueError(f"out must be (n, *pixel) in float32 or float64, got {told(out)}")
    for name, other in others.items():
        if other.shape != out.shape or other.dtype != out.dtype or other.device != out.device:
            raise ValueError(f"{name} is {told(other)}, out is {told(out)}")


def one_row_each(out: Tensor, rows: Tensor) -> None:
    """Raises ValueError unless `rows` is int64 (n,), `out` float32 (n, *pixel), on one device."""
    if out.ndim == 0 or out.dtype != torch.float32:
        raise ValueError(f"out must be float32 with a sample axis, got {told(out)}")
    if rows.shape != out.shape[:1] or rows.dtype != torch.int64 or rows.device != out.device:
        raise ValueError(f"rows is {told(rows)}, out is {told(out)}; wanted one int64 id a sample")


def one_number_each(out: Tensor, numbers: Tensor) -> None:
    """Raises ValueError unless `out` is (n, pixels) and `numbers` (n,) of its dtype, on one device."""
    if out.ndim != 2:
        raise ValueError(f"out must be (n, pixels), got {told(out)}")
    if numbers.shape != out.shape[:1] or numbers.dtype != out.dtype or numbers.device != out.device:
        raise ValueError(f"offset is {told(numbers)}, out is {told(out)}; wanted one number a sample")


def numbers_fit(out: Tensor, **numbers: Tensor) -> None:
    """Raises ValueError unless each of `numbers` is (n,) of `out`'s dtype and device."""
    for name, one in numbers.items():
        if one.shape != out.shape[:1] or one.dtype != out.dtype or one.device != out.device:
            raise ValueError(f"{name} is {told(one)}, the points are {told(out)}; wanted one number a sample")


def logits_fit(logits: Tensor, value: Tensor, gradient: Tensor, *, fewest: int, **classes: Tensor) -> None:
    """Raises ValueError unless `logits` is (n, `fewest` or more), and values, gradients and `classes` fit it."""
    if logits.ndim != 2 or logits.shape[1] < fewest or logits.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"logits must be (n, {fewest} or more) in float32 or float64, got {told(logits)}")
    for name, one, shape in (("value", value, logits.shape[:1]), ("gradient", gradient, logits.shape)):
        if one.shape != shape or one.dtype != logits.dtype or one.device != logits.device:
            raise ValueError(f"{name} is {told(one)}, logits is {told(logits)}")
    for name, one in classes.items():
        if one.shape != logits.shape[:1] or one.dtype != torch.int64 or one.device != logits.device:
            raise ValueError(f"{name} is {told(one)}, logits is {told(logits)}; wanted one int64 class a sample")


def patches_fit(x_adv: Tensor, corner: Tensor, old: Tensor, side: int) -> None:
    """Raises ValueError unless `x_adv` is contiguous (n, c, h, w), `corner` int64 (n,), `old` (n, c, side, side)."""
    if x_adv.ndim != 4 or not x_adv.is_contiguous():
        raise ValueError(f"x_adv must be contiguous (n, c, h, w), got {told(x_adv)}")
    if corner.shape != x_adv.shape[:1] or corner.dtype != torch.int64 or corner.device != x_adv.device:
        raise ValueError(f"corner is {told(corner)}, x_adv is {told(x_adv)}; wanted one int64 a sample")
    if old.shape != (*x_adv.shape[:2], side, side) or old.dtype != x_adv.dtype or not old.is_contiguous():
        raise ValueError(f"old is {told(old)}, wanted contiguous {(*x_adv.shape[:2], side, side)}")


def told(tensor: Tensor) -> str:
    """A tensor's dtype, shape and device, as errors name them."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)} on {tensor.device}"
