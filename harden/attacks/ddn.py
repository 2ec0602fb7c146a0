"""DDN: direction and norm decoupled (Rony et al. 2019, arXiv 1811.09600). l2 only."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from harden.attacks.base import MinimumNorm, Model, fooled, input_gradient
from harden.attacks.losses import cross_entropy
from harden.attacks.norms import size_of, wide
from harden.errors import ConfigError
from harden.seeds import Stream
from harden.threat import Norm, ThreatModel


@dataclass(frozen=True)
class Ddn(MinimumNorm):
    """`steps` steps along the gradient, each put onto a sphere that `gamma` shrinks or widens."""

    steps: int = 200
    gamma: float = 0.05
    size: float = 1.0  # the first radius, in pixels' units

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 < self.gamma < 1 or not self.size > 0:
            raise ConfigError(
                "attack.steps must be >= 1, attack.gamma in (0, 1), attack.size > 0, "
                f"got {self.steps}, {self.gamma:g} and {self.size:g}"
            )

    @property
    def label(self) -> str:
        """DDN with its steps, as in `DDN-200`."""
        return f"DDN-{self.steps}"

    def check(self, threat: ThreatModel) -> None:
        """Raises ConfigError for a threat in another norm than l2."""
        only_l2(threat, "DDN")

    def closest(
        self, model: Model, x: Tensor, y: Tensor, threat: ThreatModel, *, rng: Stream, enough: float = 0.0
    ) -> Tensor:
        """As `MinimumNorm.closest`; 1 forward and 1 backward pass a step. ConfigError for another norm than l2."""
        self.check(threat)
        best, delta = x.clone(), torch.zeros_like(x)
        if not len(x):
            return best
        nearest = torch.full((len(x),), torch.inf, device=x.device)
        radius = torch.full_like(nearest, self.size)
        for step in range(self.steps + 1):
            gradient, logits = input_gradient(model, x + delta, lambda z: cross_entropy(z, y))
            wrong, size = fooled(logits, y), size_of(delta.flatten(1), Norm.l2)
            closer = wrong & (size < nearest)
            best = torch.where(wide(closer, x), x + delta, best)
            nearest = torch.where(closer, size, nearest)
            radius = torch.where(wrong, radius * (1 - self.gamma), radius * (1 + self.gamma))
            share = 0.5 * (1 + math.cos(math.pi * step / self.steps))
            length = wide(size_of(gradient.flatten(1), Norm.l2), x).clamp_min(1e-12)
            delta = delta + (0.01 + 0.99 * share) * gradient / length
            delta = delta * wide(radius / size_of(delta.flatten(1), Norm.l2).clamp_min(1e-12), x)
            delta = (x + delta).clamp(threat.low, threat.high) - x
        return best


def only_l2(threat: ThreatModel, name: str) -> None:
    """Raises ConfigError for a threat in another norm."""
    if threat.norm is not Norm.l2:
        raise ConfigError(f"{name} searches in l2 only, the threat is in {threat.norm.value}", "say threat=l2")
