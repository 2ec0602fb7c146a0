"""CUDA kernels around the rules: a grid that strides over elements, or over samples with a block for each.

Arrays are flat, so that one source serves numba's arrays and, for PTX and cubins ahead of time, bare pointers. A
kernel names its element count, for a pointer knows none. Products that are added to are rounded first (`times`), where
bits must be those of every other engine. Sums over a sample are float64 and always in one order.
"""

import math
from typing import Any

import numpy as np

from harden.kernels import rules
from harden.kernels.gpu import THREADS, cuda, device, times

_SHORT = 1e-9  # as in `loops`, which explains them
_CLOSE = 1e-7
_TRIALS = 320
_ONE_ULP: Any = np.float32(0.75 * 2.0**-23)
_LEAST: Any = np.float32(-np.inf)
_TINY = np.float32(1e-12)
_ZERO: Any = np.float32(0)

_ascended = device(rules.ascended)
_clipped = device(rules.clipped)
_can_ascend = device(rules.can_ascend)
_room_for = device(rules.room_for)
_shrunk = device(rules.shrunk)
_added_inwards = device(rules.added_inwards)
_joined_top = device(rules.joined_top)
_philox_round = device(rules.philox_round)
_next_key = device(rules.next_key)
_fraction = device(rules.fraction)

Array = Any  # numba's device array, a pointer, or the simulator's NumPy array
Scalar = Any  # a float32 or an integer


# -- a thread for each element ------------------------------------------------------------------------------


def step_linf(
    x_adv: Array,
    gradient: Array,
    x: Array,
    step: Scalar,
    eps: Scalar,
    low: Scalar,
    high: Scalar,
    count: int,
    out: Array,
) -> None:
    i = cuda.grid(1)
    while i < count:
        moved = _ascended(x_adv[i], gradient[i], step)
        out[i] = _clipped(_clipped(moved, x[i] - eps, x[i] + eps), low, high)
        i += cuda.gridsize(1)


def project_linf(x_adv: Array, x: Array, eps: Scalar, low: Scalar, high: Scalar, count: int, out: Array) -> None:
    i = cuda.grid(1)
    while i < count:
        out[i] = _clipped(_clipped(x_adv[i], x[i] - eps, x[i] + eps), low, high)
        i += cuda.gridsize(1)


