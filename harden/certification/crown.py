"""CROWN-IBP: linear bounds carried backward over interval bounds (Zhang et al. 2019, arXiv 1906.06316)."""

import torch
from torch import Tensor

from harden.certification.intervals import Interval
from harden.certification.layers import Affine, Layer


def lead(layers: list[Layer], met: list[Interval], y: Tensor) -> Tensor:
    """Lower bounds of logit y minus logit j for every j, (n, classes); `met`: the intervals before each layer."""
    n, classes = met[-1].middle.shape
    identity = torch.eye(classes, dtype=met[0].middle.dtype, device=y.device)
    rows = identity[y][:, None] - identity[None]  # (n, classes, outputs)
    constant = rows.new_zeros(n, classes)
    for layer, z in reversed(list(zip(layers, met[:-1], strict=True))):
        if isinstance(layer, Affine):
            rows, shift = _through_affine(layer, rows, z)
        else:
            rows, shift = _through_relu(rows, z)
        constant = constant + shift
    flat, first = rows.flatten(2), met[0]
    middle = (flat @ first.middle.flatten(1)[:, :, None]).squeeze(2)
    return middle - (flat.abs() @ first.radius.flatten(1)[:, :, None]).squeeze(2) + constant


def _through_affine(layer: Affine, rows: Tensor, z: Interval) -> tuple[Tensor, Tensor]:
    n, classes = rows.shape[:2]
    shape = z.middle.shape[1:]
    back = layer.back(rows.flatten(0, 1), shape).view(n, classes, *shape)
    if layer.bias is None:
        return back, rows.new_zeros(n, classes)
    return back, (rows * layer.bias).flatten(2).sum(dim=2)


def _through_relu(rows: Tensor, z: Interval) -> tuple[Tensor, Tensor]:
    """Below the ReLU where a row is positive: 0 or z, whichever is nearer; above it elsewhere: its chord."""
    low, high = z.low[:, None], z.high[:, None]
    on, off = low >= 0, high <= 0
    chord = high / (high - low).clamp_min(1e-12)
    upper = torch.where(on, 1.0, torch.where(off, 0.0, chord))
    lower = torch.where(on, 1.0, torch.where(off, 0.0, (high > -low).to(rows.dtype)))
    crossing = torch.where(on | off, torch.zeros_like(low), -low * chord)
    shift = (rows.clamp_max(0) * crossing).flatten(2).sum(dim=2)
    return torch.where(rows >= 0, rows * lower, rows * upper), shift
