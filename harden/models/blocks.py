"""What the residual networks are made of: activations by name, the pre-activation block, He's initialisation.

Pre-activation: He et al. 2016, "Identity mappings in deep residual networks", arXiv 1603.05027.
Initialisation: He et al. 2015, arXiv 1502.01852. Smooth activations strengthen adversarial training:
Xie et al. 2020, arXiv 2006.14536.
"""

from enum import StrEnum

import torch
from torch import Tensor, nn

from harden.errors import ConfigError

SOFTPLUS_SHARPNESS = 10.0  # the parametric softplus of Xie et al. 2020; at 1 it is far from ReLU around zero


class Activation(StrEnum):
    """Which non-linearity a residual network uses."""

    RELU = "relu"
    SILU = "silu"
    SOFTPLUS = "softplus"
    GELU = "gelu"

    def layer(self) -> nn.Module:
        """A fresh module of this activation; none works in place, as an attack may keep what went in."""
        match self:
            case Activation.RELU:
                return nn.ReLU()
            case Activation.SILU:
                return nn.SiLU()
            case Activation.SOFTPLUS:
                return nn.Softplus(beta=SOFTPLUS_SHARPNESS)
            case Activation.GELU:
                return nn.GELU()


def activation_of(value: str) -> Activation:
    """The activation that is spelled `value`; raises ConfigError for another word."""
    try:
        return Activation(value)
    except ValueError as error:
        raise ConfigError(f"model.activation must be one of {[*map(str, Activation)]}, got {value!r}") from error


def conv3x3(inward: int, outward: int, *, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution that keeps the side, or divides it by `stride`; BatchNorm follows, hence no bias."""
    return nn.Conv2d(inward, outward, kernel_size=3, stride=stride, padding=1, bias=False)


class PreActBlock(nn.Module):
    """norm, act, conv, norm, act, conv, plus the input; where the shape changes, plus a 1x1 convolution.

    That convolution reads the activated input, as in figure 4(e) of the paper and in Wide ResNet's code.
    """

    def __init__(self, inward: int, outward: int, *, stride: int, activation: Activation) -> None:
        super().__init__()
        self.norm1, self.act1 = nn.BatchNorm2d(inward), activation.layer()
        self.conv1 = conv3x3(inward, outward, stride=stride)
        self.norm2, self.act2 = nn.BatchNorm2d(outward), activation.layer()
        self.conv2 = conv3x3(outward, outward)
        self.shortcut: nn.Conv2d | None = None
        if stride != 1 or inward != outward:
            self.shortcut = nn.Conv2d(inward, outward, kernel_size=1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = self.act1(self.norm1(x))
        carried = x if self.shortcut is None else self.shortcut(active)
        residual: Tensor = self.conv2(self.act2(self.norm2(self.conv1(active))))
        return carried + residual


def stage(inward: int, outward: int, blocks: int, *, stride: int, activation: Activation) -> nn.Sequential:
    """`blocks` blocks in a row, of which the first changes width and side."""
    first = PreActBlock(inward, outward, stride=stride, activation=activation)
    rest = [PreActBlock(outward, outward, stride=1, activation=activation) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)


def head(width: int, classes: int, *, activation: Activation) -> nn.Sequential:
    """The last norm and activation, the mean over each map, and the linear layer."""
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(nn.BatchNorm2d(width), activation.layer(), *pool, nn.Linear(width, classes))


def initialise(net: nn.Module) -> nn.Module:
    """`net`, its convolutions redrawn globally with variance 2 / fan-out, its biases zero."""
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(layer, nn.Linear):
                nn.init.zeros_(layer.bias)
    return net
