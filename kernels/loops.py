"""Loops around the rules, compiled by numba at their first call. Arrays are (n, d): samples, pixels.

One sample is one thread's work, so results do not depend on the number of threads. Nothing is cached on disk,
since numba's cache holds pickles.
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba import prange
from numpy.typing import NDArray

from harden.kernels import rules

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
Flags = NDArray[np.bool_]
Single = float | np.float32  # a scalar that is a float32 when compiled code sees it
Function = TypeVar("Function", bound=Callable[..., Any])

_SHORT = 1e-9  # how much of eps may be left unused: Newton's method aims below eps, or rounding would exceed it
# Of a number, 0.75 to 1.5 of its last place: rounds to one. nextafter, never vectorised, takes 10 ns a pixel.
_ONE_ULP: Any = np.float32(0.75 * 2.0**-23)
_CLOSE = 1e-7  # which share of the way to a plane may be missing: float32's own rounding
_TRIALS = 320  # four to seven are usual; 320 leave 40 halvings, a float32's worth, should Newton never help


def loop(function: Function) -> Function:
    return cast(Function, numba.njit(parallel=True, nogil=True, error_model="numpy")(function))


def serial(function: Function) -> Function:
    return cast(Function, numba.njit(error_model="numpy")(function))


def _sum(function: Function) -> Function:
    """A sum that may be reordered, hence vectorised; NaN and infinity keep their meaning."""
    return cast(Function, numba.njit(error_model="numpy", fastmath={"reassoc"})(function))


ascended = serial(rules.ascended)
clipped = serial(rules.clipped)
_can_ascend = serial(rules.can_ascend)
_room_for = serial(rules.room_for)
_shrunk = serial(rules.shrunk)
_added_inwards = serial(rules.added_inwards)
_philox_round = serial(rules.philox_round)
_next_key = serial(rules.next_key)
fraction = serial(rules.fraction)


@loop
def step_linf(
    x_adv: Floats, gradient: Floats, x: Floats, step: float, eps: float, low: float, high: float, out: Floats
) -> None:
    for i in prange(len(out)):
        for j in range(out.shape[1]):
            moved = ascended(x_adv[i, j], gradient[i, j], step)
            out[i, j] = clipped(clipped(moved, x[i, j] - eps, x[i, j] + eps), low, high)


@loop
def project_linf(x_adv: Floats, x: Floats, eps: float, low: float, high: float, out: Floats) -> None:
    for i in prange(len(out)):
        for j in range(out.shape[1]):
            out[i, j] = clipped(clipped(x_adv[i, j], x[i, j] - eps, x[i, j] + eps), low, high)


@loop
def step_l2(
    x_adv: Floats, gradient: Floats, x: Floats, step: float, eps: float, low: float, high: float, out: Floats
) -> None:
    for i in prange(len(out)):
        _along_gradient(x_adv[i], gradient[i], step, out[i])
        _into_l2(out[i], x[i], eps, low, high, out[i])


@loop
def project_l2(x_adv: Floats, x: Floats, eps: float, low: float, high: float, out: Floats) -> None:
    for i in prange(len(out)):
        _into_l2(x_adv[i], x[i], eps, low, high, out[i])


@loop
def step_l1(
    x_adv: Floats,
    gradient: Floats,
    x: Floats,
    step: float,
    eps: float,
    low: float,
    high: float,
    count: int,
    out: Floats,
) -> None:
    for i in prange(len(out)):
        _along_steepest(x_adv[i], gradient[i], step, low, high, count, out[i])
        _into_l1(out[i], x[i], eps, low, high, out[i])


@loop
def project_l1(x_adv: Floats, x: Floats, eps: float, low: float, high: float, out: Floats) -> None:
    for i in prange(len(out)):
        _into_l1(x_adv[i], x[i], eps, low, high, out[i])


@loop
def onto_plane(
    point: Floats, normal: Floats, offset: Floats, low: Single, high: Single, euclidean: bool, out: Floats
) -> None:
    for i in prange(len(out)):
        _onto_plane(point[i], normal[i], offset[i], euclidean, low, high, out[i])


@loop
def paste(
    x_adv: Floats,
    x: Floats,
    corner: Ids,
    leap: Floats,
    side: int,
    eps: float,
    low: float,
    high: float,
    old: Floats,
    changed: Flags,
) -> None:
    for i in prange(len(x_adv)):
        changed[i] = _pasted(x_adv[i], x[i], corner[i], leap[i], side, eps, low, high, old[i])


@loop
def take_back(x_adv: Floats, corner: Ids, kept: Flags, side: int, old: Floats) -> None:
    for i in prange(len(x_adv)):
        if not kept[i]:
            _taken_back(x_adv[i], corner[i], side, old[i])


@loop
def uniform(k0: int, k1: int, rows: Ids, draw: int, low: Single, span: Single, out: Floats) -> None:
    for i in prange(len(out)):
        for block in range((out.shape[1] + 3) // 4):
            words = philox(block, rows[i] & 0xFFFFFFFF, rows[i] >> 32 & 0xFFFFFFFF, draw, k0, k1)
            for place in range(min(4, out.shape[1] - 4 * block)):
                out[i, 4 * block + place] = low + span * np.float32(fraction(words[place]))


@serial
def philox(c0: int, c1: int, c2: int, c3: int, k0: int, k1: int) -> tuple[int, int, int, int]:
    """The four words of Philox4x32-10 at a counter under a key, all of them 32-bit words in int64."""
    for _ in range(10):
        c0, c1, c2, c3 = _philox_round(c0, c1, c2, c3, k0, k1)
        k0, k1 = _next_key(k0, k1)
    return c0, c1, c2, c3


@serial
def _along_gradient(x_adv: Floats, gradient: Floats, step: float, out: Floats) -> None:
    norm = np.float32(math.sqrt(_squares(gradient)))
    moves = 0 < norm < np.inf
    for j in range(len(out)):
        out[j] = x_adv[j] + gradient[j] / norm * step if moves else x_adv[j]


@serial
def _into_l2(x_adv: Floats, x: Floats, eps: float, low: float, high: float, out: Floats) -> None:
    change = _difference(x_adv, x)
    norm = np.float32(math.sqrt(_squares(change)))
    if norm > eps:
        room = np.empty_like(x)
        for j in range(len(x)):
            room[j] = np.float32(max(_room_for(change[j], x[j], low, high), 0.0))
        share = np.float32(_stretch(np.abs(change), room, float(norm), eps))
        for j in range(len(out)):
            kept = math.copysign(min(abs(change[j]) * share, room[j]), change[j])
            out[j] = clipped(_added_inwards(x[j], kept, _ONE_ULP), low, high)
    else:
        for j in range(len(out)):
            out[j] = clipped(x_adv[j], low, high)


@serial
def _stretch(length: Floats, room: Floats, norm: float, eps: float) -> float:
    """The largest share of `length`, 1 at most, whose part inside the room is no longer than eps.

    Met from below, hence never too long: what the box cuts off is shared out among the pixels that have room,
    some of which then meet the box in their turn.
    """
    share = eps / norm
    for _ in range(_TRIALS):
        cut, rest = _stretched(length, room, share)
        if rest <= 0:
            return min(share, 1.0)
        better = min(math.sqrt(max(eps * eps - cut, 0.0) / rest), 1.0)
        if better <= share * (1 + _SHORT):
            return share
        share = better
    return share


@_sum
def _stretched(length: Floats, room: Floats, share: float) -> tuple[float, float]:
    """The squares of the room where the stretched length ends at the box, and of the length elsewhere."""
    cut, rest = 0.0, 0.0
    for j in range(len(length)):
        free = length[j] * np.float32(share) < room[j]
        cut += 0.0 if free else np.float64(room[j]) * room[j]
        rest += np.float64(length[j]) * length[j] if free else 0.0
    return cut, rest


@serial
def _onto_plane(
    point: Floats, normal: Floats, offset: float, euclidean: bool, low: Single, high: Single, out: Floats
) -> None:
    way, wanted = np.float32(-1.0 if offset > 0 else 1.0), abs(offset)
    room, weight = np.empty_like(point), np.empty_like(point)
    for j in range(len(point)):
        weight[j] = abs(normal[j])
        room[j] = high - point[j] if way * normal[j] > 0 else point[j] - low
    reach = np.float32(_plane_reach(weight, room, wanted, euclidean))
    for j in range(len(point)):
        size = min(reach * weight[j] if euclidean else reach, max(room[j], np.float32(0)))
        out[j] = math.copysign(size, way * normal[j]) if weight[j] > 0 else np.float32(0)


@serial
def _plane_reach(weight: Floats, room: Floats, wanted: float, euclidean: bool) -> float:
    """The r at which the weighted sum of min(r speed, room) is `wanted`, met from below by Newton's method."""
    reach = 0.0
    for _ in range(_TRIALS):
        total, slope = _plane_sum(weight, room, np.float32(reach), euclidean)
        missing = wanted - total
        if missing <= _CLOSE * wanted or slope <= 0:
            return reach
        reach += missing / slope
    return reach


