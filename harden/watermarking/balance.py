"""The balanced form of a weight tensor, which does not see how neurons are scaled.

W is looked at as (out, in, k). Positive r and c are sought such that u = r W c has mean square 1 over the weights that
are not zero of every row and of every column: Sinkhorn and Knopp 1967, on the squares. As the pattern of zeros has
itself those sums, there is always a solution, and one alone (Menon and Schneider 1969): any positive scaling of rows
and columns, folded batch norms and equalised layers among them, leaves u as it was, and pruning does not upset it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from harden.watermarking.layout import Layer, Weights

SMALL = 1 << 20
"""Entries up to which a tensor is balanced in float64 to `FINE`; larger ones in float32 to `COARSE`."""
FINE, COARSE = 1e-9, 1e-4
ROUNDS = 200
BLOCK = 1 << 19
"""Entries that are worked on at a time: few enough for the processor's cache."""
ROWS = 16
"""Blocks begin at a multiple of so many rows, and so of so many weights."""


@dataclass(frozen=True)
class Balanced:
    """The scales of a tensor: `r`, (out,), signed; `c`, (in,); float64; 0 for rows and columns of zeros."""

    r: Tensor
    c: Tensor


def flat(weight: Tensor) -> Tensor:
    """The tensor as (out, in * k); a view where memory allows it."""
    return weight.reshape(weight.shape[0], -1)


def row_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of rows, of about `BLOCK` entries each."""
    step = max(ROWS, BLOCK // max(columns, 1) // ROWS * ROWS)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def scales(weight: Tensor, sign: Tensor | None = None) -> Balanced:
    """The scales that balance `weight`, (out, in, *kernel); `sign`, +1 or -1 a row, goes into `r`."""
    r, c = _sinkhorn(weight)
    return Balanced(r if sign is None else r * sign.to(r), c)


def balanced(weight: Tensor, sign: Tensor | None = None) -> Tensor:
    """u = r W c, float32, in the shape of `weight`."""
    return apply(weight, scales(weight, sign))


def apply(weight: Tensor, by: Balanced) -> Tensor:
    """`weight` under these scales, float32, in its shape."""
    rows, columns = factors(weight, by)
    return (flat(weight).float() * rows[:, None] * columns).reshape(weight.shape)


def factors(weight: Tensor, by: Balanced) -> tuple[Tensor, Tensor]:
    """Row factors (out,) and column factors (in * k,) of the flat tensor, float32."""
    kernel = weight[0, 0].numel()
    return by.r.float(), by.c.repeat_interleave(kernel).float()


def signs(weights: Weights, layer: Layer) -> Tensor | None:
    """+1 or -1 a row: the signs of the norm behind the layer; None where the file has none."""
    scale = weights.get(layer.norm) if layer.norm else None
    if scale is None or tuple(scale.shape) != (layer.shape[0],):
        return None
    return torch.where(scale < 0, -1.0, 1.0).double()


Energies = Callable[[], Iterator[tuple[slice, Tensor]]]
"""Pieces of the sums of squares over the kernel: rows, and (rows, in)."""


def _energies(weight: Tensor, small: bool) -> Energies:
    out, inward = weight.shape[0], weight.shape[1]
    kernel, table = weight[0, 0].numel(), flat(weight)
    dtype = torch.float64 if small else torch.float32

    def squares() -> Iterator[tuple[slice, Tensor]]:
        for rows in row_blocks(out, inward * kernel):
            piece = table[rows].to(dtype).square()
            yield rows, piece if kernel == 1 else piece.reshape(-1, inward, kernel).sum(dim=2)

    if kernel == 1 and not small:
        return squares  # as large as the weights: computed anew each round
    whole = torch.cat([piece for _, piece in squares()])
    return lambda: iter([(slice(0, out), whole)])


def _live(weight: Tensor) -> tuple[Tensor, Tensor]:
    """How many weights of each row and of each column are not zero."""
    rows = torch.empty(weight.shape[0], dtype=torch.float64)
    columns = torch.zeros(flat(weight).shape[1], dtype=torch.float64)
    for some in row_blocks(weight.shape[0], len(columns)):
        live = (flat(weight)[some] != 0).float()
        rows[some] = live.sum(dim=1).double()
        columns += live.sum(dim=0).double()
    return rows, columns.reshape(weight.shape[1], -1).sum(dim=1)


def _sinkhorn(weight: Tensor) -> tuple[Tensor, Tensor]:
    """r and c, float64, after rows and columns were balanced in turn until nothing moves."""
    small = weight.numel() <= SMALL
    energies, tolerance = _energies(weight, small), FINE if small else COARSE
    in_row, in_column = _live(weight)
    r, c = torch.zeros_like(in_row), torch.ones_like(in_column)
    for _ in range(ROUNDS):
        sums = torch.zeros_like(c)
        for rows, energy in energies():
            r[rows] = _root((energy @ c.square().to(energy.dtype)).double(), in_row[rows])
            sums += (r[rows].square().to(energy.dtype) @ energy).double()
        before, c = c, _root(sums, in_column)
        live = c > 0
        if not live.any() or float((c[live] / before[live] - 1).abs().max()) < tolerance:
            break
    return r, c


def _root(total: Tensor, count: Tensor) -> Tensor:
    """sqrt(count / total); 0 where there is nothing."""
    return torch.where(total > 0, (count / total.clamp_min(torch.finfo(torch.float64).tiny)).sqrt(), 0.0)
