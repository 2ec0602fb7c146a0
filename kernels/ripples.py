"""What a change of few pixels does to the layers behind them, compiled by numba at their first call.

A program is int64 (layers, 15), one layer a row; values are kept by pixel and then channel, so that the innermost
loop runs over the outputs of one input. A change is a window of differences, which grows from layer to layer; what
is zero in it, as most is behind a ReLU, costs nothing more. One thread does it.
"""

from typing import cast

import numba
import numpy as np

from harden.kernels.layers import Kind
from harden.kernels.loops import Flags, Floats, Function, Ids, serial

CONVOLUTION, DENSE, SCALE, RECTIFIER, MEAN, MAXIMUM = map(int, Kind)

KIND, HEIGHT, WIDTH, CHANNELS, HIGH, WIDE, DEEP, KERNEL, KERNEL_X, STRIDE, STRIDE_X, PAD, PAD_X, WEIGHT, VALUE = range(
    15
)
"""A layer's kind; its input's and output's shape; its window's, step and margin; where its weights begin; where its
input is kept, -1 if it need not be."""


def _alone(function: Function) -> Function:
    """For one thread: samples are shared out among threads already, and a parallel loop takes far longer to compile."""
    return cast(Function, numba.njit(nogil=True, error_model="numpy")(function))


def _contracted(function: Function) -> Function:
    """A product and a sum may be rounded as one."""
    return cast(Function, numba.njit(error_model="numpy", fastmath={"contract"})(function))


@_alone
def follow(
    point: Floats,
    old: Floats,
    corner: Ids,
    changed: Flags,
    program: Ids,
    weights: Floats,
    widest: int,
    values: Floats,
    moved: Floats,
    windows: Ids,
    logits: Floats,
    answer: Floats,
) -> None:
    for i in range(len(point)):
        answer[i] = logits[i]
        if changed[i]:
            one, other = np.empty(widest, np.float32), np.empty(widest, np.float32)
            window = _begun(point[i], old[i], corner[i], one)
            for layer in range(len(program)):
                for edge in range(4):
                    windows[i, layer, edge] = window[edge]
                at = program[layer, VALUE]
                window = _passed(window, program[layer], weights, values[i, at:], moved[i, at:], one, other)
                if program[layer, KIND] != SCALE and program[layer, KIND] != RECTIFIER:
                    one, other = other, one
            for k in range(answer.shape[1]):
                answer[i, k] += one[k]


@_alone
def settle(
    kept: Flags, program: Ids, values: Floats, moved: Floats, windows: Ids, logits: Floats, answer: Floats
) -> None:
    for i in range(len(values)):
        if kept[i]:
            logits[i] = answer[i]
            for layer in range(len(program)):
                at, width, channels = program[layer, VALUE], program[layer, WIDTH], program[layer, CHANNELS]
                if at >= 0:
                    top, bottom = windows[i, layer, 0], windows[i, layer, 1]
                    left, right = windows[i, layer, 2], windows[i, layer, 3]
                    for row in range(top, bottom):
                        first, last = at + (row * width + left) * channels, at + (row * width + right) * channels
                        values[i, first:last] = moved[i, first:last]


@serial
def _begun(point: Floats, old: Floats, corner: int, out: Floats) -> tuple[int, int, int, int]:
    """The window of changed pixels, and by how much each changed."""
    channels, _, width = point.shape
    side, row, column = old.shape[1], corner // width, corner % width
    for i in range(row, row + side):
        for j in range(column, column + side):
            for c in range(channels):
                out[(i * width + j) * channels + c] = point[c, i, j] - old[c, i - row, j - column]
    return row, row + side, column, column + side