@_sum
def _plane_sum(weight: Floats, room: Floats, reach: Single, euclidean: bool) -> tuple[float, float]:
    """How far the plane's equation has come at `reach`, and how fast it goes on."""
    total, slope = 0.0, 0.0
    for j in range(len(weight)):
        speed = weight[j] if euclidean else np.float32(1)
        size = min(reach * speed, max(room[j], np.float32(0)))
        total += np.float64(weight[j] * size)
        slope += np.float64(weight[j] * speed) if size < room[j] else 0.0
    return total, slope


@serial
def _pasted(
    point: Floats,
    x: Floats,
    corner: int,
    leap: Floats,
    side: int,
    eps: float,
    low: float,
    high: float,
    old: Floats,
) -> bool:
    channels, height, width = point.shape
    row, column, changed = corner // width, corner % width, False
    if corner < 0 or row + side > height or column + side > width:
        return changed
    for channel in range(channels):
        for i in range(side):
            for j in range(side):
                before, centre = point[channel, row + i, column + j], x[channel, row + i, column + j]
                after = clipped(clipped(before + leap[channel], centre - eps, centre + eps), low, high)
                old[channel, i, j] = before
                point[channel, row + i, column + j] = after
                changed |= after != before
    return changed


@serial
def _taken_back(point: Floats, corner: int, side: int, old: Floats) -> None:
    channels, height, width = point.shape
    row, column = corner // width, corner % width
    if corner < 0 or row + side > height or column + side > width:
        return
    for channel in range(channels):
        point[channel, row : row + side, column : column + side] = old[channel]


