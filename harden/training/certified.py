"""Objectives under which a lower bound can be certified: interval bounds, CROWN-IBP, Gaussian noise.

None of them takes an attack: the bound, or the noise, stands in its place.
"""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harden.attacks import Attack
from harden.certification import Method, margins
from harden.certification.layers import chain
from harden.data import Batch
from harden.errors import ConfigError
from harden.seeds import Stream
from harden.threat import Norm, ThreatModel
from harden.training.objectives import Loss, Objective


@dataclass(frozen=True)
class Bounded(Objective):
    """kappa CE(clean) + (1 - kappa) CE(worst logits that the bounds allow).

    Gowal et al. 2018, arXiv 1810.12715, equation 12.

    eps grows over `ramp`, longer than for attacks: with 0.3 of the steps, nothing is learned from bounds on digits.
    """

    kappa: float = 0.5
    ramp: float = 0.7  # share of the steps in which eps grows, in the place of the schedule's

    def __post_init__(self) -> None:
        if not 0 <= self.kappa <= 1:
            raise ConfigError(f"objective.kappa must lie in [0, 1], got {self.kappa:g}")
        if not 0 <= self.ramp <= 1:
            raise ConfigError(f"objective.ramp must lie in [0, 1], got {self.ramp:g}")

    def accept(self, attack: Attack | None) -> None:
        """The bound is the attack: another one is a mistake."""
        refuse(attack, self)

    @property
    def own_ramp(self) -> float | None:
        """This objective's."""
        return self.ramp

    def check(self, model: nn.Module, threat: ThreatModel) -> None:
        """Bounds need linf and layers that they can be carried through while statistics of batches do not move."""
        if threat.norm is not Norm.linf:
            raise ConfigError(f"{self.method.value} bounds speak of linf, the threat is in {threat.norm.value}")
        chain(model.train())

    @property
    def looks(self) -> tuple[bool, bool]:
        """Counted are clean images, and those that the bound certifies."""
        return True, True

    @property
    @abstractmethod
    def method(self) -> Method:
        """How bounds are carried through the network."""

    def __call__(
        self, model: nn.Module, batch: Batch, attack: Attack | None, threat: ThreatModel, *, rng: Stream
    ) -> Loss:
        """The two terms; raises ConfigError for a network or a threat that bounds do not fit."""
        logits = model(batch.x)
        lead = margins(model, batch.x, batch.y, threat, method=self.method)
        natural = F.cross_entropy(logits.float(), batch.y)
        worst = F.cross_entropy(-lead.float(), batch.y)  # the label's own lead is 0
        rivals = torch.ones_like(lead, dtype=torch.bool).scatter(1, batch.y[:, None], False)
        held = ((lead.detach() > 0) | ~rivals).all(dim=1).sum()
        return Loss(self.kappa * natural + (1 - self.kappa) * worst, clean=_right(logits, batch.y), robust=held)


@dataclass(frozen=True)
class Ibp(Bounded):
    """With interval bounds."""

    @property
    def method(self) -> Method:
        """Interval bounds alone."""
        return Method.ibp


@dataclass(frozen=True)
class CrownIbp(Bounded):
    """With CROWN-IBP's bounds (Zhang et al. 2019, arXiv 1906.06316): tighter, and a pass dearer for every class."""

    @property
    def method(self) -> Method:
        """The better of CROWN-IBP's and interval bounds, class by class."""
        return Method.crown_ibp


@dataclass(frozen=True)
class Smooth(Objective):
    """Cross-entropy under Gaussian noise, for randomised smoothing (Cohen et al. 2019, arXiv 1902.02918, 3.3)."""

    sigma: float = 0.25  # of the noise, in units of pixels of 0..1; certify with the same

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise ConfigError(f"objective.sigma must be > 0, got {self.sigma:g}")

    def accept(self, attack: Attack | None) -> None:
        """The noise is the attack: another one is a mistake."""
        refuse(attack, self)

    @property
    def looks(self) -> tuple[bool, bool]:
        """Counted are noisy images, as robust ones."""
        return False, True

    def __call__(
        self, model: nn.Module, batch: Batch, attack: Attack | None, threat: ThreatModel, *, rng: Stream
    ) -> Loss:
        """Cross-entropy of the noisy batch, which may leave the box as it will when votes are taken."""
        logits = model(batch.x + self.sigma * rng.child("noise").normal(batch.x))
        return Loss(F.cross_entropy(logits.float(), batch.y), robust=_right(logits, batch.y))


def refuse(attack: Attack | None, objective: Objective) -> None:
    """Raises ConfigError where there is an attack."""
    if attack is not None:
        name = {"Ibp": "ibp", "CrownIbp": "crown_ibp", "Smooth": "smooth"}[type(objective).__name__]
        raise ConfigError(f"objective={name} makes no use of an attack", "leave out +attack=...")


def _right(logits: Tensor, y: Tensor) -> Tensor:
    return (logits.detach().argmax(dim=1) == y).sum()
