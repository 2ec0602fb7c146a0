"""A network as a chain of affine maps and ReLUs, which is what bounds can be carried through."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harden.errors import ConfigError


class Layer:
    """One link of the chain."""


class Relu(Layer):
    """max(z, 0), element by element."""


@dataclass(frozen=True, eq=False)
class Affine(Layer, ABC):
    """z -> linear(z) + bias. `fan`: how many products an output is the sum of at most, for inputs (n, *shape)."""

    fan: int | Callable[[torch.Size], int]
    bias: Tensor | None

    def products(self, shape: torch.Size) -> int:
        """How many products an output is the sum of at most, for inputs of `shape`, (n, ...)."""
        return self.fan if isinstance(self.fan, int) else self.fan(shape)

    @abstractmethod
    def linear(self, z: Tensor) -> Tensor:
        """The linear part; z: (n, ...)."""

    @abstractmethod
    def spread(self, radius: Tensor) -> Tensor:
        """How far outputs can move when inputs move by up to `radius`: the same with absolute weights."""

    def __call__(self, z: Tensor) -> Tensor:
        """The whole map."""
        out = self.linear(z)
        return out if self.bias is None else out + self.bias

    def back(self, rows: Tensor, shape: torch.Size) -> Tensor:
        """`rows`, linear functionals (m, *outputs), as functionals of the inputs, (m, *shape); differentiable."""
        with torch.enable_grad():
            zero = rows.new_zeros(len(rows), *shape).requires_grad_(True)
            (out,) = torch.autograd.grad(
                self.linear(zero), zero, rows, create_graph=rows.requires_grad or _learns(self)
            )
        return out


@dataclass(frozen=True, eq=False)
class Dense(Affine):
    """A fully connected layer."""

    weight: Tensor

    def linear(self, z: Tensor) -> Tensor:
        return F.linear(z, self.weight)

    def spread(self, radius: Tensor) -> Tensor:
        return F.linear(radius, self.weight.abs())


@dataclass(frozen=True, eq=False)
class Conv(Affine):
    """A convolution."""

    weight: Tensor
    run: Callable[[Tensor, Tensor], Tensor]

    def linear(self, z: Tensor) -> Tensor:
        return self.run(z, self.weight)

    def spread(self, radius: Tensor) -> Tensor:
        return self.run(radius, self.weight.abs())


@dataclass(frozen=True, eq=False)
class Scale(Affine):
    """Each channel by a factor: normalisation, and batch norm with fixed statistics."""

    factor: Tensor

    def linear(self, z: Tensor) -> Tensor:
        return z * self.factor

    def spread(self, radius: Tensor) -> Tensor:
        return radius * self.factor.abs()


@dataclass(frozen=True, eq=False)
class Plain(Affine):
    """A map with weights >= 0 of its own: flattening, average pooling."""

    run: Callable[[Tensor], Tensor]

    def linear(self, z: Tensor) -> Tensor:
        return self.run(z)

    def spread(self, radius: Tensor) -> Tensor:
        return self.run(radius)


def chain(model: nn.Module) -> list[Layer]:
    """The model's layers from pixels to logits, sharing its weights.

    Raises ConfigError, naming the layer, for what bounds cannot be carried through here.
    """
    return list(_links(model))


def _links(module: nn.Module) -> Iterator[Layer]:
    mean, std = getattr(module, "mean", None), getattr(module, "std", None)
    if isinstance(mean, Tensor) and isinstance(std, Tensor) and isinstance(getattr(module, "net", None), nn.Module):
        yield Scale(fan=1, bias=-mean / std, factor=1 / std)
        yield from _links(module.net)  # type: ignore[arg-type]
    elif isinstance(module, nn.Sequential):
        for one in module:
            yield from _links(one)
    elif isinstance(module, nn.ReLU):
        yield Relu()
    elif isinstance(module, nn.Linear):
        yield Dense(fan=module.in_features, bias=module.bias, weight=module.weight)
    elif isinstance(module, nn.Conv2d):
        yield _conv(module)
    elif isinstance(module, nn.BatchNorm2d):
        yield _norm(module)
    elif isinstance(module, nn.Flatten):
        yield Plain(fan=1, bias=None, run=module)
    elif isinstance(module, nn.AvgPool2d):
        yield Plain(fan=_window(module.kernel_size), bias=None, run=module)
    elif isinstance(module, nn.AdaptiveAvgPool2d):
        yield Plain(fan=_pixels, bias=None, run=module)
    elif not isinstance(module, nn.Identity | nn.Dropout):
        raise ConfigError(
            f"bounds cannot be carried through {type(module).__name__} layers",
            "certify=none, or certify=smooth, which takes any network",
        )


def _window(side: int | tuple[int, int]) -> int:
    return side * side if isinstance(side, int) else side[0] * side[1]


def _pixels(shape: torch.Size) -> int:
    """No window of a pooling layer holds more pixels than the image, (n, channels, height, width)."""
    return shape[2] * shape[3]


def _conv(module: nn.Conv2d) -> Conv:
    if module.padding_mode != "zeros":
        raise ConfigError(f"bounds cannot be carried through convolutions padded by {module.padding_mode}")

    def run(z: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(z, weight, None, module.stride, module.padding, module.dilation, module.groups)

    bias = None if module.bias is None else module.bias.view(-1, 1, 1)
    return Conv(fan=module.weight[0].numel(), bias=bias, weight=module.weight, run=run)


def _norm(module: nn.BatchNorm2d) -> Scale:
    if module.running_mean is None or module.running_var is None or module.training:
        raise ConfigError("bounds cannot be carried through batch norms in training mode", "use a model without them")
    factor = torch.rsqrt(module.running_var + module.eps)
    bias = -module.running_mean * factor
    if module.affine:
        factor, bias = factor * module.weight, bias * module.weight + module.bias
    return Scale(fan=1, bias=bias.view(-1, 1, 1), factor=factor.view(-1, 1, 1))


def _learns(layer: Affine) -> bool:
    weight = getattr(layer, "weight", None)
    return isinstance(weight, Tensor) and weight.requires_grad
