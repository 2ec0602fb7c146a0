"""Whose copy leaked: every recipient's mark is looked for, above a threshold that innocents pass once in 1e9.

Averaging K copies leaves 1/K of each mark, which the residual against the owner's own weights still shows. A Z far
below zero is evidence as well: somebody took that copy away from another one.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from harden.watermarking.layout import Weights
from harden.watermarking.mark import Mark
from harden.watermarking.pvalue import log10_tail, z_at
from harden.watermarking.verify import Reading, blind, present, residual

FALSE_ACCUSATION = -9.0
"""log10 of the chance that anybody innocent is named, whatever the number of recipients."""


@dataclass(frozen=True)
class Suspicion:
    """A recipient's claim against a copy: both readings, and log10 p with the correction for all that was tried."""

    claim_id: str
    blind: Reading
    residual: Reading
    log10_p: float
    named: bool

    @property
    def z(self) -> float:
        """The reading that is farther from zero."""
        return max(self.blind.z, self.residual.z, key=abs)

    @property
    def subtracted(self) -> bool:
        """Whether the evidence is that this copy was taken away from another."""
        return self.named and self.z < 0


def trace(weights: Weights, base: Weights, marks: Mapping[str, Mark]) -> list[Suspicion]:
    """What each of `marks`, by claim id, shows in `weights`; strongest first.

    base: the owner's weights before any recipient's mark. Two sided, two readings, all recipients counted.
    """
    tries = 4 * len(marks)
    threshold = z_at(FALSE_ACCUSATION - math.log10(tries))
    found = []
    for name, mark in marks.items():
        layers, _ = present(weights, mark.layout)
        first, second = blind(weights, mark, layers), residual(weights, mark, base, layers)
        z = max(abs(first.z), abs(second.z))
        log10_p = min(0.0, log10_tail(z) + math.log10(tries))
        found.append(Suspicion(name, first, second, log10_p, z >= threshold))
    return sorted(found, key=lambda one: one.log10_p)
