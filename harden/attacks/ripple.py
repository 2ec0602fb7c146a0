"""Logits after a change of few pixels, from what the layers held before it: for networks that are a chain of layers.

A small patch reaches a window of the first layers, and a window of differences is mostly zeros behind a ReLU; what
the window costs is a fraction of a pass. Square's patches are small in nineteen queries of twenty. The answers differ
from the model's in the last bits, so that whoever lets a sample go because of one asks the model.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from harden import kernels
from harden.attacks.base import Model
from harden.attacks.counting import Counted
from harden.kernels import Kind, Layer, Pair, Size

WORTH = 1 / 4
"""A window that costs less than this share of a pass's multiplications is followed; see docs/benchmarks.md."""

COMPILING = 300_000_000_000
"""So many multiplications of whole passes must be ahead, three seconds of a core: about what numba takes to compile."""

DRIFT = 1e-3
"""By what share of the largest logit the answers may be off when they are held beside the model's."""


@dataclass(frozen=True)
class Step:
    """One layer of a chain: what computes it whole, and what it does to a change; None where it passes it on."""

    whole: Callable[[Tensor], Tensor]
    layer: Layer | None


class Ripple:
    """The logits at points that change by a patch at a time."""

    def __init__(self, model: Model, steps: list[Step], point: Tensor) -> None:
        self.model, self.steps = model, steps
        self.layers = [step.layer for step in steps if step.layer is not None]
        self.chain = kernels.follower(self.layers, len(point))
        with torch.no_grad():
            self.chain.logits = model(point).float()

    def refresh(self, point: Tensor) -> bool:
        """Computes every layer at `point`, (n, c, h, w), as a pass does; whether the logits were still those.

        The first time they are the model's own, so that a model which is not what it looks like is found out.
        """
        number, value, before = 0, point, self.chain.logits
        with torch.no_grad():
            for step in self.steps:
                if step.layer is not None:
                    self.chain.hold(number, value)
                    number += 1
                value = step.whole(value)
        self._count(len(point))
        self.chain.logits = value.float()
        if before.shape != value.shape:
            return False
        return bool(((value - before).abs() <= DRIFT * value.abs().amax(dim=1, keepdim=True).clamp_min(1)).all())

    @property
    def logits(self) -> Tensor:
        """Those of the points, (n, classes)."""
        return self.chain.logits

    def follow(self, point: Tensor, old: Tensor, corner: Tensor, changed: Tensor) -> Tensor:
        """The logits at `point`, (n, classes), of which `kernels.paste` has `changed` some rows. Each is a query."""
        self._count(int(changed.sum()))
        return self.chain.follow(point, old, corner, changed)

    def settle(self, kept: Tensor) -> None:
        """The changes that are `kept`, (n,) bool, are the points from now on; the others were taken back."""
        self.chain.settle(kept)

    def take(self, rows: Tensor) -> None:
        """Goes on with the samples at the positions `rows` alone."""
        self.chain.take(rows)

    def _count(self, passes: int) -> None:
        if isinstance(self.model, Counted):
            self.model.forwards += passes


def ripple(model: Model, point: Tensor, side: int, queries: float = math.inf) -> Ripple | None:
    """What follows patches of `side` pixels on `point`, (n, c, h, w), through `model`; None if it cannot or costs more.

    queries: how many are to come, for each image. So few that compiling would take longer are not followed.

    It can where the model is an `nn.Sequential`, nested or not, of `LAYERS`, alone or behind a normalisation that says
    it is no more than that; in float32, on a CPU, without hooks, and where the numba engine computes.
    """
    if point.dtype != torch.float32 or kernels.engine_for(point) != "numba":
        return None
    steps = _chain_of(model.model if isinstance(model, Counted) else model, point.shape[1:])
    layers = [] if steps is None else [step.layer for step in steps if step.layer is not None]
    if steps is None:
        return None
    whole = cost(layers, max(point.shape[2:]))
    if cost(layers, side) >= WORTH * whole or queries * len(point) * whole < COMPILING:
        return None
    found = Ripple(model, steps, point)
    return found if found.refresh(point) else None


