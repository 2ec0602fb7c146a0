"""Loops around a climb: the random start, Auto-PGD's move and best points, losses of logits with their gradients.

Compiled by numba as those of `loops` are. Arrays are (n, d) or (n, classes), and (n,).
"""

from typing import Any

import numpy as np
from numba import prange

from harden.kernels import rules
from harden.kernels.loops import Floats, Ids, ascended, clipped, fraction, loop, philox, serial

LEAST: Any = np.float32(-np.inf)  # a float32 when compiled code sees it
TINY = np.float32(1e-12)  # keeps ratios of logits finite where all are equal

_joined_top = serial(rules.joined_top)


@loop
def start_linf(
    k0: int, k1: int, rows: Ids, draw: int, x: Floats, eps: float, low: float, high: float, out: Floats
) -> None:
    for i in prange(len(out)):
        for block in range((out.shape[1] + 3) // 4):
            words = philox(block, rows[i] & 0xFFFFFFFF, rows[i] >> 32 & 0xFFFFFFFF, draw, k0, k1)
            for place in range(min(4, out.shape[1] - 4 * block)):
                j = 4 * block + place
                unit = np.float32(-1) + np.float32(2) * np.float32(fraction(words[place]))
                out[i, j] = clipped(x[i, j] + eps * unit, low, high)


@loop
def apgd_linf(
    x_adv: Floats,
    before: Floats,
    gradient: Floats,
    x: Floats,
    size: Floats,
    share: float,
    rest: float,
    eps: float,
    low: float,
    high: float,
    out: Floats,
) -> None:
    for i in prange(len(out)):
        for j in range(out.shape[1]):
            point, least, most = x_adv[i, j], x[i, j] - eps, x[i, j] + eps
            z = clipped(clipped(ascended(point, gradient[i, j], size[i]), least, most), low, high)
            moved = point + share * (z - point) + rest * (point - before[i, j])
            out[i, j] = clipped(clipped(moved, least, most), low, high)


@loop
def keep_best(
    x_adv: Floats, gradient: Floats, loss: Floats, best: Floats, best_gradient: Floats, best_loss: Floats
) -> None:
    for i in prange(len(best)):
        found = loss[i] if loss[i] == loss[i] else np.float32(np.inf)
        if found > best_loss[i]:
            best_loss[i] = found
            best[i] = x_adv[i]
            best_gradient[i] = gradient[i]


@loop
def margin(logits: Floats, y: Ids, gradient: Floats, value: Floats) -> None:
    for i in prange(len(logits)):
        other, is_finite = _largest_other(logits[i], y[i])
        gradient[i] = 0
        value[i] = np.float32(np.nan)
        if is_finite:
            value[i] = logits[i, other] - logits[i, y[i]]
            gradient[i, other] = 1
            gradient[i, y[i]] = -1


@loop
def dlr(logits: Floats, y: Ids, gradient: Floats, value: Floats) -> None:
    for i in prange(len(logits)):
        other, is_finite = _largest_other(logits[i], y[i])
        gradient[i] = 0
        value[i] = np.float32(np.nan)
        if is_finite:
            (first, at_first), _, (third, at_third), _ = _top(logits[i])
            gap = first - third + TINY
            value[i] = (logits[i, other] - logits[i, y[i]]) / gap
            gradient[i, other] += np.float32(1) / gap
            gradient[i, y[i]] -= np.float32(1) / gap
            gradient[i, at_first] -= value[i] / gap
            gradient[i, at_third] += value[i] / gap


@loop
def targeted_dlr(logits: Floats, y: Ids, target: Ids, gradient: Floats, value: Floats) -> None:
    for i in prange(len(logits)):
        _, is_finite = _largest_other(logits[i], y[i])
        gradient[i] = 0
        value[i] = np.float32(np.nan)
        if is_finite and 0 <= target[i] < logits.shape[1]:
            (first, at_first), _, (third, at_third), (fourth, at_fourth) = _top(logits[i])
            gap = first - np.float32(0.5) * (third + fourth) + TINY
            value[i] = (logits[i, target[i]] - logits[i, y[i]]) / gap
            gradient[i, target[i]] += np.float32(1) / gap
            gradient[i, y[i]] -= np.float32(1) / gap
            gradient[i, at_first] -= value[i] / gap
            gradient[i, at_third] += np.float32(0.5) * value[i] / gap
            gradient[i, at_fourth] += np.float32(0.5) * value[i] / gap


@serial
def _largest_other(logits: Floats, label: int) -> tuple[int, bool]:
    """Where the largest logit but the label's stands; whether there is such a label and all logits are finite."""
    found, is_finite = -1, 0 <= label < len(logits)
    for k in range(len(logits)):
        is_finite &= abs(logits[k]) < np.inf
        if k != label and (found < 0 or logits[k] > logits[found]):
            found = k
    return found, is_finite


@serial
def _top(logits: Floats) -> rules.Ranks:
    top: rules.Ranks = (LEAST, -1), (LEAST, -1), (LEAST, -1), (LEAST, -1)
    for k in range(len(logits)):
        top = _joined_top(top, logits[k], k)
    return top
