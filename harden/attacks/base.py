"""What an attack is: a frozen value that can be called; its fields are its knobs and its command line.

Attacks propose, the judge decides: what an attack returns carries no claim of success.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harden.seeds import Stream
from harden.threat import ThreatModel

Model = Callable[[Tensor], Tensor]
"""Pixels (n, *pixel) in the box -> logits (n, classes)."""


@dataclass(frozen=True)
class Attack(ABC):
    """A way to look for adversarial examples."""

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
    @abstractmethod
    def label(self) -> str:
        """The attack as tables print it, with the knobs that decide its strength."""


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
