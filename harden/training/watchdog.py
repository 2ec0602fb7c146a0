"""Watching a run for catastrophic overfitting and divergence.

Catastrophic overfitting (Wong et al. 2020, arXiv 2001.03994): within a few dozen steps the model learns to
fool its own training attack, accuracy on that attack rises and true robustness falls to nothing. An absolute
gap between the two is no sign of it (healthy runs show 79 against 55), a fall of one without the other is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from statistics import median

from harden.attacks import Attack, Keep, Mixed, Pgd
from harden.errors import ConfigError


@dataclass(frozen=True)
class Watchdog:
    """When to look and what counts as a collapse. Accuracies are shares, 0..1."""

    every: float = 0.125  # epochs between looks; 0: never look
    images: int = 256  # training images looked at, always the same
    budget: float = 0.05  # a look may cost at most this share of the training between two looks
    fall: float = 0.10  # how far strong accuracy must fall below its recent best
    memory: int = 8  # looks that the recent best is taken over
    trips: int = 3  # with the roll-back of this number the run stops

    def __post_init__(self) -> None:
        if not 0 <= self.every < math.inf or self.images < 1 or self.memory < 1 or self.trips < 1:
            raise ConfigError("watchdog.every must be >= 0 and watchdog.images, memory, trips >= 1")
        if not (self.budget > 0 and 0 < self.fall < 1):
            raise ConfigError(
                f"watchdog.budget must be > 0 and watchdog.fall in (0, 1), got {self.budget:g} and {self.fall:g}"
            )

    def stride(self, *, steps_per_epoch: int, batch_size: int, passes: int) -> int:
        """Steps between two looks, so that they stay within the budget; `passes`: steps of the training attack."""
        look = self.images * (2 * passes + 2 + 2 * STRONG.steps + 2)
        step = batch_size * (2 * passes + 3)
        affordable = math.ceil(look / (self.budget * step))
        return max(1, affordable, round(self.every * steps_per_epoch))


STRONG = Pgd(steps=10)
"""The attack that a look trusts."""


class Verdict(Enum):
    """What a look says."""

    fine = "fine"
    falling = "falling"  # both accuracies fall together: look more often
    collapse = "collapse"


@dataclass(frozen=True)
class Look:
    """Accuracy at `step` on the training attack (`own`) and on PGD-10 (`strong`), both at the full eps."""

    step: int
    own: float
    strong: float


def examine(past: Sequence[Look], look: Look, watchdog: Watchdog) -> Verdict:
    """What `look` means after the looks in `past` (of the present recipe, since the last roll-back)."""
    if not past:
        return Verdict.fine
    best = max(past[-watchdog.memory :], key=lambda one: one.strong)
    fall = best.strong - look.strong
    if fall < watchdog.fall:
        return Verdict.fine
    return Verdict.collapse if best.own - look.own < fall / 2 else Verdict.falling


def stronger(attack: Attack) -> Pgd | Mixed:
    """The attack to go on with after a collapse: PGD-5 of step 0.3 eps, or twice the steps where that held no more."""
    if isinstance(attack, Pgd | Mixed) and attack.steps >= 5:
        return replace(attack, steps=2 * attack.steps, step=min(0.3, attack.share))
    base = attack if isinstance(attack, Pgd | Mixed) else Pgd(keep=Keep.last)
    return replace(base, steps=5, step=0.3)


def diverged(losses: Sequence[float], classes: int, *, patience: int = 5, window: int = 50) -> str:
    """Why the recent mean losses (oldest first) mean divergence, or "" where they do not.

    A loss that is not finite counts at once. A finite one must stay `patience` times above 3 times the
    running median and near or above log(classes), what a constant guess would give: while eps grows, a
    rising loss is what one expects.
    """
    if losses and not math.isfinite(losses[-1]):
        return f"the loss is {losses[-1]}"
    if len(losses) < 2 * patience:
        return ""
    usual, recent = median(losses[-window - patience : -patience]), losses[-patience:]
    if min(recent) > max(3 * usual, 0.95 * math.log(classes)):
        return f"the loss rose from {usual:.3g} to {recent[-1]:.3g}"
    return ""
