"""What the training loop yields; whoever consumes it decides what is shown, logged or drawn."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class StepStats:
    """Where the run stands after `step` of `steps`; means over the steps since the last one of these.

    Accuracies are shares of the training images of those steps, None where the objective does not look.
    """

    step: int
    steps: int
    epoch: float
    loss: float | None
    clean: float | None
    robust: float | None
    images_per_second: float


@dataclass(frozen=True)
class EpochStats:
    """One epoch: training means, and validation accuracy of the raw and the averaged weights if it was due.

    The training means are None after a roll-back at the very end of the epoch.
    """

    step: int
    epoch: float
    loss: float | None
    lr: float
    eps: float
    images_per_second: float
    train_clean: float | None = None
    train_robust: float | None = None
    val_clean: float | None = None
    val_robust: float | None = None
    val_clean_ema: float | None = None
    val_robust_ema: float | None = None

    def figures(self) -> dict[str, float]:
        """The figures that are there, by name."""
        return {name: float(value) for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Event:
    """Something that happened to the run: a collapse, a roll-back, a resume. It belongs in every record."""

    kind: str
    step: int
    epoch: float
    text: str
    figures: Mapping[str, float] = field(default_factory=dict)


Report = StepStats | EpochStats | Event
