"""Projected gradient descent (Madry et al. 2018, arXiv 1706.06083).

Differs from the paper's code: the step is a share of the radius, so one setting serves every eps; the best
iterate can be kept, the last one included.
"""

from dataclasses import dataclass
from enum import Enum
from functools import partial

import torch
from torch import Tensor

from harden.attacks.ascent import Objective, best_iterate, last_iterate
from harden.attacks.base import Attack, Model
from harden.attacks.losses import Loss, cross_entropy, margin
from harden.attacks.replay import replayed
from harden.errors import ConfigError
from harden.seeds import Stream
from harden.threat import ThreatModel


class Keep(Enum):
    """Which iterate an attack hands back."""

    best = "best"
    last = "last"


class Target(Enum):
    """Towards which class a targeted attack goes; the restarts take the next one in turn."""

    none = "none"
    runner_up = "runner_up"  # the wrong classes by falling clean logit
    least_likely = "least_likely"  # the wrong classes by rising clean logit
    random = "random"  # a wrong class drawn per sample and restart


@dataclass(frozen=True)
class Pgd(Attack):
    """`steps` projected steps from a random start, `restarts` times; per sample the best point is kept."""

    steps: int = 7
    step: float | None = None  # share of the radius; None: min(1, 2.5 / steps), Madry's rule
    restarts: int = 1
    start: bool = True  # begin at a random point of the ball
    loss: Loss = Loss.ce
    target: Target = Target.none
    keep: Keep = Keep.best

    def __post_init__(self) -> None:
        if self.steps < 1 or self.restarts < 1:
            raise ConfigError(f"attack.steps and attack.restarts must be >= 1, got {self.steps} and {self.restarts}")
        if self.step is not None and not 0 < self.step <= 2:
            raise ConfigError(f"attack.step must lie in (0, 2], a share of eps, got {self.step:g}")

    @property
    def label(self) -> str:
        """PGD with its steps and restarts, as in `PGD-50x5`."""
        targeted = "" if self.target is Target.none else f" to {self.target.value}"
        return f"PGD-{self.steps}" + (f"x{self.restarts}" if self.restarts > 1 else "") + targeted

    @property
    def share(self) -> float:
        """The step's length as a share of the radius."""
        return min(1.0, 2.5 / self.steps) if self.step is None else self.step

    def propose(self, model: Model, x: Tensor, y: Tensor, threat: ThreatModel, *, rng: Stream) -> Tensor:
        """The last iterate of one run, or the best of all runs by margin."""
        targets = self._targets(model, x, y, rng)
        if self.keep is Keep.last:
            if self.restarts > 1:
                raise ValueError("the last iterate of several restarts was asked for: keep the best one instead")
            return self._climbed(model, x, y, targets, threat, rng)
        best, top = x.clone(), torch.full((len(x),), -torch.inf, device=x.device)
        alive = torch.arange(len(x), device=x.device)
        for restart in range(self.restarts):
            few = rng.take(alive)
            objective = self._objective(y[alive], None if targets is None else targets[alive], restart)
            found, score = self._run(model, x[alive], y[alive], threat, objective, few, restart)
            better = score > top[alive]
            best[alive[better]], top[alive[better]] = found[better], score[better]
            alive = (top <= 0).nonzero().squeeze(1)  # the only host sync: once a restart
            if not len(alive):  # some networks cannot take an empty batch
                break
        return best

    def _run(
        self,
        model: Model,
        x: Tensor,
        y: Tensor,
        threat: ThreatModel,
        objective: Objective,
        rng: Stream,
        restart: int,
    ) -> tuple[Tensor, Tensor]:
        start, size = self._start(x, threat, rng, restart), self.share * threat.radius
        score = partial(margin, y=y)
        return best_iterate(model, x, start, objective, score, threat, steps=self.steps, size=size)

    def _climbed(
        self, model: Model, x: Tensor, y: Tensor, targets: Tensor | None, threat: ThreatModel, rng: Stream
    ) -> Tensor:
        """The last iterate, which a CUDA graph may compute."""
        start, size = self._start(x, threat, rng, 0), self.share * threat.radius

        def climb(x: Tensor, start: Tensor, y: Tensor) -> Tensor:
            objective = self._objective(y, targets, 0)
            return last_iterate(model, x, start, objective, threat, steps=self.steps, size=size)

        if targets is not None:  # they are no part of what a graph is fed with
            return climb(x, start, y)
        return replayed((self, threat, id(model)), climb, x, start, y)

    def _start(self, x: Tensor, threat: ThreatModel, rng: Stream, restart: int) -> Tensor:
        return threat.random_start(x, rng.child("start", restart)) if self.start else x

    def _targets(self, model: Model, x: Tensor, y: Tensor, rng: Stream) -> Tensor | None:
        """The wrong classes in the order in which the restarts try them, (n, classes - 1)."""
        if self.target is Target.none:
            return None
        with torch.no_grad():
            logits = model(x).float()
        if self.target is Target.random:
            logits = rng.child("target").uniform(logits)
        order = logits.argsort(dim=1, descending=self.target is not Target.least_likely, stable=True)
        return order[order != y[:, None]].view(len(y), -1)

    def _objective(self, y: Tensor, targets: Tensor | None, restart: int) -> Objective:
        """What a restart climbs: the loss of the label, or how far its target is ahead."""
        if targets is None:
            return partial(self.loss, y=y)
        target = targets[:, restart % targets.shape[1]]
        if self.loss is Loss.ce:
            return lambda logits: -cross_entropy(logits, target)
        return lambda logits: (logits.gather(1, target[:, None]) - logits.gather(1, y[:, None])).float().sum(1)
