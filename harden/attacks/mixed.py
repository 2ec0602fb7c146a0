"""Several ways to climb in one training attack: each sample is sent up one of them, drawn by weight.

What a round's curriculum trains against: the ways that broke the last model more get more of the samples. Steps and
step are common to all, so that the cost does not depend on the weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from harden.attacks.base import Attack, Model
from harden.attacks.losses import Loss
from harden.attacks.pgd import Keep, Pgd, Target
from harden.errors import ConfigError
from harden.seeds import Stream
from harden.threat import ThreatModel

WAYS: dict[str, tuple[Loss, Target]] = {
    "ce": (Loss.ce, Target.none),
    "margin": (Loss.margin, Target.none),
    "runner_up": (Loss.margin, Target.runner_up),
}
"""What PGD climbs, by name: the loss of the label, the lead of the best other class, that of the second class."""


@dataclass(frozen=True)
class Mixed(Attack):
    """PGD up one of `WAYS` for each sample, drawn by `weights`, which need not sum to 1."""

    weights: dict[str, float] = field(default_factory=lambda: dict.fromkeys(WAYS, 1.0))
    steps: int = 7
    step: float | None = None  # share of the radius; None: min(1, 2.5 / steps)
    keep: Keep = Keep.best

    def __post_init__(self) -> None:
        if strange := sorted(self.weights.keys() - WAYS.keys()):
            raise ConfigError(f"attack.weights names {', '.join(strange)}; there are: {', '.join(WAYS)}")
        if not self.weights or min(self.weights.values()) < 0 or not sum(self.weights.values()) > 0:
            raise ConfigError("attack.weights must be >= 0 and not all 0", "say attack.weights={ce:1,margin:1}")
        Pgd(steps=self.steps, step=self.step)  # refuses what is no step

    @property
    def label(self) -> str:
        """The steps, and the share of each way in per cent."""
        whole = sum(self.weights.values())
        shares = ", ".join(f"{name} {100 * one / whole:.0f} %" for name, one in self.weights.items() if one)
        return f"PGD-{self.steps} ({shares})"

    @property
    def share(self) -> float:
        """The step's length as a share of the radius."""
        return self._way("ce").share

    def propose(self, model: Model, x: Tensor, y: Tensor, threat: ThreatModel, *, rng: Stream) -> Tensor:
        """Each sample by the way that was drawn for it."""
        out, drawn = x.clone(), self._drawn(y, rng)
        for place, name in enumerate(self.weights):
            here = (drawn == place).nonzero().squeeze(1)
            if len(here):
                out[here] = self._way(name)(model, x[here], y[here], threat, rng=rng.take(here))
        return out

    def _drawn(self, y: Tensor, rng: Stream) -> Tensor:
        """The place among the weights of each sample's way, (n,)."""
        edges = torch.tensor(list(self.weights.values()), dtype=torch.float64).cumsum(0)
        draw = rng.child("way").uniform(y).double().cpu() * edges[-1]
        return torch.bucketize(draw, edges, right=True).clamp_max(len(edges) - 1).to(y.device)

    def _way(self, name: str) -> Pgd:
        loss, target = WAYS[name]
        return Pgd(steps=self.steps, step=self.step, loss=loss, target=target, keep=self.keep)


def weights_of(shares: Mapping[str, float]) -> dict[str, float]:
    """Shares of all `WAYS` that sum to 1, in their order."""
    whole = sum(shares.values())
    return {name: round(shares.get(name, 0.0) / whole, 6) for name in WAYS}
