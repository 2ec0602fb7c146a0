"""What a sanity check is given and what it answers."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property

import torch
from torch import Tensor

from harden.attacks import Adaptive, ApgdDlr, Attack, Loss, Model, Pgd, frozen
from harden.data import Split
from harden.evaluation.inference import Steady, judging_logits
from harden.evaluation.judge import exact
from harden.seeds import Stream
from harden.threat import ThreatModel


class Verdict(Enum):
    """What a check came to. Only `failed` makes the evaluation unreliable."""

    passed = "passed"
    failed = "failed"
    warned = "warned"
    not_applicable = "not applicable"


@dataclass(frozen=True)
class Row:
    """One check: its number and name, the verdict, the figure behind it, and what the figure means."""

    number: int
    name: str
    verdict: Verdict
    figure: str
    reason: str


@dataclass(frozen=True)
class Facts:
    """What is known of how the model came about; None: not known, and the checks that need it do not apply.

    clean_accuracy: recorded at training, with the number of images it stands on. selected_on: which images the
    checkpoint was chosen on. overlap: test images that are training images too. validation: the images of the
    training set that were held out, to be attacked like the test images. transfer: the other model whose images
    fool this one the most, and by how many points more often than its own do.
    """

    clean_accuracy: tuple[float, int] | None = None
    selected_on: str | None = None
    overlap: int | None = None
    validation: Split | None = None
    transfer: tuple[str, float] | None = None


@dataclass(frozen=True)
class Battery:
    """The knobs of the battery: how many images, how strong its own attack, what it tolerates.

    Tolerances are points of accuracy, but never less than `images_spared` images: of 100, half a point is none.
    """

    images: int = 256
    steps: int = 40
    strong_steps: int = 50
    queries: int = 500
    images_spared: int = 3


@dataclass(frozen=True)
class Subject:
    """A model under examination. `attack`: the one it is measured by; its candidates are looked at unprojected.

    eot: passes that attacks and judge average over, where the model answers at random.
    """

    model: Model
    split: Split
    index: Tensor
    threat: ThreatModel
    rng: Stream
    attack: Attack | None = None
    batch_size: int = 250
    eot: int = 1
    facts: Facts = field(default_factory=Facts)
    knobs: Battery = field(default_factory=Battery)

    @cached_property
    def ids(self) -> Tensor:
        """The samples looked at."""
        return self.index[: self.knobs.images]

    @cached_property
    def x(self) -> Tensor:
        """Their images."""
        return self.split.batch(self.ids).x

    @cached_property
    def y(self) -> Tensor:
        """Their labels."""
        return self.split.batch(self.ids).y

    @cached_property
    def logits(self) -> Callable[[Tensor], Tensor]:
        """The model as the judge runs it."""
        return judging_logits(self.model, self.batch_size, self.eot)

    @cached_property
    def clean(self) -> Tensor:
        """Which samples are right without an attack."""
        return self.logits(self.x).argmax(dim=1) == self.y

    def on(self, split: Split) -> "Subject":
        """The same model under the same threat, on other images."""
        index = torch.arange(len(split), device=self.index.device)
        return replace(self, split=split, index=index, rng=self.rng.child("other images"))

    @property
    def pgd(self) -> Pgd:
        """The battery's plain attack."""
        return Pgd(steps=self.knobs.steps, loss=Loss.margin)

    @property
    def strong(self) -> ApgdDlr:
        """The battery's strong attack, which chooses its steps itself, on a loss that knows no scale."""
        return ApgdDlr(steps=self.knobs.strong_steps)

    @cached_property
    def proposed(self) -> dict[tuple[Attack, ThreatModel], Tensor]:
        """What has been proposed already, for the checks that ask the same."""
        return {}

    def adaptive(self, attack: Attack) -> Attack:
        """`attack` as it has to be run on this model: averaged over its randomness, if it has any."""
        return attack if self.eot == 1 or isinstance(attack, Adaptive) else Adaptive(base=attack, samples=self.eot)

    def candidates(self, attack: Attack, threat: ThreatModel) -> Tensor:
        """What `attack` proposes for all samples, as it is."""
        attack = self.adaptive(attack)
        if (attack, threat) not in self.proposed:
            with exact():
                found = attack(self.model, self.x, self.y, threat, rng=self.rng.at(self.ids))
            self.proposed[attack, threat] = found
        return self.proposed[attack, threat]

    def seen(self, x: Tensor) -> Tensor:
        """The logits as an attack sees them, of fresh draws where the model answers at random."""
        with frozen(self.model):
            return self.model(x) if self.eot == 1 else Steady(self.model, self.eot, draws=1)(x)

    def standing(self, attack: Attack, threat: ThreatModel) -> Tensor:
        """Which samples are right when clean and under `attack`, judged."""
        return self.withstood(self.candidates(attack, threat), threat)

    def withstood(self, x_adv: Tensor, threat: ThreatModel) -> Tensor:
        """Which samples are right when clean and on the candidates, projected."""
        return self.clean & (self.logits(threat.project(x_adv, self.x)).argmax(dim=1) == self.y)

    def allowed(self, points: float) -> int:
        """How many images a tolerance of so many points comes to."""
        return max(int(points / 100 * len(self.ids)), self.knobs.images_spared)


def row(number: int, name: str, good: bool, figure: str, reason: str) -> Row:
    """A row that has passed or failed."""
    return Row(number, name, Verdict.passed if good else Verdict.failed, figure, reason)


def counted(flags: Tensor) -> str:
    """How many of how many, in words."""
    return f"{int(flags.sum())} of {len(flags)}"
