"""Where Square's patches lie and what they look like."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor


def corners(draw: Tensor, sides: Sequence[int], x: Tensor, *, whole: bool) -> Tensor:
    """The flat pixel number of each square window's first pixel, (n, queries) int64.

    draw: (n, queries, 2) in [0, 1), for row and column; sides: of the windows, one a query; x: (n, channels,
    height, width). `whole`: the last row and column may be covered too.
    """
    height, width = x.shape[2:]
    room = [(height - side + int(whole), width - side + int(whole)) for side in sides]
    row, column = (draw * draw.new_tensor(room).clamp_min(1)).long().unbind(2)
    return row * width + column


def window(corner: Tensor, side: int, x: Tensor) -> Tensor:
    """The flat pixel numbers of a square window of each sample, (n, channels, side * side), for use with gather.

    corner: (n,) int64, the number of the window's first pixel; x: (n, channels, height, width).
    """
    inside: Tensor = corner[:, None] + _steps(side, x.shape[3], x.device)
    return inside[:, None].expand(-1, x.shape[1], -1)


@lru_cache(maxsize=64)
def _steps(side: int, width: int, device: torch.device) -> Tensor:
    """How far each pixel of a window lies behind its first, (side * side,)."""
    steps = torch.arange(side, device=device)
    return (steps[:, None] * width + steps).flatten()


def pattern(side: int) -> Tensor:
    """Two bumps of opposite sign, one above the other, (side, side), of l2 size 1.

    Each falls off in rectangles around its middle as 1 / k^2 (Andriushchenko et al. 2020, section 3.4).
    """
    upper = side // 2
    out = torch.cat([_bump(upper, side), -_bump(side - upper, side)])
    unit: Tensor = out / torch.linalg.vector_norm(out).clamp_min(1e-12)
    return unit


def mosaic(signs: Tensor, x: Tensor) -> Tensor:
    """The first perturbation: a grid of patterns with the given signs, (n, channels, 5, 5), like x, unscaled."""
    height, width = x.shape[2:]
    side = max(min(height, width) // 5, 1)
    out = torch.zeros_like(x)
    patch = pattern(side).to(x)
    top, left = (height - side * 5) // 2, (width - side * 5) // 2
    for i in range(min(5, height // side)):
        for j in range(min(5, width // side)):
            rows, columns = slice(top + i * side, top + (i + 1) * side), slice(left + j * side, left + (j + 1) * side)
            out[:, :, rows, columns] = signs[:, :, i, j, None, None] * patch
    return out


def _bump(height: int, width: int) -> Tensor:
    out = torch.zeros(height, width)
    top, left = height // 2, width // 2
    for k in range(max(height // 2 + 1, width // 2 + 1)):
        out[max(top - k, 0) : top + k + 1, max(left - k, 0) : left + k + 1] += 1 / (k + 1) ** 2
    unit: Tensor = out / torch.linalg.vector_norm(out).clamp_min(1e-12)
    return unit