def cost(layers: list[Layer], side: int) -> int:
    """How many multiplications a patch of `side` pixels comes to, zeros included."""
    high = wide = side
    total = 0
    for layer in layers:
        high, wide = min(high, layer.taken[1]), min(wide, layer.taken[2])
        if layer.kind is Kind.dense:
            total += high * wide * layer.taken[0] * layer.given[0]
            high = wide = 1
        elif layer.kind in (Kind.convolution, Kind.mean, Kind.maximum):
            across = layer.kernel[0] * layer.kernel[1] / (layer.stride[0] * layer.stride[1])
            deep = layer.given[0] if layer.kind is Kind.convolution else 1
            total += int(high * wide * layer.taken[0] * deep * across)
            high, wide = (
                min((size + layer.kernel[axis] - 2) // layer.stride[axis] + 1, layer.given[1 + axis])
                for axis, size in enumerate((high, wide))
            )
    return total


def _chain_of(model: Model, shape: torch.Size) -> list[Step] | None:
    if not isinstance(model, nn.Module) or len(shape) != 3 or any(_is_watched(one) for one in model.modules()):
        return None
    builder = _Builder((shape[0], shape[1], shape[2]))
    fits = all(builder.add(part) for part in _parts(model)) and builder.flat and builder.size[1:] == (1, 1)
    return builder.steps if fits else None


def _is_watched(module: nn.Module) -> bool:
    """Whether anybody looks at what goes through it, or trains it, or it is not in float32 on a CPU."""
    tensors = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    return (
        module.training
        or bool(module._forward_hooks or module._forward_pre_hooks)
        or any(one.device.type != "cpu" or (one.is_floating_point() and one.dtype != torch.float32) for one in tensors)
    )


Part = nn.Module | tuple[Callable[[Tensor], Tensor], Tensor]
"""A layer; or a map that scales each channel, and by how much."""


def _parts(model: nn.Module) -> Iterator[Part]:
    if vars(type(model)).get("only_normalises"):
        yield cast(Callable[[Tensor], Tensor], model.normalised), 1 / model.get_buffer("std").flatten()
        yield from _parts(model.get_submodule("net"))
    elif type(model) is nn.Sequential:
        for child in model:
            yield from _parts(child)
    else:
        yield model


class _Builder:
    """The steps so far, and the shape of what the last of them gives."""

    def __init__(self, size: Size) -> None:
        self.size, self.flat, self.steps = size, False, list[Step]()

    def add(self, part: Part) -> bool:
        """Whether `part` could be added."""
        if isinstance(part, tuple):
            return self._take(part[0], self._scale(part[1]))
        if type(part) in (nn.Identity, nn.Dropout, nn.Dropout2d):
            return self._take(part, None)
        if type(part) is nn.Flatten and (part.start_dim, part.end_dim) in ((1, -1), (1, 3)):
            self.flat = True
            return self._take(part, None)
        make = LAYERS.get(type(part))
        layer = None if make is None else make(self, part)
        return layer is not None and self._take(part, layer)

    def _take(self, whole: Callable[[Tensor], Tensor], layer: Layer | None) -> bool:
        self.steps.append(Step(whole, layer))
        self.size = self.size if layer is None else layer.given
        return True

    def _scale(self, weight: Tensor) -> Layer:
        return Layer(Kind.scale, self.size, self.size, weight=weight.expand(self.size[0]))

    def rectifier(self, part: nn.Module) -> Layer:
        slope = torch.tensor([float(getattr(part, "negative_slope", 0.0))])
        return Layer(Kind.rectifier, self.size, self.size, weight=slope)

    def batch_norm(self, part: nn.BatchNorm2d) -> Layer | None:
        if self.flat or part.running_var is None:
            return None
        scale = (part.running_var + part.eps).rsqrt()
        return self._scale(scale if part.weight is None else scale * part.weight)

    def dense(self, part: nn.Linear) -> Layer | None:
        if not self.flat or part.in_features != math.prod(self.size):
            return None
        return Layer(Kind.dense, self.size, (part.out_features, 1, 1), weight=part.weight)

    def convolution(self, part: nn.Conv2d) -> Layer | None:
        plain = part.groups == 1 and _pair(part.dilation) == (1, 1) and part.padding_mode == "zeros"
        if self.flat or not plain or isinstance(part.padding, str) or part.in_channels != self.size[0]:
            return None
        kernel, stride, pad = _pair(part.kernel_size), _pair(part.stride), _pair(part.padding)
        return self._sliding(Kind.convolution, part.out_channels, kernel, stride, pad, part.weight)

    def mean(self, part: nn.AvgPool2d) -> Layer | None:
        padded = _pair(part.padding) != (0, 0) and not part.count_include_pad
        if self.flat or part.ceil_mode or padded or part.divisor_override is not None:
            return None
        kernel, stride, pad = _pair(part.kernel_size), _pair(part.stride), _pair(part.padding)
        return self._sliding(Kind.mean, self.size[0], kernel, stride, pad)

    def maximum(self, part: nn.MaxPool2d) -> Layer | None:
        if self.flat or part.ceil_mode or part.return_indices or _pair(part.dilation) != (1, 1):
            return None
        kernel, stride, pad = _pair(part.kernel_size), _pair(part.stride), _pair(part.padding)
        return self._sliding(Kind.maximum, self.size[0], kernel, stride, pad)

    def _sliding(
        self, kind: Kind, deep: int, kernel: Pair, stride: Pair, pad: Pair, weight: Tensor | None = None
    ) -> Layer | None:
        high, wide = (
            (size + 2 * pad[axis] - kernel[axis]) // stride[axis] + 1 for axis, size in enumerate(self.size[1:])
        )
        if high < 1 or wide < 1:
            return None
        return Layer(kind, self.size, (deep, high, wide), kernel, stride, pad, weight)


LAYERS: dict[type[nn.Module], Callable[[_Builder, Any], Layer | None]] = {
    nn.ReLU: _Builder.rectifier,
    nn.LeakyReLU: _Builder.rectifier,
    nn.BatchNorm2d: _Builder.batch_norm,
    nn.Linear: _Builder.dense,
    nn.Conv2d: _Builder.convolution,
    nn.AvgPool2d: _Builder.mean,
    nn.MaxPool2d: _Builder.maximum,
}


def _pair(value: int | tuple[int, ...]) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