@serial
def _passed(
    window: tuple[int, int, int, int],
    layer: Ids,
    weights: Floats,
    values: Floats,
    moved: Floats,
    change: Floats,
    out: Floats,
) -> tuple[int, int, int, int]:
    kind, weight = layer[KIND], weights[layer[WEIGHT] :]
    if kind == SCALE:
        _scaled(window, layer, weight, change)
        return window
    if kind == RECTIFIER:
        _rectified(window, layer, weight[0], values, moved, change)
        return window
    if kind == DENSE:
        _multiplied(window, layer, weight, change, out)
        return 0, 1, 0, 1
    reached = _reached(window, layer)
    if kind == CONVOLUTION:
        _convolved(window, reached, layer, weight, change, out)
    elif kind == MEAN:
        _averaged(window, reached, layer, change, out)
    else:
        _highest(window, reached, layer, values, moved, change, out)
    return reached


@serial
def _reached(window: tuple[int, int, int, int], layer: Ids) -> tuple[int, int, int, int]:
    """The outputs of a sliding layer that see anything of the window; none may."""
    top, bottom = _seen(window[0], window[1], layer[KERNEL], layer[STRIDE], layer[PAD], layer[HIGH])
    left, right = _seen(window[2], window[3], layer[KERNEL_X], layer[STRIDE_X], layer[PAD_X], layer[WIDE])
    return top, bottom, left, right


