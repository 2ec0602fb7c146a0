"""Edits that need no data and cost accuracy: pruning, noise, weight shifting (Lukas et al. 2022, arXiv 2108.04974)."""

from collections.abc import Callable

import torch
from torch import Tensor

from harden.seeds import Stream
from harden.watermarking.edits.kernels import kernels_of
from harden.watermarking.wiring.channels import Weights


def pruned(weights: Weights, share: float) -> dict[str, Tensor]:
    """The `share` of smallest magnitude over all kernels together is zero."""
    names = kernels_of(weights)
    limit = _quantile(torch.cat([weights[name].abs().flatten().float() for name in names]), share)
    return _changed(weights, lambda _, t: torch.where(t.abs() > limit, t, 0.0))


def pruned_by_layer(weights: Weights, share: float) -> dict[str, Tensor]:
    """The `share` of smallest magnitude of each kernel is zero."""
    return _changed(weights, lambda _, t: torch.where(t.abs() > _quantile(t.abs().flatten().float(), share), t, 0.0))


def noisy(weights: Weights, deviations: float, *, rng: Stream) -> dict[str, Tensor]:
    """Gaussian noise of `deviations` times its own standard deviation on every kernel."""
    return _changed(weights, lambda name, t: t + deviations * t.std() * _normal(t, rng.child("noise", name)))


def shifted(weights: Weights, strength: float, *, rng: Stream) -> dict[str, Tensor]:
    """w - strength * mean + N(0, std), mean and std those of the weight's own filter (WRT's weight shifting)."""

    def shift(name: str, t: Tensor) -> Tensor:
        rows = t.flatten(1)
        mean, std = rows.mean(dim=1, keepdim=True), rows.std(dim=1, keepdim=True)
        return (rows - strength * mean + std * _normal(rows, rng.child("shift", name))).view_as(t)

    return _changed(weights, shift)


def _changed(weights: Weights, change: Callable[[str, Tensor], Tensor]) -> dict[str, Tensor]:
    names = set(kernels_of(weights))
    return {name: change(name, t).to(t.dtype) if name in names else t for name, t in weights.items()}


def _quantile(values: Tensor, share: float) -> float:
    """The largest of the smallest `share`; below zero where that is none."""
    count = round(share * len(values))
    return float(values.kthvalue(count).values) if count else -1.0


def _normal(like: Tensor, rng: Stream) -> Tensor:
    return torch.randn(like.shape, generator=rng.generator(), dtype=torch.float32).to(like.dtype)
