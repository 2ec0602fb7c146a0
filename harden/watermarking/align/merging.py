"""Neurons that a thief added, taken out again: parallel ones are merged, silent ones dropped.

Neurons are parallel when their inputs, bias included, differ by a positive factor; behind functions of which
f(s x) = s f(x) one of them then speaks for all. A neuron is silent when nobody listens to it, or when it says
nothing. Wanted only where a suspect is wider than the reference, so that an honest network is left alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from harden.watermarking.align.likeness import folded

STRICT, LOOSE = (1e-6, 1e-4), (0.02, 0.1)
"""How far from parallel, and how much of what was heard may be left, exactly and under noise of some percent."""
SILENT = 1e-6


@dataclass(frozen=True)
class Neurons:
    """The channels of one axis: `inward`, (channels, what makes them); `outward`: reader -> (channels, readings)."""

    inward: Tensor | None
    outward: Mapping[str, Tensor]


@dataclass(frozen=True)
class Kept:
    """The channels that stay, and what each is listened to with now."""

    index: Tensor
    outward: dict[str, Tensor]


def cleaned(neurons: Neurons, wanted: int) -> Kept:
    """Silent neurons are gone, parallel ones merged; loosely, only while there are more than `wanted`."""
    kept = Kept(torch.arange(_count(neurons)), {name: rows.double() for name, rows in neurons.outward.items()})
    kept = _without(kept, _silent(neurons, kept))
    for tolerance, left in (STRICT, LOOSE):
        if len(kept.index) > wanted and neurons.inward is not None:
            kept = _merged(kept, neurons.inward[kept.index].double(), tolerance, left)
    return kept


def _count(neurons: Neurons) -> int:
    tables = [neurons.inward] if neurons.inward is not None else list(neurons.outward.values())
    return len(tables[0])


def _silent(neurons: Neurons, kept: Kept) -> Tensor:
    """Whether next to nothing goes through a neuron, (channels,); a product, which scales leave alone."""
    heard = _loudness(kept.outward)
    if not kept.outward:
        heard = torch.ones(len(kept.index), dtype=torch.float64)
    said = heard if neurons.inward is None else neurons.inward.double().norm(dim=1) * heard
    return said <= SILENT * said.median()


def _loudness(outward: Mapping[str, Tensor]) -> Tensor:
    return torch.stack([rows.norm(dim=1) for rows in outward.values()]).norm(dim=0) if outward else torch.zeros(0)


def _without(kept: Kept, gone: Tensor) -> Kept:
    return Kept(kept.index[~gone], {name: rows[~gone] for name, rows in kept.outward.items()})


def _merged(kept: Kept, inward: Tensor, tolerance: float, left: float) -> Kept:
    """Each group of parallel neurons as its first; groups that cancel are gone."""
    lengths = inward.norm(dim=1)
    leader = _leaders(inward, tolerance)
    ratio = lengths / lengths[leader].clamp_min(1e-300)
    news: dict[str, Tensor] = {}
    volume = torch.zeros(len(leader), dtype=torch.float64)
    for name, rows in kept.outward.items():
        news[name] = torch.zeros_like(rows).index_add(0, leader, rows * ratio[:, None])
        volume.index_add_(0, leader, (rows.norm(dim=1) * ratio).square())
    grouped = torch.bincount(leader, minlength=len(leader)) > 1
    cancelled = grouped & (_loudness(news) <= left * volume.sqrt()) if news else torch.zeros_like(grouped)
    gone = (leader != torch.arange(len(leader))) | cancelled
    return _without(Kept(kept.index, news), gone)


def _leaders(inward: Tensor, tolerance: float) -> Tensor:
    """For each neuron the first one that is parallel to it; candidates come from sketches, and are then checked."""
    table = inward
    for _ in range(6):  # else inputs that a thief scaled up would be all that is compared
        table = table / table.norm(dim=1, keepdim=True).clamp_min(1e-300)
        table = table / table.norm(dim=0, keepdim=True).clamp_min(1e-300)
    units = table / table.norm(dim=1, keepdim=True).clamp_min(1e-300)
    sketch = folded(units)
    sketch = sketch / sketch.norm(dim=1, keepdim=True).clamp_min(1e-300)
    close = sketch @ sketch.T > 1 - 4 * tolerance - 1e-9
    leader = torch.arange(len(units))
    for second in range(1, len(units)):
        for first in close[second, :second].nonzero().flatten().tolist():
            if leader[first] == first and float(units[first] @ units[second]) > 1 - tolerance:
                leader[second] = first
                break
    return leader
