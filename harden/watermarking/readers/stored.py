"""Weights files as floats: fp32, fp16, bf16, fp8, int8 with scales; sealed ones by the keys of the block around.

An integer tensor `name` is understood by its neighbours `name.scale` or `name_scale`, one number or one a channel of
dim 0, and, where there is one, `name.zero_point` or `name_zero_point`: (code - zero point) * scale.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from harden.errors import WeightsError
from harden.models.container import decode
from harden.watermarking.readers.names import renamed
from harden.watermarking.wiring.channels import Weights

CODES = (torch.int8, torch.uint8)
COUNTERS = ("num_batches_tracked",)


def read(path: Path, names: Mapping[str, str] | None = None) -> dict[str, Tensor]:
    """The floating tensors of the file at `path`, float32 (float64 where stored so), under their new `names`.

    Raises Untrusted for a pickle, WeightsError for damage, for integers without scales, and for values that are not
    finite, MissingExtra for an ONNX file where the extra is not installed.
    """
    if path.suffix.lower() == ".onnx":
        from harden.watermarking.readers.onnx import initialisers

        tensors = initialisers(path)
    else:
        tensors = dequantised(decode(path)[0], where=str(path))
    _check_finite(tensors, path)
    return renamed(tensors, names or {}, where=str(path))


def dequantised(stored: Weights, *, where: str) -> dict[str, Tensor]:
    """Every number as a float; scales and zero points go into the tensors that they belong to."""
    spent = {
        other
        for name, tensor in stored.items()
        if tensor.dtype in CODES and tensor.dim() >= 2
        for other in (_beside(stored, name, "scale"), _beside(stored, name, "zero_point"))
        if other
    }
    return {
        name: _floats(stored, name, where)
        for name, tensor in stored.items()
        if name not in spent and not name.endswith(COUNTERS) and (tensor.is_floating_point() or tensor.dim() >= 2)
    }


def _floats(stored: Weights, name: str, where: str) -> Tensor:
    tensor = stored[name]
    if tensor.is_floating_point():
        return tensor if tensor.dtype == torch.float64 else tensor.float()
    scale = _beside(stored, name, "scale") if tensor.dtype in CODES else ""
    if not scale:
        raise WeightsError(
            f"{where}: tensor {name!r} holds {str(tensor.dtype).removeprefix('torch.')} without scales",
            f"an int8 tensor needs {name}.scale beside it, one number or one a channel of its first axis",
        )
    codes, zero = tensor.float(), _beside(stored, name, "zero_point")
    if zero:
        codes = codes - _spread(stored[zero], tensor, zero, where)
    return codes * _spread(stored[scale], tensor, scale, where)


def _beside(stored: Weights, name: str, what: str) -> str:
    return next((other for other in (f"{name}.{what}", f"{name}_{what}") if other in stored), "")


def _spread(values: Tensor, like: Tensor, name: str, where: str) -> Tensor:
    """One number, or one a channel of dim 0, such that it multiplies `like`."""
    if values.numel() not in (1, len(like)):
        raise WeightsError(f"{where}: {name} has {values.numel()} numbers, wanted 1 or {len(like)}")
    return values.float().reshape(-1, *[1] * (like.dim() - 1))


def _check_finite(tensors: Weights, path: Path) -> None:
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"{path}: tensor {name!r} is not finite", "weights with NaN or infinity are no suspect")
