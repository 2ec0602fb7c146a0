"""Carlini and Wagner's l2 attack (2017, arXiv 1608.04644): Adam in tanh space, binary search over the trade-off."""

from dataclasses import dataclass

import torch
from torch import Tensor

from harden.attacks.base import MinimumNorm, Model, fooled
from harden.attacks.ddn import only_l2
from harden.attacks.losses import margin
from harden.attacks.norms import size_of, wide
from harden.errors import ConfigError
from harden.seeds import Stream
from harden.threat import Norm, ThreatModel

EDGE = 1 - 1e-6
"""Keeps pixels of 0 and 1 off the ends of tanh's range."""


@dataclass(frozen=True)
class Cw(MinimumNorm):
    """`rounds` of `steps` Adam steps each, between which the constant before the margin is bisected per sample."""

    rounds: int = 6
    steps: int = 200
    rate: float = 0.01
    constant: float = 1.0

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.steps < 1 or not self.rate > 0 or not self.constant > 0:
            raise ConfigError(
                "attack.rounds and attack.steps must be >= 1, attack.rate and attack.constant > 0, "
                f"got {self.rounds}, {self.steps}, {self.rate:g} and {self.constant:g}"
            )

    @property
    def label(self) -> str:
        """CW with rounds and steps, as in `CW-6x200`."""
        return f"CW-{self.rounds}x{self.steps}"

    def check(self, threat: ThreatModel) -> None:
        """Raises ConfigError for a threat in another norm than l2."""
        only_l2(threat, "CW")

    def closest(
        self, model: Model, x: Tensor, y: Tensor, threat: ThreatModel, *, rng: Stream, enough: float = 0.0
    ) -> Tensor:
        """As `MinimumNorm.closest`; 1 forward and 1 backward pass a step. ConfigError for another norm than l2."""
        self.check(threat)
        best = x.clone()
        if not len(x):
            return best
        nearest = torch.full((len(x),), torch.inf, device=x.device)
        constant = torch.full_like(nearest, self.constant)
        low, high = torch.zeros_like(constant), torch.full_like(constant, torch.inf)
        for _ in range(self.rounds):
            point, size = self._round(model, x, y, threat, constant)
            closer = size < nearest
            best, nearest = torch.where(wide(closer, x), point, best), torch.minimum(size, nearest)
            met = size.isfinite()
            low, high = torch.where(met, low, constant), torch.where(met, constant, high)
            constant = torch.where(high.isinf(), constant * 10, (low + high) / 2)
        return best

    def _round(
        self, model: Model, x: Tensor, y: Tensor, threat: ThreatModel, constant: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The nearest adversarial point that one descent meets and its distance, infinite where it meets none."""
        middle, half = (threat.high + threat.low) / 2, (threat.high - threat.low) / 2
        w = torch.atanh(((x - middle) / half).clamp(-EDGE, EDGE)).detach().requires_grad_(True)
        adam = torch.optim.Adam([w], lr=self.rate)
        best, nearest = x.clone(), torch.full((len(x),), torch.inf, device=x.device)
        for _ in range(self.steps):
            with torch.enable_grad():
                point = torch.tanh(w) * half + middle
                logits = model(point)
                size2 = ((point - x) ** 2).flatten(1).sum(dim=1)
                loss = size2 + constant * (-margin(logits, y)).clamp_min(0)
                (w.grad,) = torch.autograd.grad(loss.sum(), w)
            size = size_of((point - x).detach().flatten(1), Norm.l2)
            closer = fooled(logits, y) & (size < nearest)
            best, nearest = torch.where(wide(closer, x), point.detach(), best), torch.where(closer, size, nearest)
            adam.step()
        return best, nearest
