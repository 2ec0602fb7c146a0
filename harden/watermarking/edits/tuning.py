"""Attacks that need data, as recipes: which layers learn, from what, how fast and how long.

FTLL, FTAL, RTLL, RTAL: Uchida et al. 2017 (arXiv 1701.04082) and Adi et al. 2018; epochs and rates as in the
Watermark-Robustness-Toolbox (Lukas et al. 2022, arXiv 2108.04974). Who holds the data carries them out.
"""

from dataclasses import dataclass
from enum import Enum

from harden.errors import ConfigError


class Layers(Enum):
    """Which layers learn."""

    last = "last"
    all = "all"


class Head(Enum):
    """Whether the last layer is kept or drawn anew."""

    kept = "kept"
    fresh = "fresh"


class Optimiser(Enum):
    """Who moves the weights."""

    adam = "adam"
    sgd = "sgd"


@dataclass(frozen=True)
class Tuning:
    """Further training of stolen weights.

    `rate` is absolute, `rate_share` a share of the rate that the network was trained with; one of them is given.
    `eps_share`: trained against an attack of that share of the network's own radius, or of the radius `eps`; 0 and
    None: on clean images.
    `dropped`: the share of the last convolution's channels, the least active ones, that is cut off before.
    `temperature`: learn from the stolen network's softened answers, beginning anew, instead of from labels.
    `other`: begin anew with another architecture.
    """

    epochs: float
    optimiser: Optimiser = Optimiser.adam
    rate: float | None = None
    rate_share: float | None = None
    layers: Layers = Layers.all
    head: Head = Head.kept
    eps_share: float = 0.0
    eps: float | None = None
    decay: float = 0.0
    smoothing: float = 0.0
    dropped: float = 0.0
    temperature: float = 0.0
    other: bool = False

    def __post_init__(self) -> None:
        if (self.rate is None) == (self.rate_share is None):
            raise ConfigError("a tuning recipe has either a rate or a share of the training rate")
        if not self.epochs > 0 or not 0 <= self.dropped < 1:
            raise ConfigError(
                f"a tuning recipe needs epochs > 0 and 0 <= dropped < 1, got {self.epochs}, {self.dropped}"
            )


USUAL = 1e-3
"""Adam's rate in fine-tuning attacks."""

FTLL = Tuning(5, rate=USUAL, layers=Layers.last)
FTAL = Tuning(5, rate=USUAL)
RTLL = Tuning(10, rate=USUAL, layers=Layers.last, head=Head.fresh)
RTAL = Tuning(5, rate=USUAL, head=Head.fresh)
ADVERSARIAL = Tuning(5, rate_share=0.1, eps_share=1.0)
FINE_PRUNING = Tuning(10, rate=USUAL, dropped=0.96)
