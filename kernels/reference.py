"""The definition of every operation: NumPy, one sample at a time, obvious and slow. Arrays are (n, d).

Written apart from the rules and engines, so that their agreement with it is evidence. L-inf and uniform
compute in float32, as the engines must to the bit; L2 and L1 compute in float64 and round once, at the end.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


def step_linf(
    x_adv: Floats, gradient: Floats, x: Floats, *, step: float, eps: float, low: float, high: float
) -> Floats:
    sign = np.where(np.isnan(gradient), 0, np.sign(gradient)).astype(np.float32)
    return project_linf(x_adv + np.float32(step) * sign, x, eps=eps, low=low, high=high)


def project_linf(x_adv: Floats, x: Floats, *, eps: float, low: float, high: float) -> Floats:
    radius = np.float32(eps)
    in_ball = np.minimum(np.maximum(x_adv, x - radius), x + radius)
    return _cut(in_ball, low, high)


def step_l2(x_adv: Floats, gradient: Floats, x: Floats, *, step: float, eps: float, low: float, high: float) -> Floats:
    moved = x_adv.astype(np.float64)
    for point, slope in zip(moved, gradient.astype(np.float64), strict=True):
        norm = np.float32(math.sqrt(np.sum(slope**2)))
        if norm > 0 and np.isfinite(norm):
            point += np.float32(step) * slope / norm
    return _project_l2(moved, x, eps=eps, low=low, high=high)


def project_l2(x_adv: Floats, x: Floats, *, eps: float, low: float, high: float) -> Floats:
    return _project_l2(x_adv.astype(np.float64), x, eps=eps, low=low, high=high)


def step_l1(
    x_adv: Floats,
    gradient: Floats,
    x: Floats,
    *,
    step: float,
    eps: float,
    low: float,
    high: float,
    share: float,
) -> Floats:
    moved = x_adv.astype(np.float64)
    for point, slope in zip(moved, gradient, strict=True):
        chosen = _steepest(point, slope, low, high, math.ceil(share * point.size))
        if chosen.any():
            point[chosen] += np.float32(step) / chosen.sum() * np.sign(slope[chosen])
    return _project_l1(moved, x, eps=eps, low=low, high=high)


def project_l1(x_adv: Floats, x: Floats, *, eps: float, low: float, high: float) -> Floats:
    return _project_l1(x_adv.astype(np.float64), x, eps=eps, low=low, high=high)


def onto_plane(point: Floats, normal: Floats, offset: Floats, *, euclidean: bool, low: float, high: float) -> Floats:
    steps = np.zeros_like(point, dtype=np.float64)
    for step, start, slope, value in zip(steps, point, normal.astype(np.float64), offset.tolist(), strict=True):
        towards = -np.sign(value) * np.sign(slope)
        room = np.where(towards > 0, np.float32(high) - start, start - np.float32(low)).astype(np.float64)
        speed = abs(slope) if euclidean else np.ones_like(slope)
        step[...] = towards * np.minimum(_plane_root(abs(slope), speed, room, abs(value)) * speed, room)
    return steps.astype(np.float32)


def paste(
    x_adv: Floats, x: Floats, corner: NDArray[np.int64], leap: Floats, *, side: int, eps: float, low: float, high: float
) -> tuple[Floats, NDArray[np.bool_]]:
    """Images (n, c, h, w); the moved ones, and whether each has moved."""
    moved = x_adv.copy()
    for i, first in enumerate(corner):
        rows, columns = _window(int(first), side, *x_adv.shape[2:])
        for channel in range(x_adv.shape[1]):
            place = i, channel, rows, columns
            moved[place] = project_linf(moved[place] + leap[i, channel], x[place], eps=eps, low=low, high=high)
    return moved, (moved != x_adv).any(axis=(1, 2, 3))


def _window(first: int, side: int, height: int, width: int) -> tuple[slice, slice]:
    row, column = divmod(first, width)
    fits = 0 <= row <= height - side and column <= width - side
    return (slice(row, row + side), slice(column, column + side)) if fits else (slice(0), slice(0))


def uniform(key: int, rows: NDArray[np.int64], pixels: int, *, low: float, high: float, draw: int = 0) -> Floats:
    """Numbers of shape (n, pixels)."""
    out = np.empty((len(rows), pixels), np.float32)
    span = np.float32(float(np.float32(high)) - float(np.float32(low)))
    for i, row in enumerate(rows.tolist()):
        for element in range(pixels):
            identity = row % 2**64
            counter = (element // 4, identity % 2**32, identity // 2**32, draw)
            word = philox(counter, (key % 2**32, key // 2**32))[element % 4]
            out[i, element] = np.float32(low) + span * np.float32((word >> 8) / 2**24)
    return out


def start_linf(
    key: int, rows: NDArray[np.int64], x: Floats, *, eps: float, low: float, high: float, draw: int = 0
) -> Floats:
    return _cut(x + np.float32(eps) * uniform(key, rows, x.shape[1], low=-1.0, high=1.0, draw=draw), low, high)


def apgd_linf(
    x_adv: Floats,
    before: Floats,
    gradient: Floats,
    x: Floats,
    *,
    size: Floats,
    share: float,
    eps: float,
    low: float,
    high: float,
) -> Floats:
    limits = {"eps": eps, "low": low, "high": high}
    sign = np.where(np.isnan(gradient), 0, np.sign(gradient)).astype(np.float32)
    z = project_linf(x_adv + size[:, None] * sign, x, **limits)
    onward, inertia = np.float32(share) * (z - x_adv), np.float32(1 - share) * (x_adv - before)
    return project_linf(x_adv + onward + inertia, x, **limits)


def keep_best(
    x_adv: Floats, gradient: Floats, loss: Floats, best: Floats, best_gradient: Floats, best_loss: Floats
) -> tuple[Floats, Floats, Floats]:
    loss = np.where(np.isnan(loss), np.float32(np.inf), loss)
    better = loss > best_loss
    rows = better[:, None]
    return (
        np.where(rows, x_adv, best),
        np.where(rows, gradient, best_gradient),
        np.where(better, loss, best_loss),
    )


def margin(logits: Floats, y: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Values (n,) and gradients (n, classes), as `dlr` and `targeted_dlr` give them."""
    return _losses(logits, y, y, lambda z, label, _: (_rival(z, label), [], 0.0))


