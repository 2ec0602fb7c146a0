"""The removal suite on one marked network: what each attempt cost the attacker, and what is left of the mark."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from harden.seeds import Stream
from harden.watermarking.edits.catalogue import Attempt
from harden.watermarking.edits.steps import Ground, NotHere
from harden.watermarking.wiring.channels import Weights

MATCH = -64 * math.log10(2)
"""log10 of the p-value at which a mark is found."""
AFFORDABLE = 0.05
"""The accuracy whose loss makes stolen weights useless to the thief: WRT's rule, here for clean and robust."""


@dataclass(frozen=True)
class Reading:
    """What verification finds: blind, with the sidecar (`residual`, NaN without one), and what decides."""

    z: float
    log10_p: float
    z_residual: float
    log10_p_residual: float
    errors: int
    bits: int
    mode: str

    @property
    def decisive(self) -> float:
        """The smaller log10 p of the two."""
        return min([one for one in (self.log10_p, self.log10_p_residual) if not math.isnan(one)])


class Result(Enum):
    """How an attempt ended."""

    held = "held"
    removed = "removed"
    unusable = "unusable"  # the mark is gone, and so is the accuracy
    skipped = "skipped"


Score = Callable[[Weights], tuple[float, float]]
"""Weights -> clean and robust accuracy."""
Verify = Callable[[Weights], Reading]


@dataclass(frozen=True)
class Row:
    """One attempt. Accuracies are NaN without data; `note` says why one was skipped, or that it was expected."""

    family: str
    attack: str
    parameters: dict[str, Any]
    result: Result
    blind: Result
    clean: float = math.nan
    robust: float = math.nan
    reading: Reading | None = None
    seconds: float = 0.0
    note: str = ""


def besieged(
    weights: Weights,
    attempts: Sequence[Attempt],
    *,
    ground: Ground,
    verify: Verify,
    score: Score | None = None,
    rng: Stream,
) -> Iterator[Row]:
    """First the marked weights as they are, then a row for each attempt, in order."""
    before = score(weights) if score else (math.nan, math.nan)
    yield _row(Attempt("", "none", ()), before, before, verify(weights), 0.0)
    for attempt in attempts:
        began = time.monotonic()
        try:
            after = attempted(weights, attempt, ground, rng=rng.child(attempt.family, attempt.name))
        except NotHere as missing:
            yield Row(
                *(attempt.family, attempt.name, attempt.parameters, Result.skipped, Result.skipped),
                note=f"needs {missing}",
            )
            continue
        now = score(after) if score else before
        yield _row(attempt, before, now, verify(after), time.monotonic() - began)


def attempted(weights: Weights, attempt: Attempt, ground: Ground, *, rng: Stream) -> Weights:
    """The weights after all steps of an attempt; raises NotHere."""
    for number, step in enumerate(attempt.steps):
        weights = step(weights, ground, rng=rng.child(number))
    return weights


def _row(
    attempt: Attempt, before: tuple[float, float], now: tuple[float, float], reading: Reading, seconds: float
) -> Row:
    result = judged(reading.decisive, before, now)
    return Row(
        *(attempt.family, attempt.name, attempt.parameters, result, judged(reading.log10_p, before, now)),
        clean=now[0],
        robust=now[1],
        reading=reading,
        seconds=seconds,
        note="removed, as expected" if attempt.expected and result is Result.removed else "",
    )


def judged(log10_p: float, before: tuple[float, float], now: tuple[float, float]) -> Result:
    """Held while the p-value is that of a match; else removed, unless clean or robust accuracy fell too far."""
    if log10_p <= MATCH:
        return Result.held
    lost = max((was - is_now for was, is_now in zip(before, now, strict=True) if not math.isnan(was)), default=0.0)
    return Result.unusable if lost >= AFFORDABLE else Result.removed
