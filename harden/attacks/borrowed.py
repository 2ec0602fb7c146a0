"""Transfer: images made on one model and tried on another (Papernot et al. 2016, arXiv 1605.07277)."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from harden.attacks.base import Attack, Model
from harden.errors import ConfigError
from harden.seeds import Stream
from harden.threat import ThreatModel


@dataclass(frozen=True)
class Borrowed(Attack):
    """The attack `base` on the model called `source`; whoever runs it hands that model over, and judges on his own."""

    base: Any = None
    source: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.base, Attack) or not self.source:
            raise ConfigError("a borrowed attack needs base and source", "Borrowed(base=MiFgsm(), source='name')")

    @property
    def label(self) -> str:
        """The base's label and the model that its images are made on."""
        return f"{self.base.label} from {self.source}"

    @property
    def made_on(self) -> str:
        """The source."""
        return self.source

    def check(self, threat: ThreatModel) -> None:
        """As the base has it."""
        self.base.check(threat)

    def propose(self, model: Model, x: Tensor, y: Tensor, threat: ThreatModel, *, rng: Stream) -> Tensor:
        """What the base proposes."""
        proposed: Tensor = self.base.propose(model, x, y, threat, rng=rng)
        return proposed
