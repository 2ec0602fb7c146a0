"""Sizes of perturbations in float32, for use inside attacks; the judge measures in float64."""

import torch
from torch import Tensor

from harden.threat import Norm

ORDER = {Norm.linf: torch.inf, Norm.l2: 2, Norm.l1: 1}


def size_of(delta: Tensor, norm: Norm) -> Tensor:
    """The size of each row of `delta`, (n, pixels) -> (n,)."""
    if norm is Norm.linf and delta.shape[1]:
        return delta.abs().amax(dim=1)  # vector_norm and aminmax take fifteen times as long on a CPU
    size: Tensor = torch.linalg.vector_norm(delta, ord=ORDER[norm], dim=1)
    return size


def wide(values: Tensor, like: Tensor) -> Tensor:
    """One value a sample in the shape that broadcasts over `like`, (n, 1, ...)."""
    return values.view(-1, *[1] * (like.dim() - 1))
