"""What changes while a model is trained, apart from the tensors of model and optimiser."""

from dataclasses import dataclass, field
from typing import Any

from harden.attacks import Attack
from harden.spelling import read, spell
from harden.training.reports import EpochStats, Event
from harden.training.tally import WIDTH
from harden.training.watchdog import Look


@dataclass
class State:
    """All of it is plain data, so that a checkpoint can hold it; times are seconds."""

    attack: Attack | None  # the one trained against; a watchdog may have made it stronger
    step: int = 0
    lr_scale: float = 1.0  # halved by each divergence
    seconds: float = 0.0  # of the whole run, over all sittings
    training: float = 0.0  # of its training steps alone
    trips: int = 0
    alert: bool = False  # the last look saw both accuracies fall: the next one comes early
    looked: int = 0  # step of the last look
    validated: int = 0  # step of the last validation
    stopped: str = ""  # why the watchdogs gave up, if they did
    best: tuple[float, float] = (-1.0, -1.0)  # validation (robust, clean) accuracy of the selected weights
    chosen: str = "raw, step 0"
    tally: list[float] = field(default_factory=lambda: [0.0] * WIDTH)  # of the epoch so far
    losses: list[float] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    epochs: list[EpochStats] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """This state as JSON-ready data; NaN never stands in it, because a run stops counting before."""
        return {name: spell(value) for name, value in vars(self).items()}

    @classmethod
    def of(cls, plain: dict[str, Any], attacks: dict[str, type]) -> "State":
        """The state that `plain` made; `attacks`: the attack classes by name."""
        known: dict[str, type] = {"Look": Look, "EpochStats": EpochStats, "Event": Event, **attacks}
        state = cls(**{name: read(value, known) for name, value in plain.items()})
        state.best = (float(state.best[0]), float(state.best[1]))
        return state
