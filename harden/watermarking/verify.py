"""Is the mark in these weights? Z, bits right, and a p-value that holds for any weights that do not know the keys.

Blind: v = u clipped to +-4, Z = sum push v / |v|. Residual: the part of u that the unmarked weights of the sidecar do
not explain, row by row, instead of u; the weights themselves are then no noise. Both are functions of the suspect and
of weights that were fixed before the keys were, so that the same bound holds for both.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from harden.errors import WatermarkError
from harden.watermarking.balance import Balanced, factors, flat, row_blocks, scales, signs
from harden.watermarking.layout import Layer, Layout, Weights
from harden.watermarking.mark import Mark, pieces
from harden.watermarking.pvalue import Tries, level_of, log10_hits, log10_tail

CLIP = 4.0
NOTHING = 1e-6
"""A row that differs from the reference by less than this share of itself does not differ."""

Align = Callable[[Weights, Weights, Layout], dict[str, Tensor]]
"""(suspect, sidecar, layout) -> the layout's tensors of the suspect, brought into the order of the sidecar's."""


@dataclass(frozen=True)
class Part:
    """The evidence of one tensor: Z over its weights alone."""

    name: str
    weights: int
    z: float


@dataclass(frozen=True)
class Reading:
    """One way to look. `margins`: of each bit, (bits,), NaN where no key is known; `errors`: bits that are wrong."""

    mode: str
    z: float
    bits: int
    errors: int
    margins: tuple[float, ...] = field(repr=False)
    parts: tuple[Part, ...]

    @property
    def log10_p(self) -> float:
        """The better of both readings, before any correction."""
        return min(log10_tail(self.z), log10_hits(self.bits - self.errors, self.bits))


@dataclass(frozen=True)
class Verdict:
    """What was found. `log10_p` is corrected for all `tries`; `reading` is the one that it comes from.

    `missing`: layers of the claim that the suspect does not have.
    """

    readings: tuple[Reading, ...]
    tries: Tries
    log10_p: float
    missing: tuple[str, ...]
    weights: int
    of_weights: int

    @property
    def reading(self) -> Reading:
        """The strongest one."""
        return min(self.readings, key=lambda one: one.log10_p)

    @property
    def blind(self) -> Reading:
        """The first one, which counts bits: the residual lacks those that needed no change."""
        return self.readings[0]

    @property
    def level(self) -> str:
        """court, match or none."""
        return level_of(self.log10_p)

    @property
    def holds(self) -> bool:
        """Whether the mark is there, by level match at least."""
        return self.level != "none"

    @property
    def p_value(self) -> float:
        """10^log10_p, which may well be 0.0."""
        return float(10**self.log10_p) if self.log10_p > -300 else 0.0


def verify(
    weights: Weights,
    mark: Mark,
    *,
    sidecar: Weights | None = None,
    align: Align | None = None,
    tries: Tries | None = None,
) -> Verdict:
    """Looks for the mark: blind, then against `sidecar`, then aligned to it, each told, all counted.

    `tries`: what else is being tried; its modes are set here. Raises WatermarkError where no tensor is the claim's,
    or numbers are not finite.
    """
    found, missing = present(weights, mark.layout)
    modes = 1 + (sidecar is not None) + 2 * (sidecar is not None and align is not None)
    asked = tries or Tries()
    tries = Tries(modes, asked.maps, asked.readings, asked.claims, asked.leaves)
    readings = [blind(weights, mark, found)]
    if sidecar is not None:
        readings.append(residual(weights, mark, sidecar, found))
    if sidecar is not None and align is not None:
        aligned = align(weights, sidecar, mark.layout)
        here, _ = present(aligned, mark.layout)
        readings += [
            blind(aligned, mark, here, mode="aligned blind"),
            residual(aligned, mark, sidecar, here, mode="aligned residual"),
        ]
    best = min(one.log10_p for one in readings)
    return Verdict(
        tuple(readings),
        tries,
        min(0.0, best + math.log10(tries.count)),
        tuple(missing),
        sum(layer.count for layer in found),
        mark.layout.count,
    )


def present(weights: Weights, layout: Layout) -> tuple[list[Layer], list[str]]:
    """The layers of the layout that `weights` have, and the names of those that they lack.

    Raises WatermarkError where there is none, or where one holds NaN or infinity.
    """
    fits = [one for one in layout.layers if one.name in weights and tuple(weights[one.name].shape) == one.shape]
    if not fits:
        first = layout.layers[0]
        raise WatermarkError(
            f"this claim is for weights with a tensor {first.name!r} of shape {list(first.shape)}, and "
            f"{len(layout.layers) - 1} more; the file has none of them",
            "name the weights that were marked; tensors of other names need map=FILE",
        )
    for layer in fits:
        total = weights[layer.name].sum(dtype=torch.float32)
        if not bool(torch.isfinite(total)):
            raise WatermarkError(f"tensor {layer.name!r} holds values that are not finite")
    return fits, [one.name for one in layout.layers if one not in fits]


def blind(weights: Weights, mark: Mark, layers: Sequence[Layer], *, mode: str = "blind") -> Reading:
    """What the weights themselves show."""
    return _read(mark, layers, mode, lambda layer: _own(weights, layer))


def residual(
    weights: Weights, mark: Mark, sidecar: Weights, layers: Sequence[Layer], *, mode: str = "residual"
) -> Reading:
    """What the difference from the unmarked weights shows."""
    return _read(mark, layers, mode, lambda layer: _difference(weights, sidecar, layer))


Values = Callable[[Layer], Callable[[slice], Tensor]]
"""A layer -> a function from rows to their v, (rows * in * k,) float32."""


def _read(mark: Mark, layers: Sequence[Layer], mode: str, values: Values) -> Reading:
    """Z, per bit, per tensor and over all, of the weights whose keys are known."""
    totals = torch.zeros(2, mark.bits, dtype=torch.float64)
    parts = []
    for layer in layers:
        of_rows, own = values(layer), torch.zeros(2, mark.bits, dtype=torch.float64)
        for piece in pieces(mark, layer):
            v = of_rows(piece.rows)
            own[0] += piece.sums(v * piece.push, mark.bits)
            own[1] += piece.sums(v.square() * piece.push.square(), mark.bits)
        totals += own
        parts.append(Part(layer.name, layer.count, _z(own[0].sum(), own[1].sum())))
    known = torch.from_numpy(mark.known)
    margins = torch.where(known, totals[0] / totals[1].clamp_min(1e-300).sqrt(), math.nan)
    errors = int((~(totals[0] > 0) & known).sum())
    z = _z(totals[0].sum(), totals[1].sum())
    return Reading(mode, z, int(known.sum()), errors, tuple(margins.tolist()), tuple(parts))


def _z(s: Tensor, e: Tensor) -> float:
    return float(s / e.sqrt()) if float(e) > 0 else 0.0


def _own(weights: Weights, layer: Layer) -> Callable[[slice], Tensor]:
    weight = weights[layer.name]
    by, table = scales(weight, signs(weights, layer)), flat(weight)
    r, c = factors(weight, by)
    return lambda rows: (table[rows].float() * r[rows, None]).mul_(c).clamp_(-CLIP, CLIP).reshape(-1)


def _difference(weights: Weights, sidecar: Weights, layer: Layer) -> Callable[[slice], Tensor]:
    weight, reference = weights[layer.name], sidecar[layer.name]
    if _has_holes(weight):  # pruned: where nothing is left there is nothing to learn, and scales shift alike
        reference = torch.where(weight == 0, 0, reference)
    mine, theirs = scales(weight, signs(weights, layer)), scales(reference)
    return lambda rows: _unexplained(_rows(weight, mine, rows), _rows(reference, theirs, rows))


def _rows(weight: Tensor, by: Balanced, rows: slice) -> Tensor:
    r, c = factors(weight, by)
    return flat(weight)[rows].float() * r[rows, None] * c


def _unexplained(u: Tensor, reference: Tensor) -> Tensor:
    """u without its regression on the reference, row by row, each row scaled by its mean size, clipped."""
    power = reference.square().sum(dim=1)
    share = torch.where(power > 0, (u * reference).sum(dim=1) / power.clamp_min(1e-30), 0.0)
    rest = u - share[:, None] * reference
    size = rest.abs().mean(dim=1) * math.sqrt(math.pi / 2)
    small = size <= NOTHING * u.abs().mean(dim=1)
    rest = rest * torch.where(small, 0.0, 1 / size.clamp_min(1e-30))[:, None]
    return rest.clamp_(-CLIP, CLIP).reshape(-1)


def _has_holes(weight: Tensor) -> bool:
    """Whether one weight in a hundred is exactly zero."""
    zeros = sum(int((flat(weight)[rows] == 0).sum()) for rows in _blocks(weight))
    return 100 * zeros > weight.numel()


def _blocks(weight: Tensor) -> Iterator[slice]:
    return row_blocks(weight.shape[0], flat(weight).shape[1])
