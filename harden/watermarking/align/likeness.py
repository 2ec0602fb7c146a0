"""How alike two sets of channels are: by their weights where the other side is known, by their quantiles where not."""

import torch
from torch import Tensor

from harden.seeds import stream
from harden.watermarking.align.tables import Table

WIDE = 1024
"""Columns up to which rows are compared in full; more are folded to so many."""
QUANTILES = 64


def likeness(reference: Tensor, suspect: Tensor) -> Tensor:
    """Cosines of rows, (reference's, suspect's), both as `compact` made them."""
    return reference @ suspect.T


def compact(rows: Tensor) -> Tensor:
    """Rows of length 1 with at most `WIDE` columns."""
    return _units(folded(rows))


def folded(rows: Tensor) -> Tensor:
    """Rows of at most `WIDE` columns with about the same scalar products: columns are added up with random signs.

    A count sketch (Charikar et al. 2002); a product is off by about 1 / sqrt(WIDE) of the lengths.
    """
    count, columns = rows.shape
    if columns <= WIDE:
        return rows
    signs = torch.randint(0, 2, (columns,), generator=stream(columns, "fold").generator()).to(rows.dtype) * 2 - 1
    out = torch.zeros(count, WIDE, dtype=rows.dtype)
    for start in range(0, columns, WIDE):
        piece = slice(start, min(start + WIDE, columns))
        out[:, : piece.stop - start].addcmul_(rows[:, piece], signs[piece])
    return out


def guess(reference: Table, suspect: Table, dim: int) -> tuple[Tensor, Tensor]:
    """As `likeness`, without knowing the order of the other side: for channels as they are, and for negated ones.

    What is compared are the quantiles over the other side's channels, kernel position by kernel position, which no
    order of them changes.
    """
    first, second = _profile(reference, dim), _profile(suspect, dim)
    centre = first.mean(dim=0)
    negated = -second.flip(-1)
    same, opposite = (
        _units((first - centre).flatten(1)) @ _units((one - centre).flatten(1)).T for one in (second, negated)
    )
    return same, opposite


def _profile(side: Table, dim: int) -> Tensor:
    """Quantiles over the other side's channels, (channels, rest, quantiles)."""
    values = side.values if dim == 0 else side.values.transpose(0, 1)
    ordered = values.sort(dim=1).values
    at = torch.linspace(0, 1, QUANTILES) * (values.shape[1] - 1)
    low, high = ordered[:, at.floor().long()], ordered[:, at.ceil().long()]
    return torch.lerp(low, high, (at - at.floor())[None, :, None].to(low.dtype)).transpose(1, 2)


def _units(rows: Tensor) -> Tensor:
    out: Tensor = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
    return out
