"""The engine that runs everywhere: torch operations, any device, floating dtype and layout.

Nothing here synchronises with the host, so a caller may capture it in a CUDA graph. L1 and L2 lengths are
summed in float64: in float32 the sum over 150,528 pixels alone may be off by more than 1e-6.
"""

import math

import torch
from torch import Tensor

from harden.kernels.exact import apgd_linf, keep_best, project_linf, start_linf, step_linf, uniform
from harden.kernels.logits import dlr, margin, targeted_dlr

__all__ = [
    "apgd_linf",
    "dlr",
    "keep_best",
    "margin",
    "onto_plane",
    "paste",
    "project_l1",
    "project_l2",
    "project_linf",
    "start_linf",
    "step_l1",
    "step_l2",
    "step_linf",
    "take_back",
    "targeted_dlr",
    "uniform",
]

_TINY = 1e-30
_NEWTON_STEPS = 12  # more than were ever needed on images
_STRETCHES = 12  # three to six are usual: each passes all kinks that the one before uncovered
_BISECTIONS = 32  # a bracket of the longest change over 2**32: below float32's resolution of a pixel


@torch.no_grad()
def step_l2(
    x_adv: Tensor,
    gradient: Tensor,
    x: Tensor,
    *,
    step: float,
    eps: float,
    low: float,
    high: float,
    out: Tensor,
) -> Tensor:
    norm = _norm(gradient)
    moves = (norm > 0) & norm.isfinite()
    direction = torch.where(moves, gradient / norm, 0)
    torch.add(x_adv, direction.mul_(step), out=out)
    return project_l2(out, x, eps=eps, low=low, high=high, out=out)


@torch.no_grad()
def step_l1(
    x_adv: Tensor,
    gradient: Tensor,
    x: Tensor,
    *,
    step: float,
    eps: float,
    low: float,
    high: float,
    count: int,
    out: Tensor,
) -> Tensor:
    stuck = ((gradient > 0) & (x_adv >= high)) | ((gradient < 0) & (x_adv <= low)) | gradient.isnan()
    steepness = gradient.abs().masked_fill_(stuck, 0)
    moves = (steepness > 0) & (steepness >= _nth_largest(steepness, count))
    each = (step / _total(moves).clamp_(min=1)).to(x_adv.dtype)
    torch.add(x_adv, torch.sign(gradient).mul_(moves).mul_(each), out=out)
    return project_l1(out, x, eps=eps, low=low, high=high, out=out)


@torch.no_grad()
def project_l2(x_adv: Tensor, x: Tensor, *, eps: float, low: float, high: float, out: Tensor) -> Tensor:
    change = x_adv - x
    norm = _norm(change)
    length = change.abs()
    room = torch.where(change > 0, high - x, x - low).clamp_(min=0)
    kept = torch.minimum(length * _stretch(length, room, norm, eps), room)
    torch.where(norm > eps, _added_inwards(x, kept.copysign_(change)), x_adv, out=out)
    return out.clamp_(low, high)


@torch.no_grad()
def project_l1(x_adv: Tensor, x: Tensor, *, eps: float, low: float, high: float, out: Tensor) -> Tensor:
    change = x_adv - x
    length = change.abs()
    room = torch.where(change > 0, high - x, x - low)
    inside = _total(torch.minimum(length, room)) <= eps
    kept = _shrunk(length, room, _shrinkage(length, room, eps))
    torch.where(inside, x_adv, _added_inwards(x, kept.copysign_(change)), out=out)
    return out.clamp_(low, high)


@torch.no_grad()
def onto_plane(
    point: Tensor, normal: Tensor, offset: Tensor, *, euclidean: bool, low: float, high: float, out: Tensor
) -> Tensor:
    towards = -offset.sign()[:, None] * normal.sign()
    room = torch.where(towards > 0, high - point, point - low).clamp_(min=0)
    weight, wanted = normal.abs(), offset.abs()
    speed = weight if euclidean else torch.ones_like(weight)
    rate = weight * speed
    reach = torch.zeros_like(wanted)[:, None]
    for _ in range(_NEWTON_STEPS):
        size = torch.minimum(reach * speed, room)
        missing = wanted - (weight * size).sum(dim=1)
        slope = torch.where(size < room, rate, torch.zeros_like(rate)).sum(dim=1)
        reach = reach + (missing / slope.clamp_(min=_TINY)).clamp_(min=0)[:, None]
    return torch.mul(towards, torch.minimum(reach * speed, room), out=out)


