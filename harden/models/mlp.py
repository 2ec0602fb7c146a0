"""Fully connected layers over the flattened image: the smallest thing that can be attacked."""

from dataclasses import dataclass, field
from itertools import pairwise
from math import prod

from torch import nn

from harden.models.limits import Shape, check_sizes


@dataclass(frozen=True)
class Mlp:
    """Linear layers with ReLU between; `hidden` are the widths in between; none makes it a linear model."""

    hidden: list[int] = field(default_factory=lambda: [256, 128])

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", list(self.hidden))
        check_sizes("hidden", *self.hidden)

    def network(self, shape: Shape, classes: int) -> nn.Module:
        """Normalised images (n, *shape) to logits (n, classes); torch's own initialisation."""
        layers: list[nn.Module] = [nn.Flatten()]
        widths = [prod(shape), *self.hidden]
        for inward, outward in pairwise(widths):
            layers += [nn.Linear(inward, outward), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(widths[-1], classes))
