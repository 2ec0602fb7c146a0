"""Edits that mix weights with others': averages, and what is left when a shown part of a mark is taken away."""

from collections.abc import Sequence

import torch
from torch import Tensor

from harden.watermarking.wiring.channels import Weights


def averaged(weights: Weights, others: Sequence[Weights], *, own: float | None = None) -> dict[str, Tensor]:
    """The mean of all, or `own` of the weights and the rest of the others in equal parts."""
    own = 1 / (1 + len(others)) if own is None else own
    rest = (1 - own) / max(1, len(others))

    def mean(name: str, t: Tensor) -> Tensor:
        total = own * t.double() + rest * torch.stack([other[name].double() for other in others]).sum(dim=0)
        return total.to(t.dtype)

    return {name: mean(name, t) if t.is_floating_point() else t for name, t in weights.items()}


def less(weights: Weights, part: Weights, strength: float = 1.0) -> dict[str, Tensor]:
    """The weights minus `strength` times `part`, which holds some of their tensors."""
    return {
        name: (t.double() - strength * part[name].double()).to(t.dtype) if name in part else t
        for name, t in weights.items()
    }
