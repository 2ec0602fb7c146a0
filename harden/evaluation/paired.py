"""Two models on the same images: which is better, and may that be luck?"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from scipy.stats import binomtest
from torch import Tensor

from harden.errors import DataError
from harden.evaluation.intervals import wilson


@dataclass(frozen=True)
class Paired:
    """What two models got right of `n` images, in counts; `p`: McNemar's exact test, two-sided.

    difference: share right of the first minus that of the second, with low and high, a 95 % interval for pairs.
    """

    n: int
    both: int
    only_first: int
    only_second: int
    neither: int
    p: float
    difference: float
    low: float
    high: float


def paired(first: Tensor, second: Tensor) -> Paired:
    """Compares what was right of the same images, (n,) bool each (McNemar 1947, Psychometrika 12; exact).

    Only discordant images speak; under equality each goes either way with chance 1/2. The interval is Newcombe's
    score interval for paired differences (1998, Statistics in Medicine 17:2635-2650, method 10).
    """
    if first.shape != second.shape or not len(first):
        raise DataError(f"models are compared on the same images, got {len(first)} and {len(second)}")
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    low, high = _newcombe(both, only_first, only_second, neither)
    n, p = len(first), mcnemar(only_first, only_second)
    return Paired(n, both, only_first, only_second, neither, p, (only_first - only_second) / n, low, high)


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p-value of so many discordant pairs; 1 where there are none."""
    discordant = only_first + only_second
    return float(binomtest(only_first, discordant, 0.5).pvalue) if discordant else 1.0


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """The p-values of several tests, adjusted so that all of them together err at the level of one (Holm 1979)."""
    adjusted, worst = {}, 0.0
    for rank, name in enumerate(sorted(p, key=lambda one: p[one])):
        worst = max(worst, min((len(p) - rank) * p[name], 1.0))
        adjusted[name] = worst
    return {name: adjusted[name] for name in p}


def _newcombe(both: int, only_first: int, only_second: int, neither: int) -> tuple[float, float]:
    n = both + only_first + only_second + neither
    one, two = wilson(both + only_first, n), wilson(both + only_second, n)
    phi = _correlation(both, only_first, only_second, neither)
    difference = one.value - two.value
    below, above = (one.value - one.low, two.high - two.value), (one.high - one.value, two.value - two.low)
    low, high = (math.sqrt(max(a * a - 2 * phi * a * b + b * b, 0)) for a, b in (below, above))
    return max(difference - low, -1.0), min(difference + high, 1.0)


def _correlation(both: int, only_first: int, only_second: int, neither: int) -> float:
    """Newcombe's phi, with his correction for continuity where the correlation is positive."""
    margins = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    if margins == 0:
        return 0.0
    product, n = both * neither - only_first * only_second, both + only_first + only_second + neither
    if product > 0:
        product = max(product - n / 2, 0)  # type: ignore[assignment]
    return product / math.sqrt(margins)