def dlr(logits: Floats, y: NDArray[np.int64]) -> tuple[Floats, Floats]:
    return _losses(logits, y, y, lambda z, label, _: (_rival(z, label), [(_ranked(z)[2], 1.0)], 1.0))


def targeted_dlr(logits: Floats, y: NDArray[np.int64], target: NDArray[np.int64]) -> tuple[Floats, Floats]:
    return _losses(logits, y, target, lambda z, _, aim: (aim, [(rank, 0.5) for rank in _ranked(z)[2:4]], 1.0))


Shape = Callable[[Doubles, int, int], tuple[int, list[tuple[int, float]], float]]
"""Logits, label, target -> whose lead is meant; the ranks below the gap with their weights; whether there is a gap."""


def _losses(logits: Floats, y: NDArray[np.int64], target: NDArray[np.int64], shape: Shape) -> tuple[Floats, Floats]:
    value, gradient = np.full(len(logits), np.nan), np.zeros(logits.shape)
    classes = range(logits.shape[1])
    for i, (label, aim) in enumerate(zip(y.tolist(), target.tolist(), strict=True)):
        z = logits[i].astype(np.float64)
        if label not in classes or aim not in classes or not np.isfinite(z).all():
            continue
        ahead, below, has_gap = shape(z, label, aim)
        slope = np.zeros_like(z)
        slope[ahead] += 1
        slope[label] -= 1
        gap, slope_of_gap = 1.0, np.zeros_like(z)
        if has_gap:
            gap = z[_ranked(z)[0]] - sum(weight * z[rank] for rank, weight in below) + 1e-12
            slope_of_gap[_ranked(z)[0]] += 1
            for rank, weight in below:
                slope_of_gap[rank] -= weight
        value[i] = (z[ahead] - z[label]) / gap
        gradient[i] = (slope - value[i] * slope_of_gap) / gap
    return value.astype(np.float32), gradient.astype(np.float32)


def _ranked(z: Doubles) -> list[int]:
    """Classes by falling logit, the lower one first among equals."""
    return sorted(range(len(z)), key=lambda k: (-z[k], k))


