"""Putting a mark into weights: the smallest change in balanced form that gives every bit its margin.

In a slot of n weights u with chips s, S = sum s u and E = sum u^2, the margin is S / sqrt(E). Where it is below D,
all weights of the slot move by s (x - S) / n with x = D sqrt((E - S^2 / n) / (1 - D^2 / n)), which makes it D. The
scales of rows and columns change a little with the weights, hence some rounds. Weights that are zero stay zero.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harden.errors import WatermarkError
from harden.watermarking.balance import Balanced, factors, flat, scales, signs
from harden.watermarking.layout import Weights
from harden.watermarking.mark import Mark, pieces
from harden.watermarking.size import Plan

SLACK = 0.001
"""Share of the margin that is aimed above it; doubled each round, as coarse numbers round small steps away."""
ROUNDS = 10


@dataclass(frozen=True)
class Slots:
    """What the slots of a mark hold, (L,) float64: S = sum of push times u, E = sum of u^2, n live weights."""

    s: Tensor
    e: Tensor
    n: Tensor

    @property
    def margins(self) -> Tensor:
        """S / sqrt(E) of each bit."""
        return self.s / self.e.clamp_min(1e-300).sqrt()


@dataclass(frozen=True)
class Embedded:
    """What an embedding did: rounds, smallest margin afterwards, and alpha, the root mean square of its change."""

    rounds: int
    margin: float
    alpha: float


def embedded(
    weights: Weights, mark: Mark, plan: Plan, *, holding: Sequence[tuple[Mark, float]] = ()
) -> tuple[dict[str, Tensor], Embedded]:
    """A copy of `weights` that carries the mark, tensors that carry none shared with the original; and what was done.

    `holding`: other marks and the margins that must hold as well. Raises as `imprint` does.
    """
    names = {layer.name for one, _ in [(mark, 0.0), *holding] for layer in one.layout.layers}
    copy = {
        name: tensor.detach().clone(memory_format=torch.contiguous_format) if name in names else tensor
        for name, tensor in weights.items()
    }
    return copy, imprint(copy, mark, plan, holding=holding)


def imprint(weights: Weights, mark: Mark, plan: Plan, *, holding: Sequence[tuple[Mark, float]] = ()) -> Embedded:
    """Writes the mark into the contiguous tensors of `weights`, in place.

    Raises WatermarkError where weights are not finite, a slot has too few weights for its margin, or the margins do
    not hold after ten rounds in the type that the tensors have.
    """
    _check_finite(weights, mark)
    moved = 0.0
    if plan.margin == 0:
        moved = _step(weights, mark, plan.alpha)
    wanted = [(mark, plan.margin)] * (plan.margin > 0) + list(holding)
    if not wanted:
        _, slots = measure(weights, mark)
        return Embedded(1, float(slots.margins.min()), moved)
    for rounds in range(ROUNDS + 1):
        short, smallest = False, math.inf
        for one, margin in wanted:
            by, slots = measure(weights, one)
            if one is mark:
                smallest = float(slots.margins.min())
            if float(slots.margins[torch.from_numpy(one.known)].min()) >= margin:
                continue
            short = True
            if rounds < ROUNDS:
                moved = math.hypot(moved, _move(weights, one, by, _steps(slots, margin * (1 + SLACK * 2**rounds))))
        if not short:
            return Embedded(rounds, smallest, moved)
    raise WatermarkError(
        f"the mark does not settle: after {ROUNDS} rounds a bit has margin {smallest:.3f}, wanted {plan.margin:.3f}",
        "the numbers may be too coarse for it: mark the weights in a finer type, or say profile=fortress",
    )


def project(weights: Weights, mark: Mark, margin: float) -> float:
    """Gives every bit the margin again, in place, where training took from it; returns alpha of the change."""
    by, slots = measure(weights, mark)
    short = slots.margins < margin
    return _move(weights, mark, by, _steps(slots, margin * (1 + SLACK))) if bool(short.any()) else 0.0


def measure(weights: Weights, mark: Mark) -> tuple[dict[str, Balanced], Slots]:
    """The scales of the mark's layers, and what its slots hold."""
    totals = torch.zeros(3, mark.bits, dtype=torch.float64)
    by = {}
    for layer in mark.layout.layers:
        weight = weights[layer.name]
        by[layer.name] = scales(weight, signs(weights, layer))
        r, c = factors(weight, by[layer.name])
        table = flat(weight)
        for piece in pieces(mark, layer):
            u = (table[piece.rows].float() * r[piece.rows, None] * c).reshape(-1)
            totals[0] += piece.sums(u * piece.push, mark.bits)
            totals[1] += piece.sums(u.square(), mark.bits)
            totals[2] += piece.sums((u != 0).float(), mark.bits)
    return by, Slots(*totals)


def _steps(slots: Slots, margin: float) -> Tensor:
    """How far the weights of each slot move, (L,), so that none has a margin below `margin`."""
    d2 = margin * margin
    if bool((slots.n <= d2).any()):
        fewest = int(slots.n.min())
        raise WatermarkError(
            f"a bit has {fewest} weights, and a margin of {margin:.2f} needs more than {d2:.0f}",
            "use a larger network or fewer bits",
        )
    wanted = margin * ((slots.e - slots.s.square() / slots.n).clamp_min(0) / (1 - d2 / slots.n)).sqrt()
    return torch.where(slots.margins < margin, (wanted - slots.s) / slots.n, 0.0)


def _step(weights: Weights, mark: Mark, alpha: float) -> float:
    """Moves every weight by alpha along its push."""
    by, _ = measure(weights, mark)
    return _move(weights, mark, by, torch.full((mark.bits,), alpha, dtype=torch.float64))


def _move(weights: Weights, mark: Mark, by: dict[str, Balanced], steps: Tensor) -> float:
    """Moves the weights of each slot by its step in balanced form; the root mean square over all."""
    total = 0.0
    for layer in mark.layout.layers:
        weight = weights[layer.name]
        table = flat(weight)
        r, c = (_inverse(one) for one in factors(weight, by[layer.name]))
        for piece in pieces(mark, layer):
            du = piece.push * piece.spread(steps.float()) * (table[piece.rows] != 0).reshape(-1)
            total += float(du.square().sum(dtype=torch.float64))
            change = du.reshape(-1, len(c)) * r[piece.rows, None] * c
            table[piece.rows] = (table[piece.rows].float() + change).to(table.dtype)
    return math.sqrt(total / mark.layout.count)


def _inverse(values: Tensor) -> Tensor:
    return torch.where(values == 0, 0.0, 1 / values)


def _check_finite(weights: Weights, mark: Mark) -> None:
    for layer in mark.layout.layers:
        if not bool(torch.isfinite(weights[layer.name].sum(dtype=torch.float32))):
            raise WatermarkError(f"tensor {layer.name!r} holds values that are not finite")
