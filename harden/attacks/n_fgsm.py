"""N-FGSM: one step from strong noise, for training at the price of FGSM (de Jorge et al. 2022, arXiv 2202.01181)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from harden.attacks.base import Attack, Model, input_gradient
from harden.attacks.losses import cross_entropy
from harden.errors import ConfigError
from harden.seeds import Stream
from harden.threat import Norm, ThreatModel


@dataclass(frozen=True)
class NFgsm(Attack):
    """Uniform noise of `noise` eps, then a signed step of `step` eps, cut by the box but not by the ball.

    Leaving the ball is what keeps it from catastrophic overfitting (section 4): it may train, never measure.
    """

    leaves_ball: ClassVar[bool] = True

    noise: float = 2.0
    step: float = 1.0

    def __post_init__(self) -> None:
        if self.noise < 0 or not self.step > 0:
            raise ConfigError(
                f"attack.noise must be >= 0 and attack.step > 0, shares of eps, got {self.noise:g} and {self.step:g}"
            )

    @property
    def label(self) -> str:
        """N-FGSM."""
        return "N-FGSM"

    def propose(self, model: Model, x: Tensor, y: Tensor, threat: ThreatModel, *, rng: Stream) -> Tensor:
        """One candidate a sample, up to (noise + step) eps away; 2 passes. ConfigError for another norm than linf."""
        if threat.norm is not Norm.linf:
            raise ConfigError(f"N-FGSM works in linf, the threat is in {threat.norm.value}", "say +attack=pgd")
        noisy = x + threat.radius * self.noise * rng.child("noise").uniform(x, -1.0, 1.0)
        gradient, _ = input_gradient(model, noisy, lambda z: cross_entropy(z, y))
        return (noisy + self.step * threat.radius * gradient.sign()).clamp(threat.low, threat.high)
