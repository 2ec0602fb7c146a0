"""Two convolutions and two linear layers: quick to train, quick to attack, and of known behaviour."""

from dataclasses import dataclass, field
from math import ceil

from torch import nn

from harden.errors import ConfigError
from harden.models.limits import Shape, check_side, check_sizes


@dataclass(frozen=True)
class CnnSmall:
    """Two 3x3 convolutions, of which the second halves the side: for 8x8 digits, and for any other size.

    `channels`: width of each convolution; `hidden`: width of the linear layer before the logits.
    """

    channels: list[int] = field(default_factory=lambda: [16, 32])
    hidden: int = 64

    def __post_init__(self) -> None:
        _check(self)

    def network(self, shape: Shape, classes: int) -> nn.Module:
        """Normalised images (n, *shape) to logits (n, classes); torch's own initialisation."""
        first, second = self.channels
        return nn.Sequential(
            nn.Conv2d(shape[0], first, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(first, second, kernel_size=3, stride=2, padding=1),
            nn.ReLU(),
            *_linear(second * ceil(shape[1] / 2) * ceil(shape[2] / 2), self.hidden, classes),
        )


@dataclass(frozen=True)
class Cnn:
    """Two 4x4 convolutions that halve the side, then two linear layers: the form of Wong and Kolter 2018.

    "Provable defenses against adversarial examples via the convex outer adversarial polytope", arXiv
    1711.00851. Differs: they have 16 and 32 channels and 100 hidden units; the default here is twice as wide.
    """

    channels: list[int] = field(default_factory=lambda: [32, 64])
    hidden: int = 128

    def __post_init__(self) -> None:
        _check(self)

    def network(self, shape: Shape, classes: int) -> nn.Module:
        """Normalised images (n, *shape) to logits (n, classes); torch's own initialisation."""
        check_side("cnn", shape, least=4)
        first, second = self.channels
        return nn.Sequential(
            nn.Conv2d(shape[0], first, kernel_size=4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(first, second, kernel_size=4, stride=2, padding=1),
            nn.ReLU(),
            *_linear(second * (shape[1] // 4) * (shape[2] // 4), self.hidden, classes),
        )


def _check(choice: CnnSmall | Cnn) -> None:
    object.__setattr__(choice, "channels", list(choice.channels))
    if len(choice.channels) != 2:
        raise ConfigError(f"model.channels must be two widths, got {choice.channels}")
    check_sizes("channels", *choice.channels)
    check_sizes("hidden", choice.hidden)


def _linear(features: int, hidden: int, classes: int) -> list[nn.Module]:
    return [nn.Flatten(), nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, classes)]
