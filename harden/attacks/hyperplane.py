"""The smallest step onto a hyperplane inside the pixel box, for many points at once.

What Croce and Hein (2020, arXiv 1907.02044, section 3.1) solve by sorting is, for linf and l2, one concave
piecewise linear equation a point; Newton's method from the left solves it exactly in as many steps as it
passes kinks, a handful, without a sort. l1 fills the steepest pixels first and does sort.
"""

import torch
from torch import Tensor

from harden.threat import Norm

NEWTON_STEPS = 12
"""More than were ever needed on images; each costs three passes over the pixels."""


def step_onto(point: Tensor, normal: Tensor, offset: Tensor, norm: Norm, low: float, high: float) -> Tensor:
    """The smallest step d, in `norm`, with normal . d = -offset and low <= point + d <= high, (n, pixels).

    point, normal: (n, pixels); offset: (n,), the value of the plane's equation at the point. Where the box
    does not reach the plane, the step goes as far towards it as the box allows.
    """
    towards = -offset.sign()[:, None] * normal.sign()
    room = torch.where(towards > 0, high - point, point - low).clamp_min_(0)
    weight, wanted = normal.abs(), offset.abs()
    if norm is Norm.l1:
        return towards * _fill(weight, room, wanted)
    speed = weight if norm is Norm.l2 else torch.ones_like(weight)
    return towards * _grow(weight, room, wanted, speed)


def _grow(weight: Tensor, room: Tensor, wanted: Tensor, speed: Tensor) -> Tensor:
    """min(r speed, room) for the smallest r at which the weighted sum is `wanted`."""
    rate = weight * speed
    reach = torch.zeros_like(wanted)[:, None]
    for _ in range(NEWTON_STEPS):
        size = torch.minimum(reach * speed, room)
        missing = wanted - (weight * size).sum(dim=1)
        slope = torch.where(size < room, rate, torch.zeros_like(rate)).sum(dim=1)
        reach = reach + (missing / slope.clamp_min(1e-12)).clamp_min(0)[:, None]
    return torch.minimum(reach * speed, room)


def _fill(weight: Tensor, room: Tensor, wanted: Tensor) -> Tensor:
    """The whole room of the heaviest pixels, in order, and of one last pixel as much as is `wanted`."""
    order = weight.argsort(dim=1, descending=True)
    gain = (weight * room).gather(1, order)
    before = gain.cumsum(dim=1) - gain
    left = (wanted[:, None] - before).clamp_min(0)
    size = torch.minimum(left / weight.gather(1, order).clamp_min(1e-12), room.gather(1, order))
    return torch.zeros_like(size).scatter_(1, order, size)
