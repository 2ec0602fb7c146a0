"""Interval bound propagation (Gowal et al. 2018, arXiv 1810.12715)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from harden.certification.layers import Affine, Layer


@dataclass(frozen=True)
class Interval:
    """middle - radius <= z <= middle + radius, element by element."""

    middle: Tensor
    radius: Tensor

    @property
    def low(self) -> Tensor:
        """The lower ends."""
        return self.middle - self.radius

    @property
    def high(self) -> Tensor:
        """The upper ends."""
        return self.middle + self.radius


def between(low: Tensor, high: Tensor) -> Interval:
    """The interval from `low` to `high`."""
    return Interval((low + high) / 2, (high - low) / 2)


def through(layers: list[Layer], z: Interval) -> list[Interval]:
    """The interval before each layer, and last the one after all of them."""
    met = [z]
    for layer in layers:
        if isinstance(layer, Affine):
            z = Interval(layer(z.middle), layer.spread(z.radius))
        else:
            z = between(z.low.clamp_min(0), z.high.clamp_min(0))
        met.append(z)
    return met


def lead(layer: Affine, z: Interval, y: Tensor) -> Tensor:
    """Lower bounds of logit y minus logit j for every j, (n, classes), through the last layer and the difference.

    Taking the difference of weights before the bound, not of bounds, is tighter (section 3, elision).
    """
    identity = torch.eye(layer(z.middle[:1]).shape[1], dtype=z.middle.dtype, device=y.device)
    rows = identity[y][:, None] - identity[None]
    weight = rows @ layer.back(identity, z.middle.shape[1:]).flatten(1)
    middle = layer(z.middle)
    ahead = middle.gather(1, y[:, None]) - middle
    return ahead - (weight.abs() @ z.radius.flatten(1)[:, :, None]).squeeze(2)
