"""Pre-activation ResNet-18 with the CIFAR stem (He et al. 2016, arXiv 1603.05027).

The small network of the adversarial training literature: Rice et al. 2020, arXiv 2002.11569.
"""

from dataclasses import dataclass

from torch import nn

from harden.models.blocks import Activation, activation_of, conv3x3, head, initialise, stage
from harden.models.limits import Shape, check_side, check_sizes


@dataclass(frozen=True)
class PreActResNet18:
    """Four stages of two blocks, `width` to 8 x `width` channels, side halved three times.

    11.17 million parameters at width 64. The stem is 3x3 with stride 1, as fits 32x32 images.
    """

    width: int = 64
    activation: Activation = Activation.RELU

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", activation_of(self.activation))
        check_sizes("width", self.width)

    def network(self, shape: Shape, classes: int) -> nn.Module:
        """Normalised images (n, *shape) to logits (n, classes); a side has at least 8 pixels."""
        check_side("preact_resnet18", shape, least=8)
        w = self.width
        net = nn.Sequential(
            conv3x3(shape[0], w),
            stage(w, w, 2, stride=1, activation=self.activation),
            stage(w, 2 * w, 2, stride=2, activation=self.activation),
            stage(2 * w, 4 * w, 2, stride=2, activation=self.activation),
            stage(4 * w, 8 * w, 2, stride=2, activation=self.activation),
            head(8 * w, classes, activation=self.activation),
        )
        return initialise(net)
