"""The smallest step onto a hyperplane inside the pixel box, for many points at once.

What Croce and Hein (2020, arXiv 1907.02044, section 3.1) solve by sorting is, for linf and l2, one concave
piecewise linear equation a point, which `harden.kernels` solves without a sort. l1 fills the steepest pixels
first and does sort.
"""

import torch
from torch import Tensor

from harden import kernels
from harden.threat import Norm

TINY = 1e-12


def step_onto(point: Tensor, normal: Tensor, offset: Tensor, norm: Norm, low: float, high: float) -> Tensor:
    """The smallest step d, in `norm`, with normal . d = -offset and low <= point + d <= high, (n, pixels).

    point, normal: (n, pixels); offset: (n,), the value of the plane's equation at the point. Where the box
    does not reach the plane, the step goes as far towards it as the box allows.
    """
    if norm is not Norm.l1:
        out = torch.empty_like(point)
        return kernels.onto_plane(point, normal, offset, euclidean=norm is Norm.l2, low=low, high=high, out=out)
    towards = -offset.sign()[:, None] * normal.sign()
    room = torch.where(towards > 0, high - point, point - low).clamp_min_(0)
    return towards * _fill(normal.abs(), room, offset.abs())


def _fill(weight: Tensor, room: Tensor, wanted: Tensor) -> Tensor:
    """The whole room of the heaviest pixels, in order, and of one last pixel as much as is `wanted`."""
    order = weight.argsort(dim=1, descending=True)
    gain = (weight * room).gather(1, order)
    before = gain.cumsum(dim=1) - gain
    left = (wanted[:, None] - before).clamp_min(0)
    size = torch.minimum(left / weight.gather(1, order).clamp_min(TINY), room.gather(1, order))
    return torch.zeros_like(size).scatter_(1, order, size)
