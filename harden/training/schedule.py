"""How long and how fast: epochs, batch size, learning-rate shape, eps ramp, averaging, validation."""

import math
from dataclasses import dataclass
from enum import Enum

from harden.errors import ConfigError


class Shape(Enum):
    """How the learning rate moves over the run."""

    one_cycle = "one_cycle"  # linear up, cosine down (Smith and Topin 2017, arXiv 1708.07120)
    cosine = "cosine"
    constant = "constant"


@dataclass(frozen=True)
class Schedule:
    """Everything is a function of the step alone, so a resumed run needs no scheduler state."""

    epochs: float = 20
    batch_size: int = 128
    shape: Shape = Shape.one_cycle
    warmup: float = 0.25  # share of the steps in which one_cycle rises
    ramp: float = 0.3  # share of the steps in which eps grows from 0 to its value
    ema: float = 0.999  # decay of the averaged weights; 0: no averaging
    clip: float = 0.0  # largest gradient norm; 0: no clipping
    validation: int = 1000  # images held out of the training set, at most a tenth of it
    validate_every: float = 1.0  # epochs between validations

    def __post_init__(self) -> None:
        _positive(epochs=self.epochs, batch_size=self.batch_size, validate_every=self.validate_every)
        _share(warmup=self.warmup, ramp=self.ramp, ema=self.ema)
        if not self.clip >= 0 or self.validation < 1:
            raise ConfigError(
                f"schedule.clip must be >= 0 and schedule.validation >= 1, got {self.clip:g} and {self.validation}"
            )

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of `step` of `steps`, as a share of the peak."""
        done = (step + 0.5) / steps
        if self.shape is Shape.constant:
            return 1.0
        if self.shape is Shape.one_cycle and done < self.warmup:
            return done / self.warmup
        start = self.warmup if self.shape is Shape.one_cycle else 0.0
        return 0.5 * (1 + math.cos(math.pi * (done - start) / (1 - start)))

    def eps_share(self, step: int, steps: int, ramp: float | None = None) -> float:
        """The radius trained against at `step`, as a share of the threat's; `ramp`: in the place of the schedule's."""
        ramp = self.ramp if ramp is None else ramp
        return 1.0 if ramp == 0 else min(1.0, (step + 1) / (ramp * steps))

    def decay(self, step: int) -> float:
        """The averaging decay at `step`: small at first, so that the start is soon forgotten."""
        return min(self.ema, (1 + step) / (10 + step))


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not (value > 0 and math.isfinite(value)):
            raise ConfigError(f"schedule.{name} must be > 0, got {value:g}")


def _share(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ConfigError(f"schedule.{name} must lie in [0, 1), got {value:g}")