@serial
def _difference(x_adv: Floats, x: Floats) -> Floats:
    """x_adv - x in memory of its own: a loop that writes to what it reads is not vectorised."""
    change = np.empty_like(x)
    for j in range(len(x)):
        change[j] = x_adv[j] - x[j]
    return change


@_sum
def _squares(vector: Floats) -> float:
    total = 0.0
    for j in range(len(vector)):
        total += np.float64(vector[j]) * vector[j]
    return total


@serial
def _along_steepest(
    x_adv: Floats, gradient: Floats, step: float, low: float, high: float, count: int, out: Floats
) -> None:
    steepness = np.empty_like(gradient)
    for j in range(len(out)):
        steepness[j] = abs(gradient[j]) if _can_ascend(x_adv[j], gradient[j], low, high) else 0
    bits = steepness.view(np.int32)  # not negative, so the bits are ordered as the numbers are
    least = max(1, _nth_largest(bits, count))
    each = step / max(1, _count_from(bits, least))
    for j in range(len(out)):
        out[j] = ascended(x_adv[j], gradient[j], each) if bits[j] >= least else x_adv[j]


@serial
def _nth_largest(numbers: NDArray[np.int32], n: int) -> int:
    """The n-th largest of numbers >= 0, bit by bit from the top: 31 vectorised passes.

    np.partition takes seconds to compile (step_l1: 13.9 s instead of 4.7 s).
    """
    found = 0
    for place in range(30, -1, -1):
        tried = found | (1 << place)
        if _count_from(numbers, tried) >= n:
            found = tried
    return found


@serial
def _count_from(numbers: NDArray[np.int32], least: int) -> int:
    lowest, count = np.int32(least), np.int32(0)  # 32 bits wide, so that twice as many fit a register
    for j in range(len(numbers)):
        count += np.int32(numbers[j] >= lowest)
    return int(count)


@serial
def _into_l1(x_adv: Floats, x: Floats, eps: float, low: float, high: float, out: Floats) -> None:
    change, room = _difference(x_adv, x), np.empty_like(x)
    for j in range(len(x)):
        room[j] = _room_for(change[j], x[j], low, high)
    lam = _shrinkage(np.abs(change), room, eps)
    if lam > 0:
        for j in range(len(out)):
            kept = math.copysign(np.float32(_shrunk(abs(change[j]), lam, room[j])), change[j])
            out[j] = clipped(_added_inwards(x[j], kept, _ONE_ULP), low, high)
    else:
        for j in range(len(out)):
            out[j] = clipped(x_adv[j], low, high)


@serial
def _shrinkage(length: Floats, room: Floats, eps: float) -> float:
    """The least lam >= 0, met from above, at which the shrunk lengths sum to eps at most.

    Newton's method solves the piece of the piecewise linear sum it stands on; the bracket keeps it in bounds,
    and every eighth trial halves that, since the sum is neither convex nor concave where room runs out.
    """
    below, above, lam = 0.0, float(np.max(length)), 0.0
    for trial in range(_TRIALS):
        total, falling = _shrunk_sum(length, lam, room)
        if total > eps:
            below = lam
        elif lam == 0 or total >= eps * (1 - _SHORT):
            return lam
        else:
            above = lam
        lam += (total - eps * (1 - _SHORT / 2)) / falling
        if trial % 8 == 7 or not below < lam <= above:
            lam = (below + above) / 2
    return above


@_sum
def _shrunk_sum(length: Floats, lam: float, room: Floats) -> tuple[float, int]:
    """The sum of the shrunk lengths, and how many of them fall as lam grows."""
    total, falling = 0.0, 0
    for j in range(len(length)):
        total += _shrunk(length[j], lam, room[j])
        falling += 0 < length[j] - lam < room[j]
    return total, falling
