"""What a training step minimises. An objective is called with the model, a batch and the attack.

It returns the loss to differentiate and, as tensors that wait on no device, how many samples were right.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harden.attacks import Attack, Fgsm, Keep, Pgd, frozen
from harden.attacks.ascent import last_iterate
from harden.attacks.losses import kl_divergence
from harden.data import Batch
from harden.errors import ConfigError
from harden.seeds import Stream
from harden.threat import ThreatModel


class Loss(NamedTuple):
    """`value`: scalar to differentiate; `clean`, `robust`: numbers of right answers, None where not looked at."""

    value: Tensor
    clean: Tensor | None = None
    robust: Tensor | None = None


@dataclass(frozen=True)
class Objective(ABC):
    """A training loss over clean or adversarial samples."""

    hardens: ClassVar[bool] = True
    """Whether it makes a model withstand something; ordinary training does not."""

    @property
    def own_ramp(self) -> float | None:
        """The share of the steps in which eps grows, where this objective needs another than the schedule's."""
        return None

    @property
    @abstractmethod
    def looks(self) -> tuple[bool, bool]:
        """Whether its `Loss` counts right answers on clean and on attacked images."""

    @abstractmethod
    def __call__(
        self, model: nn.Module, batch: Batch, attack: Attack | None, threat: ThreatModel, *, rng: Stream
    ) -> Loss:
        """The loss on `batch`. `rng` holds the batch's sample ids; the model is in train mode."""

    def check(self, model: nn.Module, threat: ThreatModel) -> None:  # noqa: B027  most can train anything
        """Raises ConfigError where this objective cannot train `model` against `threat`."""

    def accept(self, attack: Attack | None) -> None:
        """Nothing if this objective can use `attack`; ConfigError otherwise."""
        if attack is None:
            name = type(self).__name__.lower()
            raise ConfigError(f"objective={name} needs an attack", "add +attack=pgd")
        if isinstance(attack, Pgd) and attack.keep is Keep.last and attack.restarts > 1:
            raise ConfigError("attack.keep=last cannot choose between restarts", "say attack.keep=best")


@dataclass(frozen=True)
class Clean(Objective):
    """Cross-entropy on clean images: ordinary training."""

    hardens: ClassVar[bool] = False

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        _check_share("label_smoothing", self.label_smoothing)

    def accept(self, attack: Attack | None) -> None:
        """Ordinary training has no use for an attack, and an unused option is a mistake."""
        if attack is not None:
            raise ConfigError(
                "objective=clean makes no use of an attack",
                "leave out +attack=..., or leave out objective=clean",
            )

    @property
    def looks(self) -> tuple[bool, bool]:
        """Counted are clean images."""
        return True, False

    def __call__(
        self, model: nn.Module, batch: Batch, attack: Attack | None, threat: ThreatModel, *, rng: Stream
    ) -> Loss:
        """Cross-entropy of the clean batch."""
        logits = model(batch.x)
        loss = F.cross_entropy(logits.float(), batch.y, label_smoothing=self.label_smoothing)
        return Loss(loss, clean=_count(logits, batch.y))


@dataclass(frozen=True)
class Madry(Objective):
    """Cross-entropy on what the attack made of the batch (Madry et al. 2018, arXiv 1706.06083)."""

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        _check_share("label_smoothing", self.label_smoothing)

    @property
    def looks(self) -> tuple[bool, bool]:
        """Counted are attacked images."""
        return False, True

    def __call__(
        self, model: nn.Module, batch: Batch, attack: Attack | None, threat: ThreatModel, *, rng: Stream
    ) -> Loss:
        """Cross-entropy of the attacked batch."""
        if attack is None:
            raise TypeError("Madry training was called without an attack")
        x_adv = attack(model, batch.x, batch.y, threat, rng=rng)
        logits = model(x_adv)
        loss = F.cross_entropy(logits.float(), batch.y, label_smoothing=self.label_smoothing)
        return Loss(loss, robust=_count(logits, batch.y))


@dataclass(frozen=True)
class Trades(Objective):
    """CE(clean) + beta KL(clean || adversarial) (Zhang et al. 2019, arXiv 1901.08573, eq. 5).

    The inner attack takes its steps and step length from `attack` but climbs the KL divergence from the clean
    logits, as the paper does, starting at x + 0.001 N(0, 1). Both batches go through one forward pass:
    BatchNorm sees them together, and two passes break DDP (pytorch issue 175024).
    """

    beta: float = 6.0

    def __post_init__(self) -> None:
        if not self.beta >= 0:
            raise ConfigError(f"objective.beta must be >= 0, got {self.beta:g}")

    def accept(self, attack: Attack | None) -> None:
        """TRADES takes its steps from PGD or FGSM."""
        super().accept(attack)
        if not isinstance(attack, Pgd | Fgsm):
            raise ConfigError("objective=trades takes its steps from a gradient attack", "say +attack=pgd")
        plain = Pgd()
        for name in ("restarts", "loss", "target"):
            if getattr(attack, name, getattr(plain, name)) != getattr(plain, name):
                raise ConfigError(f"objective=trades makes no use of attack.{name}", "leave it out")

    @property
    def looks(self) -> tuple[bool, bool]:
        """Counted are both."""
        return True, True

    def __call__(
        self, model: nn.Module, batch: Batch, attack: Attack | None, threat: ThreatModel, *, rng: Stream
    ) -> Loss:
        """The two terms over one concatenated forward pass."""
        if not isinstance(attack, Pgd | Fgsm):
            raise TypeError("TRADES was called without a gradient attack")
        x_adv = self._climb(model, batch.x, attack, threat, rng)
        clean, adversarial = model(torch.cat([batch.x, x_adv])).float().chunk(2)
        natural = F.cross_entropy(clean, batch.y)
        value = natural + self.beta * kl_divergence(adversarial, clean).mean()
        return Loss(value, clean=_count(clean, batch.y), robust=_count(adversarial, batch.y))

    def _climb(self, model: nn.Module, x: Tensor, attack: Pgd | Fgsm, threat: ThreatModel, rng: Stream) -> Tensor:
        steps, share = (attack.steps, attack.share) if isinstance(attack, Pgd) else (1, attack.step)
        with frozen(model):
            with torch.no_grad():
                reference = model(x)
            start = threat.project(x + 0.001 * rng.child("start", 0).normal(x), x)
            size = share * threat.radius
            return last_iterate(model, x, start, lambda z: kl_divergence(z, reference), threat, steps=steps, size=size)


def _count(logits: Tensor, y: Tensor) -> Tensor:
    return (logits.detach().argmax(dim=1) == y).sum()


def _check_share(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ConfigError(f"objective.{name} must lie in [0, 1), got {value:g}")
