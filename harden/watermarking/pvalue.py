"""How likely so much evidence is in weights that know nothing of the mark: bounds that hold for any weights.

Chips are independent fair signs. For fixed v, P(sum s v >= t |v|) <= C Q(t) with C = 1 / (4 Q(sqrt 2)): Bentkus and
Dzindzalieta 2015, Bernoulli 21(2), "A tight Gaussian bound for weighted sums of Rademacher random variables". Logs to
base 10 throughout, as a p of 1e-8000 is no float.
"""

import math
from dataclasses import dataclass

from scipy.special import log_ndtr, ndtr
from scipy.stats import binom

C = 1 / (4 * float(ndtr(-math.sqrt(2))))

COURT, MATCH = -128 * math.log10(2), -64 * math.log10(2)
"""log10 p from which on evidence is called so."""


def log10_tail(z: float) -> float:
    """A bound of log10 P(Z >= z) for one look."""
    return min(0.0, (math.log(C) + float(log_ndtr(-z))) / math.log(10))


def log10_hits(hits: int, bits: int) -> float:
    """log10 of the chance that at least `hits` of `bits` fair coins come out right."""
    if hits <= 0:
        return 0.0
    return min(0.0, float(binom.logsf(hits - 1, bits, 0.5)) / math.log(10))


def level_of(log10_p: float) -> str:
    """What a p-value is called: court, match or none."""
    return "court" if log10_p <= COURT else "match" if log10_p <= MATCH else "none"


def z_at(log10_p: float) -> float:
    """The Z at which the bound falls to `log10_p`, by bisection."""
    low, high = 0.0, 40.0 * math.sqrt(1 + abs(log10_p) / 300)
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if log10_tail(middle) > log10_p else (low, middle)
    return high


@dataclass(frozen=True)
class Tries:
    """How many looks the one that is told is the best of. All is fixed by what is asked for, before looking.

    modes: blind, with a sidecar, aligned; a second reading by bits right doubles them. The others count what the
    caller tries: ways to map names, ways to read numbers, claims, sets of leaves.
    """

    modes: int = 1
    maps: int = 1
    readings: int = 1
    claims: int = 1
    leaves: int = 1

    @property
    def count(self) -> int:
        """All of them together."""
        return 2 * self.modes * self.maps * self.readings * self.claims * self.leaves

    def __str__(self) -> str:
        return f"{self.count} (2 readings of {self.modes} modes, {self.claims} claims, {self.maps} name maps)"