def _rival(z: Doubles, label: int) -> int:
    return next(k for k in _ranked(z) if k != label)


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Philox4x32-10 (Salmon et al. 2011, figure 2 and section 3.3) over Python's unbounded integers."""
    left, carried_left, right, carried_right = counter
    for number in range(10):
        high_left, low_left = divmod(0xD2511F53 * left, 2**32)
        high_right, low_right = divmod(0xCD9E8D57 * right, 2**32)
        left = high_right ^ carried_left ^ (key[0] + number * 0x9E3779B9) % 2**32
        right = high_left ^ carried_right ^ (key[1] + number * 0xBB67AE85) % 2**32
        carried_left, carried_right = low_right, low_left
    return left, carried_left, right, carried_right


def _project_l2(x_adv: Doubles, x: Floats, *, eps: float, low: float, high: float) -> Floats:
    out = x_adv.copy()
    for point, centre in zip(out, x.astype(np.float64), strict=True):
        change = point - centre
        if math.sqrt(np.sum(change**2)) > np.float32(eps):
            room = np.where(change > 0, np.float32(high) - centre, centre - np.float32(low))
            lengths = np.minimum(abs(change) * _stretch(abs(change), room, float(np.float32(eps))), room)
            point[...] = centre + np.sign(change) * lengths
    return _boxed(out, low, high)


def _stretch(change: Doubles, room: Doubles, eps: float) -> float:
    """The largest share of `change`, 1 at most, whose part inside the room is no longer than eps."""
    below, above = 0.0, 1.0
    if np.sum(np.minimum(change, room) ** 2) <= eps**2:
        return above
    for _ in range(200):
        middle = (below + above) / 2
        fits = np.sum(np.minimum(middle * change, room) ** 2) <= eps**2
        below, above = (middle, above) if fits else (below, middle)
    return below


def _project_l1(x_adv: Doubles, x: Floats, *, eps: float, low: float, high: float) -> Floats:
    out = x_adv.copy()
    for point, centre in zip(out, x.astype(np.float64), strict=True):
        change = point - centre
        room = np.where(change > 0, np.float32(high) - centre, centre - np.float32(low))
        lam = _shrinkage(abs(change), room, float(np.float32(eps)))
        point[...] = centre + np.sign(change) * _lengths(abs(change), room, lam)
    return _boxed(out, low, high)


def _shrinkage(change: Doubles, room: Doubles, eps: float) -> float:
    """The least lam >= 0 with lengths that sum to eps at most: found between two neighbouring kinks."""
    kinks = np.unique(np.maximum(np.concatenate([[0.0], change.ravel(), (change - room).ravel()]), 0))
    sums = np.array([_lengths(change, room, kink).sum() for kink in kinks])
    if sums[0] <= eps:
        return 0.0
    after = int(np.argmax(sums <= eps))
    share = (sums[after - 1] - eps) / (sums[after - 1] - sums[after])
    return float(kinks[after - 1] + share * (kinks[after] - kinks[after - 1]))


def _lengths(change: Doubles, room: Doubles, lam: float) -> Doubles:
    return np.minimum(np.maximum(change - lam, 0), room)


def _steepest(point: Doubles, slope: Floats, low: float, high: float, count: int) -> NDArray[np.bool_]:
    up, down = (slope > 0) & (point < np.float32(high)), (slope < 0) & (point > np.float32(low))
    steepness = np.where(up | down, abs(slope), 0)
    least = np.sort(steepness.ravel())[-count]
    chosen: NDArray[np.bool_] = (steepness >= least) & (steepness > 0)
    return chosen


def _plane_root(weight: Doubles, speed: Doubles, room: Doubles, wanted: float) -> float:
    """Where the rising sum of weight min(r speed, room) is `wanted`, by bisection; far out where it never is."""
    below, above = 0.0, 1e6
    for _ in range(200):
        middle = (below + above) / 2
        reached = np.sum(weight * np.minimum(middle * speed, room)) >= wanted
        below, above = (below, middle) if reached else (middle, above)
    return above


def _boxed(point: Doubles, low: float, high: float) -> Floats:
    return _cut(point.astype(np.float32), low, high)


def _cut(point: Floats, low: float, high: float) -> Floats:
    cut: Floats = np.clip(point, np.float32(low), np.float32(high))
    return cut
