"""Hooks for defences that hide their gradients: randomness is averaged out, what has no gradient gets one.

EoT, expectation over transformation (Athalye et al. 2018, arXiv 1707.07397), and BPDA, backward pass
differentiable approximation (2018, arXiv 1802.00420). Both give a model that any attack here can be run on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from harden.attacks.base import Attack, Model
from harden.errors import ConfigError
from harden.seeds import Stream, seeded
from harden.threat import ThreatModel


def expectation(model: Model, samples: int, *, rng: Stream) -> Model:
    """`model` with its logits, and so their gradient, averaged over `samples` passes of fresh randomness.

    For models that draw from torch's global generators, such as dropout or added noise. Every call draws anew,
    in an order that `rng` fixes; the caller's generators are left as they were.
    """
    if samples < 1:
        raise ConfigError(f"an expectation needs samples >= 1, got {samples}")
    calls = iter(range(1 << 62))

    def averaged(x: Tensor) -> Tensor:
        with seeded(rng.child("expectation", next(calls)), x.device):
            return torch.stack([model(x) for _ in range(samples)]).mean(dim=0)

    return averaged


def bpda(forward: Callable[[Tensor], Tensor], backward: Callable[[Tensor], Tensor] | None = None) -> Model:
    """`forward`, whose gradient is that of `backward`; None: of the identity, for what keeps the image's shape.

    To put in the place of a preprocessing step that is not differentiable, or whose gradients are masked.
    """

    def hooked(x: Tensor) -> Tensor:
        substitute = x if backward is None else backward(x)
        with torch.no_grad():
            value = forward(x)
        return substitute + (value - substitute).detach()

    return hooked


@dataclass(frozen=True)
class Adaptive(Attack):
    """The attack `base` on a model whose randomness is averaged over `samples` passes."""

    alone: ClassVar[bool] = True
    base: Any = None
    samples: int = 20

    def __post_init__(self) -> None:
        if not isinstance(self.base, Attack):
            raise ConfigError("attack.base needs an attack", "in Python: Adaptive(base=ApgdCe())")
        if self.samples < 1:
            raise ConfigError(f"attack.samples must be >= 1, got {self.samples}")

    @property
    def made_on(self) -> str:
        """As the base has it."""
        on: str = self.base.made_on
        return on

    def check(self, threat: ThreatModel) -> None:
        """As the base has it."""
        self.base.check(threat)

    @property
    def label(self) -> str:
        """The base's label with EoT and its samples."""
        return f"{self.base.label} EoT-{self.samples}"

    def propose(self, model: Model, x: Tensor, y: Tensor, threat: ThreatModel, *, rng: Stream) -> Tensor:
        """What the base proposes."""
        averaged = expectation(model, self.samples, rng=Stream(rng.child("eot").key))
        proposed: Tensor = self.base.propose(averaged, x, y, threat, rng=rng)
        return proposed