@serial
def _seen(first: int, last: int, kernel: int, stride: int, pad: int, count: int) -> tuple[int, int]:
    begin = max((first + pad - kernel + stride) // stride, 0)
    end = min((last - 1 + pad) // stride + 1, count)
    return min(begin, end), end


@serial
def _scaled(window: tuple[int, int, int, int], layer: Ids, scale: Floats, change: Floats) -> None:
    width, channels = layer[WIDTH], layer[CHANNELS]
    for i in range(window[0], window[1]):
        for j in range(window[2], window[3]):
            for c in range(channels):
                change[(i * width + j) * channels + c] *= scale[c]


@serial
def _rectified(
    window: tuple[int, int, int, int], layer: Ids, slope: float, values: Floats, moved: Floats, change: Floats
) -> None:
    width, channels, zero = layer[WIDTH], layer[CHANNELS], np.float32(0)
    for i in range(window[0], window[1]):
        for k in range((i * width + window[2]) * channels, (i * width + window[3]) * channels):
            before = values[k]
            after = before + change[k]
            moved[k] = after
            change[k] = max(after, zero) - max(before, zero) + slope * (min(after, zero) - min(before, zero))


@serial
def _multiplied(window: tuple[int, int, int, int], layer: Ids, weight: Floats, change: Floats, out: Floats) -> None:
    width, channels, count = layer[WIDTH], layer[CHANNELS], layer[DEEP]
    most = (window[3] - window[2]) * channels
    which, by, total = np.empty(most, np.int64), np.empty(most, np.float32), out[:count]
    total[:] = 0
    for i in range(window[0], window[1]):
        found = _found(change, (i * width + window[2]) * channels, most, 0, which, by)
        _added(total, weight, which, by, found)


@serial
def _found(change: Floats, first: int, most: int, base: int, which: Ids, by: Floats) -> int:
    """How many of `most` differences from `first` on are not zero; their numbers, from `base`, and what they are.

    Without a branch: which ones are zero nobody foresees, and a wrong guess takes as long as three vectors.
    """
    found = 0
    for k in range(most):
        value = change[first + k]
        which[found], by[found] = first - base + k, value
        found += value != 0
    return found


@_contracted
def _added(total: Floats, weight: Floats, which: Ids, by: Floats, found: int) -> None:
    """Adds `by` times the rows in question; four at once, so that the total is read and written a fourth as often."""
    count, whole = len(total), found // 4 * 4
    for n in range(0, whole, 4):
        first, second, third, fourth = by[n], by[n + 1], by[n + 2], by[n + 3]
        a, b = weight[which[n] * count :][:count], weight[which[n + 1] * count :][:count]
        c, d = weight[which[n + 2] * count :][:count], weight[which[n + 3] * count :][:count]
        for m in range(count):
            total[m] += first * a[m] + second * b[m] + third * c[m] + fourth * d[m]
    for n in range(whole, found):
        first, a = by[n], weight[which[n] * count :][:count]
        for m in range(count):
            total[m] += first * a[m]


@serial
def _cleared(window: tuple[int, int, int, int], layer: Ids, out: Floats) -> None:
    width, channels = layer[WIDE], layer[DEEP]
    for i in range(window[0], window[1]):
        out[(i * width + window[2]) * channels : (i * width + window[3]) * channels] = 0


@serial
def _convolved(
    window: tuple[int, int, int, int],
    reached: tuple[int, int, int, int],
    layer: Ids,
    weight: Floats,
    change: Floats,
    out: Floats,
) -> None:
    width, channels, wide, deep, across = layer[WIDTH], layer[CHANNELS], layer[WIDE], layer[DEEP], layer[KERNEL_X]
    which, by = np.empty(channels, np.int64), np.empty(channels, np.float32)
    _cleared(reached, layer, out)
    for i in range(window[0], window[1]):
        top, bottom = _seen(i, i + 1, layer[KERNEL], layer[STRIDE], layer[PAD], layer[HIGH])
        for j in range(window[2], window[3]):
            left, right = _seen(j, j + 1, across, layer[STRIDE_X], layer[PAD_X], wide)
            first = (i * width + j) * channels
            found = _found(change, first, channels, first, which, by)
            for row in range(top, bottom if found else top):
                y = i + layer[PAD] - row * layer[STRIDE]
                for column in range(left, right):
                    x = j + layer[PAD_X] - column * layer[STRIDE_X]
                    begin, place = (y * across + x) * channels * deep, (row * wide + column) * deep
                    _added(out[place : place + deep], weight[begin:], which, by, found)


@serial
def _averaged(
    window: tuple[int, int, int, int],
    reached: tuple[int, int, int, int],
    layer: Ids,
    change: Floats,
    out: Floats,
) -> None:
    width, channels, wide = layer[WIDTH], layer[CHANNELS], layer[WIDE]
    share = np.float32(1 / (layer[KERNEL] * layer[KERNEL_X]))
    _cleared(reached, layer, out)
    for i in range(window[0], window[1]):
        top, bottom = _seen(i, i + 1, layer[KERNEL], layer[STRIDE], layer[PAD], layer[HIGH])
        for j in range(window[2], window[3]):
            left, right = _seen(j, j + 1, layer[KERNEL_X], layer[STRIDE_X], layer[PAD_X], wide)
            for row in range(top, bottom):
                for column in range(left, right):
                    for c in range(channels):
                        out[(row * wide + column) * channels + c] += share * change[(i * width + j) * channels + c]


@serial
def _highest(
    window: tuple[int, int, int, int],
    reached: tuple[int, int, int, int],
    layer: Ids,
    values: Floats,
    moved: Floats,
    change: Floats,
    out: Floats,
) -> None:
    height, width, channels, wide = layer[HEIGHT], layer[WIDTH], layer[CHANNELS], layer[WIDE]
    for i in range(window[0], window[1]):
        for k in range((i * width + window[2]) * channels, (i * width + window[3]) * channels):
            moved[k] = values[k] + change[k]
    for row in range(reached[0], reached[1]):
        top = row * layer[STRIDE] - layer[PAD]
        for column in range(reached[2], reached[3]):
            left = column * layer[STRIDE_X] - layer[PAD_X]
            for c in range(channels):
                before, after = np.float32(-np.inf), np.float32(-np.inf)
                for i in range(max(top, 0), min(top + layer[KERNEL], height)):
                    for j in range(max(left, 0), min(left + layer[KERNEL_X], width)):
                        k = (i * width + j) * channels + c
                        inside = window[0] <= i < window[1] and window[2] <= j < window[3]
                        before = max(before, values[k])
                        after = max(after, moved[k] if inside else values[k])
                out[(row * wide + column) * channels + c] = after - before
