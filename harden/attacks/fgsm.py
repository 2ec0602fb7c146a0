"""The fast gradient sign method (Goodfellow et al. 2015, arXiv 1412.6572)."""

from dataclasses import dataclass

from torch import Tensor

from harden.attacks.ascent import last_iterate
from harden.attacks.base import Attack, Model
from harden.attacks.losses import cross_entropy
from harden.errors import ConfigError
from harden.seeds import Stream
from harden.threat import ThreatModel


@dataclass(frozen=True)
class Fgsm(Attack):
    """One step of length `step` times eps up the cross-entropy; in l2 and l1 along their steepest direction.

    With `start` and `step=1.25` it is FGSM-RS (Wong et al. 2020, arXiv 2001.03994): cheap to train with,
    and prone to catastrophic overfitting.
    """

    step: float = 1.0  # share of the radius
    start: bool = False  # begin at a random point of the ball

    def __post_init__(self) -> None:
        if not 0 < self.step <= 2:
            raise ConfigError(f"attack.step must lie in (0, 2], a share of eps, got {self.step:g}")

    @property
    def label(self) -> str:
        """FGSM, or FGSM-RS with its random start."""
        return "FGSM-RS" if self.start else "FGSM"

    def propose(self, model: Model, x: Tensor, y: Tensor, threat: ThreatModel, *, rng: Stream) -> Tensor:
        """One step from the image, or from a random point of the ball."""
        start = threat.random_start(x, rng.child("start", 0)) if self.start else x
        size = self.step * threat.radius
        return last_iterate(model, x, start, lambda z: cross_entropy(z, y), threat, steps=1, size=size)
