"""The unmarked weights beside a mark, in half precision. Whoever has them and the marked ones has the mark."""

import torch
from torch import Tensor

from harden.watermarking.layout import Layout, Weights


def sidecar_of(weights: Weights, layout: Layout) -> dict[str, Tensor]:
    """The layout's tensors as float16, scaled by powers of two to about 1, which the balanced form ignores."""
    return {layer.name: _halved(weights[layer.name]) for layer in layout.layers}


def _halved(weight: Tensor) -> Tensor:
    size = float(weight.abs().mean(dtype=torch.float32))
    power = torch.frexp(torch.tensor(size or 1.0))[1]
    return torch.ldexp(weight.float(), -power).clamp(-65504, 65504).half()