def apgd_linf(
    x_adv: Array,
    before: Array,
    gradient: Array,
    x: Array,
    size: Array,
    share: Scalar,
    rest: Scalar,
    eps: Scalar,
    low: Scalar,
    high: Scalar,
    pixels: int,
    count: int,
    out: Array,
) -> None:
    i = cuda.grid(1)
    while i < count:
        point, least, most = x_adv[i], x[i] - eps, x[i] + eps
        z = _clipped(_clipped(_ascended(point, gradient[i], size[i // pixels]), least, most), low, high)
        moved = point + times(share, z - point) + times(rest, point - before[i])
        out[i] = _clipped(_clipped(moved, least, most), low, high)
        i += cuda.gridsize(1)


def uniform(
    k0: int, k1: int, rows: Array, draw: int, low: Scalar, span: Scalar, pixels: int, count: int, out: Array
) -> None:
    quads = (pixels + 3) // 4
    q = cuda.grid(1)
    while q < count * quads:
        sample, block = q // quads, q % quads
        words = _philox(block, int(rows[sample]), draw, k0, k1)
        for place in range(min(4, pixels - 4 * block)):
            out[sample * pixels + 4 * block + place] = low + times(span, np.float32(_fraction(words[place])))
        q += cuda.gridsize(1)


def start_linf(
    k0: int,
    k1: int,
    rows: Array,
    draw: int,
    x: Array,
    eps: Scalar,
    low: Scalar,
    high: Scalar,
    pixels: int,
    count: int,
    out: Array,
) -> None:
    quads = (pixels + 3) // 4
    q = cuda.grid(1)
    while q < count * quads:
        sample, block = q // quads, q % quads
        words = _philox(block, int(rows[sample]), draw, k0, k1)
        for place in range(min(4, pixels - 4 * block)):
            at = sample * pixels + 4 * block + place
            unit = np.float32(-1) + times(np.float32(2), np.float32(_fraction(words[place])))
            out[at] = _clipped(x[at] + times(eps, unit), low, high)
        q += cuda.gridsize(1)


@device
def _philox(block: int, identity: int, draw: int, k0: int, k1: int) -> tuple[int, int, int, int]:
    c0, c1, c2, c3 = block, identity & 0xFFFFFFFF, identity >> 32 & 0xFFFFFFFF, draw
    for _ in range(10):
        c0, c1, c2, c3 = _philox_round(c0, c1, c2, c3, k0, k1)
        k0, k1 = _next_key(k0, k1)
    return c0, c1, c2, c3


# -- a thread for each sample: the losses of logits ---------------------------------------------------------


def margin(logits: Array, y: Array, classes: int, count: int, gradient: Array, value: Array) -> None:
    i = cuda.grid(1)
    while i < count:
        base, label = i * classes, y[i]
        other = _begun(logits, base, label, classes, gradient)
        value[i] = np.float32(np.nan)
        if other >= 0:
            value[i] = logits[base + other] - logits[base + label]
            gradient[base + other] = 1
            gradient[base + label] = -1
        i += cuda.gridsize(1)


def dlr(logits: Array, y: Array, classes: int, count: int, gradient: Array, value: Array) -> None:
    i = cuda.grid(1)
    while i < count:
        base, label = i * classes, y[i]
        other = _begun(logits, base, label, classes, gradient)
        value[i] = np.float32(np.nan)
        if other >= 0:
            (first, at_first), _, (third, at_third), _ = _top(logits, base, classes)
            gap = first - third + _TINY
            value[i] = (logits[base + other] - logits[base + label]) / gap
            gradient[base + other] += np.float32(1) / gap
            gradient[base + label] -= np.float32(1) / gap
            gradient[base + at_first] -= value[i] / gap
            gradient[base + at_third] += value[i] / gap
        i += cuda.gridsize(1)


def targeted_dlr(
    logits: Array, y: Array, target: Array, classes: int, count: int, gradient: Array, value: Array
) -> None:
    i = cuda.grid(1)
    while i < count:
        base, label, aim = i * classes, y[i], target[i]
        other = _begun(logits, base, label, classes, gradient)
        value[i] = np.float32(np.nan)
        if other >= 0 and 0 <= aim and aim < classes:  # noqa: SIM300  numba takes no chained comparison of pointers
            (first, at_first), _, (third, at_third), (fourth, at_fourth) = _top(logits, base, classes)
            gap = first - np.float32(0.5) * (third + fourth) + _TINY
            value[i] = (logits[base + aim] - logits[base + label]) / gap
            gradient[base + aim] += np.float32(1) / gap
            gradient[base + label] -= np.float32(1) / gap
            gradient[base + at_first] -= value[i] / gap
            gradient[base + at_third] += np.float32(0.5) * value[i] / gap
            gradient[base + at_fourth] += np.float32(0.5) * value[i] / gap
        i += cuda.gridsize(1)


@device
def _begun(logits: Array, base: int, label: int, classes: int, gradient: Array) -> int:
    """The class of the largest logit but the label's, the gradient set to 0; -1 where there is no answer."""
    found, is_finite = -1, label >= 0 and label < classes
    for k in range(classes):
        gradient[base + k] = 0
        is_finite = is_finite and abs(logits[base + k]) < np.inf
        if k != label and (found < 0 or logits[base + k] > logits[base + found]):
            found = k
    return found if is_finite else -1


@device
def _top(logits: Array, base: int, classes: int) -> rules.Ranks:
    top: rules.Ranks = (_LEAST, -1), (_LEAST, -1), (_LEAST, -1), (_LEAST, -1)
    for k in range(classes):
        top = _joined_top(top, logits[base + k], k)
    return top


# -- a block for each sample --------------------------------------------------------------------------------


def keep_best(
    x_adv: Array,
    gradient: Array,
    loss: Array,
    pixels: int,
    count: int,
    best: Array,
    best_gradient: Array,
    best_loss: Array,
) -> None:
    i = cuda.blockIdx.x
    while i < count:
        found = loss[i] if loss[i] == loss[i] else np.float32(np.inf)
        is_better = found > best_loss[i]
        cuda.syncthreads()  # all have read the old loss before one writes the new
        if is_better:
            j = i * pixels + cuda.threadIdx.x
            while j < (i + 1) * pixels:
                best[j] = x_adv[j]
                best_gradient[j] = gradient[j]
                j += cuda.blockDim.x
            if cuda.threadIdx.x == 0:
                best_loss[i] = found
        i += cuda.gridDim.x


def step_l2(
    x_adv: Array,
    gradient: Array,
    x: Array,
    step: Scalar,
    eps: Scalar,
    low: Scalar,
    high: Scalar,
    pixels: int,
    count: int,
    out: Array,
) -> None:
    shared = cuda.shared.array(THREADS, np.float64)
    i = cuda.blockIdx.x
    while i < count:
        squares, j = 0.0, i * pixels + cuda.threadIdx.x
        while j < (i + 1) * pixels:
            squares += np.float64(gradient[j]) * np.float64(gradient[j])
            j += cuda.blockDim.x
        norm = np.float32(math.sqrt(_total(shared, squares)))
        moves = norm > 0 and norm < np.inf
        j = i * pixels + cuda.threadIdx.x
        while j < (i + 1) * pixels:
            out[j] = x_adv[j] + gradient[j] / norm * step if moves else x_adv[j]
            j += cuda.blockDim.x
        _into_l2(shared, out, x, i * pixels, pixels, eps, low, high, out)
        i += cuda.gridDim.x


def project_l2(
    x_adv: Array, x: Array, eps: Scalar, low: Scalar, high: Scalar, pixels: int, count: int, out: Array
) -> None:
    shared = cuda.shared.array(THREADS, np.float64)
    i = cuda.blockIdx.x
    while i < count:
        _into_l2(shared, x_adv, x, i * pixels, pixels, eps, low, high, out)
        i += cuda.gridDim.x


def step_l1(
    x_adv: Array,
    gradient: Array,
    bits: Array,
    x: Array,
    step: Scalar,
    eps: Scalar,
    low: Scalar,
    high: Scalar,
    wanted: int,
    pixels: int,
    count: int,
    out: Array,
) -> None:
    """`bits`: the gradient's memory as int32, whose low 31 bits are ordered as the sizes are."""
    shared = cuda.shared.array(THREADS, np.float64)
    i = cuda.blockIdx.x
    while i < count:
        least = 0
        for place in range(30, -1, -1):
            tried = least | (1 << place)
            if _movers(shared, x_adv, gradient, bits, i * pixels, pixels, low, high, tried) >= wanted:
                least = tried
        least = max(1, least)
        movers = _movers(shared, x_adv, gradient, bits, i * pixels, pixels, low, high, least)
        each = np.float64(step) / max(1.0, movers)
        j = i * pixels + cuda.threadIdx.x
        while j < (i + 1) * pixels:
            moves = (bits[j] & 0x7FFFFFFF) >= least and _can_ascend(x_adv[j], gradient[j], low, high)
            out[j] = np.float32(_ascended(np.float64(x_adv[j]), gradient[j], each)) if moves else x_adv[j]
            j += cuda.blockDim.x
        _into_l1(shared, out, x, i * pixels, pixels, eps, low, high, out)
        i += cuda.gridDim.x


def project_l1(
    x_adv: Array, x: Array, eps: Scalar, low: Scalar, high: Scalar, pixels: int, count: int, out: Array
) -> None:
    shared = cuda.shared.array(THREADS, np.float64)
    i = cuda.blockIdx.x
    while i < count:
        _into_l1(shared, x_adv, x, i * pixels, pixels, eps, low, high, out)
        i += cuda.gridDim.x


def onto_plane(
    point: Array,
    normal: Array,
    offset: Array,
    low: Scalar,
    high: Scalar,
    euclidean: int,
    pixels: int,
    count: int,
    out: Array,
) -> None:
    shared = cuda.shared.array(THREADS, np.float64)
    i = cuda.blockIdx.x
    while i < count:
        way, wanted = np.float32(-1.0 if offset[i] > 0 else 1.0), np.float64(abs(offset[i]))
        reach, trial = 0.0, 0
        while trial < _TRIALS:
            total, slope = 0.0, 0.0
            j = i * pixels + cuda.threadIdx.x
            while j < (i + 1) * pixels:
                weight = abs(normal[j])
                room = max(_room_for(way * normal[j], point[j], low, high), _ZERO)
                speed = weight if euclidean else np.float32(1)
                size = min(np.float32(reach) * speed, room)
                total += np.float64(weight * size)
                slope += np.float64(weight * speed) if size < room else 0.0
                j += cuda.blockDim.x
            total, slope = _total(shared, total), _total(shared, slope)
            missing = wanted - total
            if missing <= _CLOSE * wanted or slope <= 0:
                trial = _TRIALS
            else:
                reach += missing / slope
                trial += 1
        j = i * pixels + cuda.threadIdx.x
        while j < (i + 1) * pixels:
            weight = abs(normal[j])
            room = max(_room_for(way * normal[j], point[j], low, high), _ZERO)
            size = min(np.float32(reach) * weight if euclidean else np.float32(reach), room)
            out[j] = np.float32(math.copysign(size, way * normal[j])) if weight > 0 else np.float32(0)
            j += cuda.blockDim.x
        i += cuda.gridDim.x


def paste(
    x_adv: Array,
    x: Array,
    corner: Array,
    leap: Array,
    side: int,
    eps: Scalar,
    low: Scalar,
    high: Scalar,
    channels: int,
    height: int,
    width: int,
    count: int,
    old: Array,
    changed: Array,
) -> None:
    shared = cuda.shared.array(THREADS, np.float64)
    window = channels * side * side
    i = cuda.blockIdx.x
    while i < count:
        different = 0.0
        if _fits(corner[i], side, height, width):
            k = cuda.threadIdx.x
            while k < window:
                at = i * channels * height * width + _pixel(corner[i], k, side, height, width)
                before = x_adv[at]
                moved = before + leap[i * channels + k // (side * side)]
                after = _clipped(_clipped(moved, x[at] - eps, x[at] + eps), low, high)
                old[i * window + k] = before
                x_adv[at] = after
                different += 1.0 if after != before else 0.0
                k += cuda.blockDim.x
        different = _total(shared, different)
        if cuda.threadIdx.x == 0:
            changed[i] = 1 if different > 0 else 0
        i += cuda.gridDim.x


def take_back(
    x_adv: Array,
    corner: Array,
    kept: Array,
    side: int,
    channels: int,
    height: int,
    width: int,
    count: int,
    old: Array,
) -> None:
    window = channels * side * side
    i = cuda.blockIdx.x
    while i < count:
        if not kept[i] and _fits(corner[i], side, height, width):
            k = cuda.threadIdx.x
            while k < window:
                at = i * channels * height * width + _pixel(corner[i], k, side, height, width)
                x_adv[at] = old[i * window + k]
                k += cuda.blockDim.x
        i += cuda.gridDim.x


@device
def _fits(corner: int, side: int, height: int, width: int) -> bool:
    return corner >= 0 and corner // width + side <= height and corner % width + side <= width


@device
def _pixel(corner: int, k: int, side: int, height: int, width: int) -> int:
    """Where in an image number k of a window's pixels lies."""
    channel, row, column = k // (side * side), k // side % side, k % side
    return channel * height * width + corner + row * width + column


@device
def _total(shared: Array, value: float) -> float:
    """The sum over the block's threads, in every one of them. A tree; the simulator has no warp shuffles."""
    t, half = cuda.threadIdx.x, cuda.blockDim.x // 2
    shared[t] = value
    cuda.syncthreads()
    while half > 0:
        if t < half:
            shared[t] += shared[t + half]
        cuda.syncthreads()
        half //= 2
    total: float = shared[0]
    cuda.syncthreads()
    return total


@device
def _largest(shared: Array, value: float) -> float:
    """The largest over the block's threads, in every one of them."""
    t, half = cuda.threadIdx.x, cuda.blockDim.x // 2
    shared[t] = value
    cuda.syncthreads()
    while half > 0:
        if t < half:
            shared[t] = max(shared[t], shared[t + half])
        cuda.syncthreads()
        half //= 2
    largest: float = shared[0]
    cuda.syncthreads()
    return largest


@device
def _into_l2(
    shared: Array, point: Array, x: Array, base: int, pixels: int, eps: Scalar, low: Scalar, high: Scalar, out: Array
) -> None:
    squares, j = 0.0, base + cuda.threadIdx.x
    while j < base + pixels:
        change = point[j] - x[j]
        squares += np.float64(change) * np.float64(change)
        j += cuda.blockDim.x
    norm = np.float32(math.sqrt(_total(shared, squares)))
    share = np.float32(1)
    if norm > eps:
        share = np.float32(_stretch(shared, point, x, base, pixels, np.float64(norm), np.float64(eps), low, high))
    j = base + cuda.threadIdx.x
    while j < base + pixels:
        if norm > eps:
            change = point[j] - x[j]
            room = max(_room_for(change, x[j], low, high), _ZERO)
            kept: Any = np.float32(math.copysign(min(abs(change) * share, room), change))
            out[j] = _clipped(_added_inwards(x[j], kept, _ONE_ULP), low, high)
        else:
            out[j] = _clipped(point[j], low, high)
        j += cuda.blockDim.x


@device
def _stretch(
    shared: Array, point: Array, x: Array, base: int, pixels: int, norm: float, eps: float, low: Scalar, high: Scalar
) -> float:
    share, trial = eps / norm, 0
    while trial < _TRIALS:
        cut, rest, j = 0.0, 0.0, base + cuda.threadIdx.x
        while j < base + pixels:
            change = point[j] - x[j]
            length, room = abs(change), max(_room_for(change, x[j], low, high), _ZERO)
            if length * np.float32(share) < room:
                rest += np.float64(length) * np.float64(length)
            else:
                cut += np.float64(room) * np.float64(room)
            j += cuda.blockDim.x
        cut, rest = _total(shared, cut), _total(shared, rest)
        if rest <= 0:
            return min(share, 1.0)
        better = min(math.sqrt(max(eps * eps - cut, 0.0) / rest), 1.0)
        if better <= share * (1 + _SHORT):
            return share
        share = better
        trial += 1
    return share


@device
def _into_l1(
    shared: Array, point: Array, x: Array, base: int, pixels: int, eps: Scalar, low: Scalar, high: Scalar, out: Array
) -> None:
    lam = _shrinkage(shared, point, x, base, pixels, np.float64(eps), low, high)
    j = base + cuda.threadIdx.x
    while j < base + pixels:
        if lam > 0:
            change = point[j] - x[j]
            room = _room_for(change, x[j], low, high)
            kept: Any = np.float32(math.copysign(np.float32(_shrunk(np.float64(abs(change)), lam, room)), change))
            out[j] = _clipped(_added_inwards(x[j], kept, _ONE_ULP), low, high)
        else:
            out[j] = _clipped(point[j], low, high)
        j += cuda.blockDim.x


@device
def _shrinkage(
    shared: Array, point: Array, x: Array, base: int, pixels: int, eps: float, low: Scalar, high: Scalar
) -> float:
    longest, j = 0.0, base + cuda.threadIdx.x
    while j < base + pixels:
        longest = max(longest, np.float64(abs(point[j] - x[j])))
        j += cuda.blockDim.x
    below, above, lam, trial = 0.0, _largest(shared, longest), 0.0, 0
    while trial < _TRIALS:
        total, falling, j = 0.0, 0.0, base + cuda.threadIdx.x
        while j < base + pixels:
            change = point[j] - x[j]
            length, room = np.float64(abs(change)), np.float64(_room_for(change, x[j], low, high))
            total += _shrunk(length, lam, room)
            falling += 1.0 if length - lam > 0 and length - lam < room else 0.0
            j += cuda.blockDim.x
        total, falling = _total(shared, total), _total(shared, falling)
        if total > eps:
            below = lam
        elif lam == 0 or total >= eps * (1 - _SHORT):
            return lam
        else:
            above = lam
        if falling > 0:
            lam += (total - eps * (1 - _SHORT / 2)) / falling
        if falling == 0 or trial % 8 == 7 or lam <= below or lam > above:
            lam = (below + above) / 2
        trial += 1
    return above


@device
def _movers(
    shared: Array,
    x_adv: Array,
    gradient: Array,
    bits: Array,
    base: int,
    pixels: int,
    low: Scalar,
    high: Scalar,
    least: int,
) -> float:
    """How many pixels can move and have a gradient whose size, read as bits, is `least` or more."""
    count, j = 0.0, base + cuda.threadIdx.x
    while j < base + pixels:
        if (bits[j] & 0x7FFFFFFF) >= least and _can_ascend(x_adv[j], gradient[j], low, high):
            count += 1.0
        j += cuda.blockDim.x
    return _total(shared, count)
