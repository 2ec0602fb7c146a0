"""A share with its uncertainty."""

import math
from dataclasses import dataclass

from harden.errors import DataError

Z95 = 1.959963984540054
"""The 97.5 % point of the standard normal distribution."""


@dataclass(frozen=True)
class Accuracy:
    """`value` of `n` images in 0..1, with the Wilson 95 % interval [low, high]. It covers sampling alone."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.1%} [{self.low:.1%}, {self.high:.1%}]"


def wilson(count: float, n: int) -> Accuracy:
    """The share `count` of `n` and its 95 % score interval (Wilson 1927, JASA 22:209-212).

    A count that is not whole is a sum of shares, one a sample: its interval is wider than it need be.
    """
    if n < 1 or not 0 <= count <= n:
        raise DataError(f"an accuracy needs 0 <= count <= n and n >= 1, got {count} of {n}")
    share, z2 = count / n, Z95 * Z95
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    low = 0.0 if count == 0 else centre - half
    high = 1.0 if count == n else centre + half
    return Accuracy(share, low, high, n)
