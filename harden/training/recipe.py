"""Everything that determines a training run, as one value."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

from harden.attacks import Attack, Pgd
from harden.data import DataChoice, Digits
from harden.errors import ConfigError
from harden.files import canonical_json
from harden.spelling import spell
from harden.threat import ThreatModel
from harden.training.objectives import Clean, Madry, Objective
from harden.training.optimisers import AdamW, Optimiser
from harden.training.schedule import Schedule
from harden.training.watchdog import Watchdog


@dataclass(frozen=True)
class Judging:
    """How results are measured: the final attack on test images, the cheaper one on validation images."""

    steps: int = 50
    restarts: int = 5
    images: int = 1000  # the first so many test images; 0: all
    validation_steps: int = 10
    batch_size: int = 250

    def __post_init__(self) -> None:
        if min(self.steps, self.restarts, self.validation_steps, self.batch_size) < 1 or self.images < 0:
            raise ConfigError("judge.steps, restarts, validation_steps and batch_size must be >= 1, judge.images >= 0")

    @property
    def attack(self) -> Pgd:
        """The attack behind the figures that a run reports."""
        return Pgd(steps=self.steps, restarts=self.restarts)

    @property
    def validation_attack(self) -> Pgd:
        """The attack that selects among checkpoints, on validation images only."""
        return Pgd(steps=self.validation_steps)


@dataclass(frozen=True)
class Recipe:
    """A training run. `model` None: the network that suits the images; `attack` None: ordinary training.

    `objective` None means Madry's with an attack and ordinary training without one. The fields typed `Any` hold
    a choice of the group of their name; Hydra cannot merge into a field typed by a frozen base class.
    """

    data: Any = field(default_factory=Digits)
    model: Any = None
    threat: ThreatModel = field(default_factory=ThreatModel)
    attack: Any = None
    objective: Any = None
    optim: Any = field(default_factory=AdamW)
    schedule: Schedule = field(default_factory=Schedule)
    watchdog: Watchdog = field(default_factory=Watchdog)
    judge: Judging = field(default_factory=Judging)
    seed: int = 0
    init: str | None = None  # start from these weights (a file) instead of random ones

    def __post_init__(self) -> None:
        _expect("data", self.data, DataChoice)
        _expect("optim", self.optim, Optimiser)
        _expect("threat", self.threat, ThreatModel)
        if self.attack is not None:
            _expect("attack", self.attack, Attack)
        if self.objective is None:
            object.__setattr__(self, "objective", Madry() if self.attack else Clean())
        _expect("objective", self.objective, Objective)
        self.objective.accept(self.attack)
        if self.threat.low > 0 or self.threat.high < 1:
            raise ConfigError(
                f"images have pixels of 0..1, the box is {self.threat.low:g}..{self.threat.high:g}",
                "leave out threat.low and threat.high",
            )

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical JSON of all fields but the folder of the data, whose content has its own."""
        plain = spell(self)
        plain["data"].pop("root", None)
        return hashlib.sha256(canonical_json(plain)).hexdigest()


def _expect(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise ConfigError(f"{name} needs an option of its group", f"say {name}=<option>; --help lists them")
