"""What an attack is: a frozen value that can be called; its fields are its knobs and its command line.

Attacks propose, the judge decides: what an attack returns carries no claim of success.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from harden.seeds import Stream
from harden.threat import ThreatModel

SURE = 1e-5
"""By what share of the largest logit a wrong class must lead before an attack relies on it."""

Model = Callable[[Tensor], Tensor]
"""Pixels (n, *pixel) in the box -> logits (n, classes)."""


@dataclass(frozen=True)
class Attack(ABC):
    """A way to look for adversarial examples."""

    leaves_ball: ClassVar[bool] = False
    """Whether candidates may lie outside the ball: such an attack may train, never measure."""

    alone: ClassVar[bool] = False
    """Whether it draws from the process's own generators, so that no two may run at once."""

    def check(self, threat: ThreatModel) -> None:  # noqa: B027  most attacks know every norm
        """Raises ConfigError where this attack cannot be run against `threat`. Cheap: doors ask before they begin."""

    def __call__(self, model: Model, x: Tensor, y: Tensor, threat: ThreatModel, *, rng: Stream) -> Tensor:
        """One candidate per sample, inside ball and box, same shape as `x`.

        x: (n, *pixel) float32 in the box; y: (n,) int64 true labels. `rng` must hold the samples' ids.
        The model is as it was before, also after an exception: mode, `requires_grad`, buffers, gradients.
        """
        with frozen(model):
            return self.propose(model, x, y, threat, rng=rng)

    @abstractmethod
    def propose(self, model: Model, x: Tensor, y: Tensor, threat: ThreatModel, *, rng: Stream) -> Tensor:
        """The attack itself, on a model that is already frozen."""

    @property
    def made_on(self) -> str:
        """The name of the model that its images are made on; "" for the very model that is judged."""
        return ""

    @property
    @abstractmethod
    def label(self) -> str:
        """The attack as tables print it, with the knobs that decide its strength."""


@dataclass(frozen=True)
class MinimumNorm(Attack):
    """An attack that looks for the nearest adversarial point, whatever its distance."""

    @abstractmethod
    def closest(
        self, model: Model, x: Tensor, y: Tensor, threat: ThreatModel, *, rng: Stream, enough: float = 0.0
    ) -> Tensor:
        """The nearest misclassified point found in the box, in the threat's norm; `x` itself where none was.

        The threat's eps plays no part. A sample may leave the search once it has a point within `enough`.
        The model is frozen already.
        """

    def propose(self, model: Model, x: Tensor, y: Tensor, threat: ThreatModel, *, rng: Stream) -> Tensor:
        """The nearest point, where it lies inside the ball; else its projection."""
        return threat.project(self.closest(model, x, y, threat, rng=rng, enough=threat.radius), x)


@contextmanager
def frozen(model: Model) -> Iterator[None]:
    """Inside, `model` is in eval mode and its parameters want no gradient; afterwards all is as before.

    Without weight gradients a PGD step costs two passes, not three.
    """
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    modes = [module.training for module in modules]
    wanting = [p for module in modules for p in module.parameters(recurse=False) if p.requires_grad]
    try:
        for module in modules:
            module.training = False
        for parameter in wanting:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
        for parameter in wanting:
            parameter.requires_grad_(True)


def input_gradient(model: Model, x: Tensor, objective: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """The gradient of the summed `objective(logits)` with respect to `x`, and the logits, detached.

    Works inside `torch.no_grad()` too, and leaves no `.grad` anywhere.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        logits = model(x)
        (gradient,) = torch.autograd.grad(objective(logits).sum(), x)
    return gradient, logits.detach()


def fooled(logits: Tensor, y: Tensor) -> Tensor:
    """Whether a label is not the prediction, (n,) bool, by more than rounding can undo.

    What an attack goes by when it lets a sample go: the judge runs the model at another batch size, where a
    tie may fall the other way. Logits that are not finite count as fooled.
    """
    logits = logits.detach().float()
    lead = logits.gather(1, y[:, None]).squeeze(1) - logits.scatter(1, y[:, None], -torch.inf).amax(dim=1)
    return ~(lead >= -slack(logits))


def slack(logits: Tensor) -> Tensor:
    """By how much the label must be behind before an attack relies on it, (n,)."""
    return SURE * logits.abs().amax(dim=1).clamp_min(1.0)
