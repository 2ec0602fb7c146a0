"""Wide residual networks (Zagoruyko and Komodakis 2016, arXiv 1605.07146), without dropout."""

from dataclasses import dataclass

from torch import nn

from harden.errors import ConfigError
from harden.models.blocks import Activation, activation_of, conv3x3, head, initialise, stage
from harden.models.limits import Shape, check_side, check_sizes

STEM = 16  # channels of the first convolution, whatever the widening


@dataclass(frozen=True)
class WideResNet:
    """WRN-`depth`-`widen`: three stages of (depth - 4) / 6 blocks, 16, 32 and 64 x `widen` channels.

    36.5 million parameters at 28-10. `depth` counts convolutions, hence 10, 16, 22, 28, 34, ...
    """

    depth: int = 28
    widen: int = 10
    activation: Activation = Activation.RELU

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", activation_of(self.activation))
        check_sizes("widen", self.widen)
        if self.depth < 10 or (self.depth - 4) % 6:
            raise ConfigError(f"model.depth must be 6 n + 4 with n >= 1, such as 16, 28 or 34, got {self.depth}")

    def network(self, shape: Shape, classes: int) -> nn.Module:
        """Normalised images (n, *shape) to logits (n, classes); a side has at least 4 pixels."""
        check_side("wrn_28_10", shape, least=4)
        blocks, w = (self.depth - 4) // 6, STEM * self.widen
        net = nn.Sequential(
            conv3x3(shape[0], STEM),
            stage(STEM, w, blocks, stride=1, activation=self.activation),
            stage(w, 2 * w, blocks, stride=2, activation=self.activation),
            stage(2 * w, 4 * w, blocks, stride=2, activation=self.activation),
            head(4 * w, classes, activation=self.activation),
        )
        return initialise(net)
