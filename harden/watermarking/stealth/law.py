"""What a detector that looks at variances can reach at most.

A mark of loudness alpha raises the variance of N balanced weights from 1 to 1 + alpha^2. Between two Gaussians that
differ so, the Kullback-Leibler divergence is N alpha^4 / 4 to leading order (q below); Pinsker's inequality bounds the
total variation by sqrt(q / 2), and no test between two distributions at distance TV has an area under its curve above
1/2 + TV - TV^2 / 2. It holds for a detector who knows the distribution of unmarked variances exactly and looks at
nothing else; where training was short, the known start distribution can give more away (measured, see docs).
"""

import math
from dataclasses import dataclass

QUIET = 0.02
"""q up to which the bound is 0.6 or less: the stealth profile."""


@dataclass(frozen=True)
class Visibility:
    """q = N alpha^4 / 4, and the bound on the area under the curve of a detector of variances."""

    q: float
    auc_bound: float

    @property
    def is_quiet(self) -> bool:
        """Whether the bound is that of the stealth profile."""
        return self.q <= QUIET * (1 + 1e-9)


def visibility(alpha: float, count: int) -> Visibility:
    """How visible `count` weights with a mark of loudness `alpha` are."""
    if not alpha >= 0 or count < 1:
        raise ValueError(f"wanted alpha >= 0 and a count of weights >= 1, got {alpha} and {count}")
    q = count * alpha**4 / 4
    distance = min(1.0, math.sqrt(q / 2))
    return Visibility(q, 0.5 + distance - distance**2 / 2)


def quiet_alpha(count: int, q: float = QUIET) -> float:
    """The loudness at which `count` weights have this q."""
    return float((4 * q / count) ** 0.25)