@torch.no_grad()
def paste(
    x_adv: Tensor,
    x: Tensor,
    corner: Tensor,
    leap: Tensor,
    *,
    side: int,
    eps: float,
    low: float,
    high: float,
    old: Tensor,
) -> Tensor:
    inside, fits = _window(corner, side, x_adv)
    point, was = x_adv.flatten(2), old.flatten(2)
    torch.gather(point, 2, inside, out=was)
    new = was + leap[:, :, None]
    project_linf(new, x.flatten(2).gather(2, inside), eps=eps, low=low, high=high, out=new)
    new = torch.where(fits, new, was)
    point.scatter_(2, inside, new)
    return (new != was).flatten(1).any(dim=1)


@torch.no_grad()
def take_back(x_adv: Tensor, corner: Tensor, kept: Tensor, *, side: int, old: Tensor) -> Tensor:
    inside, fits = _window(corner, side, x_adv)
    point = x_adv.flatten(2)
    stays = kept[:, None, None] | ~fits
    point.scatter_(2, inside, torch.where(stays, point.gather(2, inside), old.flatten(2)))
    return x_adv


def _window(corner: Tensor, side: int, images: Tensor) -> tuple[Tensor, Tensor]:
    """Flat pixel numbers (n, channels, side * side); whether the window fits, (n, 1, 1), else it is the first one."""
    height, width = images.shape[2:]
    fits = (corner >= 0) & (corner // width <= height - side) & (corner % width <= width - side)
    steps = torch.arange(side, device=corner.device)
    inside = (corner * fits)[:, None] + (steps[:, None] * width + steps).flatten()
    return inside[:, None].expand(-1, images.shape[1], -1), fits[:, None, None]


def _flat(tensor: Tensor) -> Tensor:
    return tensor.reshape(len(tensor), math.prod(tensor.shape[1:]))


def _per_sample(values: Tensor, like: Tensor) -> Tensor:
    """`values`, one a sample, shaped to broadcast against `like`."""
    return values.view(-1, *[1] * (like.ndim - 1))


def _norm(tensor: Tensor) -> Tensor:
    norm = torch.linalg.vector_norm(_flat(tensor), dim=1, dtype=torch.float64)
    return _per_sample(norm.to(tensor.dtype), tensor)


def _total(tensor: Tensor) -> Tensor:
    return _per_sample(_flat(tensor).sum(1, dtype=torch.float64), tensor)


def _nth_largest(tensor: Tensor, n: int) -> Tensor:
    return _per_sample(_flat(tensor).topk(n, dim=1, sorted=False).values.amin(1), tensor)


def _stretch(length: Tensor, room: Tensor, norm: Tensor, eps: float) -> Tensor:
    """Each sample's largest share of `length`, 1 at most, whose part inside the room is no longer than eps.

    Met from below, hence never too long: what the box cuts off is shared out among the pixels that have room.
    """
    share = (eps / norm).clamp_(max=1)
    for _ in range(_STRETCHES):
        free = length * share < room
        cut = _total(torch.where(free, torch.zeros_like(room), room.square()))
        rest = _total(torch.where(free, length.square(), torch.zeros_like(room)))
        better = ((eps * eps - cut).clamp_(min=0) / rest.clamp_(min=_TINY)).sqrt_().to(length.dtype)
        share = torch.maximum(share, better.clamp_(max=1))
    return share


def _shrinkage(length: Tensor, room: Tensor, eps: float) -> Tensor:
    """Each sample's least lam, met from above, at which the shrunk lengths sum to eps at most."""
    above = _per_sample(_flat(length).amax(1), length)
    below = torch.zeros_like(above)
    for _ in range(_BISECTIONS):
        middle = (below + above) / 2
        too_long = _total(_shrunk(length, room, middle)) > eps
        below, above = torch.where(too_long, middle, below), torch.where(too_long, above, middle)
    return above


def _shrunk(length: Tensor, room: Tensor, lam: Tensor) -> Tensor:
    return torch.minimum((length - lam).clamp_(min=0), room)


def _added_inwards(x: Tensor, change: Tensor) -> Tensor:
    """x + change, rounded so that it is never farther from x than `change` says.

    Rounded to nearest, 150,528 pixels of one colour all err to the same side, and the ball is left.
    """
    total = x + change
    too_far = (total - x).abs() > change.abs()
    return torch.where(too_far, torch.nextafter(total, x), total)
