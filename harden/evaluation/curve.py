"""Accuracy against eps, from the smallest perturbation found for each sample."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harden.evaluation.intervals import Accuracy, wilson

SHARES = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0, 1.25, 1.5, 1.75, 2.0)
"""The radii of a curve, as shares of the threat's eps."""

GAP = 0.01
"""How much two attacks may differ at one radius before that is a finding."""


@dataclass(frozen=True)
class CrossCheck:
    """The curve at one radius beside another attack there: `gap` is by how much the other one is lower."""

    curve: Accuracy
    other: Accuracy

    @property
    def gap(self) -> float:
        """In shares of 1; negative where the other attack found less."""
        return self.curve.value - self.other.value

    @property
    def finding(self) -> bool:
        """Whether the two differ by more than `GAP`."""
        return abs(self.gap) > GAP


def radii(eps: float, most: float) -> list[float]:
    """The radii of a curve for a threat of size `eps`, none beyond `most`, the whole box."""
    return [share * eps for share in SHARES if share * eps <= most]


def distances(clean: Tensor, *found: Tensor) -> Tensor:
    """The smallest distance known for each sample, (n,) float64: 0 where wrong when clean, infinite where none was.

    clean: (n,) bool; found: (n,) each, NaN where that attack broke nothing.
    """
    nearest = torch.where(clean, torch.inf, 0.0).double()
    for one in found:
        nearest = torch.minimum(nearest, one.nan_to_num(nan=torch.inf))
    return nearest


def at(radius: float, nearest: Tensor) -> Accuracy:
    """Accuracy at a radius: the share of samples whose nearest adversarial image lies further away."""
    return wilson(int((nearest > radius * (1 + 1e-6)).sum()), len(nearest))


def curve(radii: Sequence[float], nearest: Tensor) -> list[Accuracy]:
    """Accuracy at each radius; never rising."""
    return [at(radius, nearest) for radius in radii]


def median(nearest: Tensor) -> float | None:
    """The distance at which half of the samples are broken; None where less than half ever are."""
    middle = float(nearest.sort().values[(len(nearest) - 1) // 2])
    return middle if middle < float("inf") else None


def cross_checked(radius: float, nearest: Tensor, robust: Tensor) -> CrossCheck:
    """The curve at `radius` against the flags of another attack there, (n,) bool."""
    return CrossCheck(at(radius, nearest), wilson(int(robust.sum()), len(robust)))
