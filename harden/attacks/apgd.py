"""Auto-PGD with cross-entropy, the DLR loss and its targeted form (Croce and Hein 2020, arXiv 2003.01690).

For l1: APGD-L1 over shrinking radii (2021, arXiv 2103.01208). With their defaults `ApgdCe` and `ApgdT` are those
of AutoAttack's standard set for linf and l2.
"""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from harden.attacks.base import Attack, Model
from harden.attacks.climb import Objective, climb, enlarged
from harden.attacks.losses import cross_entropy, dlr, margin, targeted_dlr
from harden.errors import ConfigError
from harden.seeds import Stream
from harden.threat import Norm, ThreatModel

L1_RADII = ((3, 0.3), (2, 0.3), (1, 0.4))
"""For l1: how many times eps, and for which share of the steps (2021, section 4.3)."""


@dataclass(frozen=True)
class Apgd(Attack):
    """`steps` steps from a random start, once for each objective; samples already broken are left alone."""

    steps: int = 100
    restarts: int = 1
    rho: float = 0.75  # the share of a period's steps that must raise the loss, else the step is halved

    def __post_init__(self) -> None:
        if self.steps < 1 or self.restarts < 1:
            raise ConfigError(f"attack.steps and attack.restarts must be >= 1, got {self.steps} and {self.restarts}")
        if not 0 <= self.rho <= 1:
            raise ConfigError(f"attack.rho must lie in [0, 1], got {self.rho:g}")

    @abstractmethod
    def objectives(self, logits: Tensor, y: Tensor) -> Iterator[tuple[Objective, Tensor]]:
        """What is climbed in turn, with the target class of each sample, (n,); `logits` are the clean ones."""

    def propose(self, model: Model, x: Tensor, y: Tensor, threat: ThreatModel, *, rng: Stream) -> Tensor:
        """A misclassified point where one was found, else of the runs' best points the one of largest margin."""
        if not len(x):
            return x
        with torch.no_grad():
            logits = model(x).float()
        result, alive = x.clone(), torch.arange(len(x), device=x.device)
        top = torch.full((len(x),), -torch.inf, device=x.device)
        for number, (objective, target) in enumerate(self.objectives(logits, y)):
            for restart in range(self.restarts):
                few = rng.child("start", number, restart).take(alive)
                found, broken = self._run(model, x[alive], y[alive], target[alive], objective, threat, few)
                with torch.no_grad():
                    score = margin(model(found), y[alive]).masked_fill(broken, torch.inf)
                better = score > top[alive]
                result[alive[better]], top[alive[better]] = found[better], score[better]
                alive = alive[~broken]
                if not len(alive):
                    return result
        return result

    def _run(
        self, model: Model, x: Tensor, y: Tensor, target: Tensor, objective: Objective, threat: ThreatModel, rng: Stream
    ) -> tuple[Tensor, Tensor]:
        if threat.norm is not Norm.l1:
            start = _start(x, threat, rng)
            found, broken, _ = climb(model, x, y, target, start, objective, threat, steps=self.steps, rho=self.rho)
            return found, broken
        return self._narrowing(model, x, y, target, objective, threat, rng)

    def _narrowing(
        self, model: Model, x: Tensor, y: Tensor, target: Tensor, objective: Objective, threat: ThreatModel, rng: Stream
    ) -> tuple[Tensor, Tensor]:
        """Through the larger balls first, each run from the best point of the one before."""
        point = _start(x, enlarged(threat, L1_RADII[0][0]), rng)
        for factor, share in L1_RADII:
            ball = enlarged(threat, factor)
            steps = max(int(share * self.steps), 1)
            point = ball.project(point, x)
            found, broken, point = climb(
                model, x, y, target, point, objective, ball, steps=steps, rho=self.rho, leave=factor == 1
            )
        return found, broken

    def _spelled(self, name: str) -> str:
        steps = "" if self.steps == 100 else f"-{self.steps}"
        return f"{name}{steps}" + (f"x{self.restarts}" if self.restarts > 1 else "")


@dataclass(frozen=True)
class ApgdCe(Apgd):
    """Auto-PGD on the cross-entropy."""

    @property
    def label(self) -> str:
        """APGD-CE, with steps other than 100 and restarts."""
        return self._spelled("APGD-CE")

    def objectives(self, logits: Tensor, y: Tensor) -> Iterator[tuple[Objective, Tensor]]:
        """Cross-entropy alone."""
        yield lambda z, label, _: cross_entropy(z, label), y


@dataclass(frozen=True)
class ApgdDlr(Apgd):
    """Auto-PGD on the difference-of-logits ratio; with fewer than 3 classes, on the margin."""

    @property
    def label(self) -> str:
        """APGD-DLR, with steps other than 100 and restarts."""
        return self._spelled("APGD-DLR")

    def objectives(self, logits: Tensor, y: Tensor) -> Iterator[tuple[Objective, Tensor]]:
        """DLR alone."""
        loss = dlr if logits.shape[1] >= 3 else margin
        yield lambda z, label, _: loss(z, label), y


@dataclass(frozen=True)
class ApgdT(Apgd):
    """Auto-PGD on the targeted DLR, towards the `targets` likeliest wrong classes in turn.

    With fewer than 4 classes, for which that loss is not defined, on the difference of two logits.
    """

    targets: int = 9

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.targets < 1:
            raise ConfigError(f"attack.targets must be >= 1, got {self.targets}")

    @property
    def label(self) -> str:
        """APGD-T, with steps other than 100, restarts, and targets other than 9."""
        return self._spelled("APGD-T") + ("" if self.targets == 9 else f" ({self.targets} targets)")

    def objectives(self, logits: Tensor, y: Tensor) -> Iterator[tuple[Objective, Tensor]]:
        """One for each target, by falling clean logit."""
        order = logits.argsort(dim=1, descending=True, stable=True)
        wrong = order[order != y[:, None]].view(len(y), -1)
        loss = targeted_dlr if logits.shape[1] >= 4 else _difference
        for rank in range(min(self.targets, wrong.shape[1])):
            yield loss, wrong[:, rank]


def _difference(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    return (logits.gather(1, target[:, None]) - logits.gather(1, y[:, None])).float().squeeze(1)


def _start(x: Tensor, threat: ThreatModel, rng: Stream) -> Tensor:
    """A random point on the surface of the ball, cut by the box, as in AutoAttack's code; for l1 its projection."""
    if threat.norm is Norm.linf:
        draw = rng.uniform(x, -1.0, 1.0)
        size = draw.flatten(1).abs().amax(dim=1)
    else:
        draw = rng.normal(x)
        size = torch.linalg.vector_norm(draw.flatten(1), dim=1)
    if threat.norm is Norm.l1:
        return threat.project(x + draw, x)
    return (x + threat.radius * draw / size.clamp_min(1e-12).view(-1, *[1] * (x.dim() - 1))).clamp(
        threat.low, threat.high
    )
