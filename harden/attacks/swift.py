"""Layers that attacks run through faster on a CPU than as torch's modules do, while the weights are frozen.

The input gradient of a convolution from one or few channels: autograd's library computes a padded block of them,
a matrix product that is folded back computes what is asked for, in a third of the time or less. Large dense
layers: torch calls MKL, which leaves half of some processors' vector units unused; oneDNN, which comes with torch
too, does not. What such layers answer can differ from the module's in the last bits. The judge uses the module.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harden.attacks.base import Model

WIDER = 16
"""Convolutions with so many outputs an input channel are folded; docs/benchmarks.md has the crossing."""

LARGE = 1 << 20
"""So many multiplications are worth oneDNN's longer start."""


@contextmanager
def swift(model: Model) -> Iterator[None]:
    """Inside, the layers of `model` that there is a faster way for take it; afterwards all is as before.

    For use while weights want no gradients. These are `nn.Conv2d` without groups or dilation and `nn.Linear`, in
    float32 on a CPU; a layer that anybody has hooks on keeps them.
    """
    modules = [one for one in model.modules() if _is_plain(one)] if isinstance(model, nn.Module) else []
    try:
        for module in modules:
            module.forward = _faster(module)
        yield
    finally:
        for module in modules:
            del module.forward  # the class's own shows again


def _is_plain(module: nn.Module) -> bool:
    if "forward" in vars(module) or type(module) not in (nn.Conv2d, nn.Linear):
        return False
    weight = module.get_parameter("weight")
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        return False
    return _is_foldable(module) if isinstance(module, nn.Conv2d) else torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


def _is_foldable(module: nn.Conv2d) -> bool:
    return (
        module.groups == 1
        and module.dilation == (1, 1)
        and module.padding_mode == "zeros"
        and isinstance(module.padding, tuple)
        and module.out_channels >= WIDER * module.in_channels
    )


def _faster(module: nn.Module) -> Callable[[Tensor], Tensor]:
    return _convolution(module) if isinstance(module, nn.Conv2d) else _dense(module)


def _convolution(module: nn.Conv2d) -> Callable[[Tensor], Tensor]:
    plain = module.forward

    def forward(x: Tensor) -> Tensor:
        weight = module.weight
        if not (torch.is_grad_enabled() and x.requires_grad) or weight.requires_grad or x.dtype != torch.float32:
            return plain(x)
        convolved: Tensor = _Convolved.apply(x, weight, module.bias, module.stride, module.padding)  # type: ignore[no-untyped-call]
        return convolved

    return forward


class _Convolved(torch.autograd.Function):
    """A convolution that differentiates with respect to its input alone, by a product that is folded back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape, ctx.stride, ctx.padding = x.shape, stride, padding
        return F.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        (weight,) = ctx.saved_tensors
        columns = weight.flatten(1).T @ gradient.flatten(2)
        folded = F.fold(columns, ctx.shape[2:], weight.shape[2:], padding=ctx.padding, stride=ctx.stride)
        return folded, None, None, None, None


def _dense(module: nn.Module) -> Callable[[Tensor], Tensor]:
    plain, bias = module.forward, dict(module.named_parameters(recurse=False)).get("bias")

    def forward(x: Tensor) -> Tensor:
        weight = module.get_parameter("weight")
        large = x.dim() == 2 and len(x) * weight.numel() >= LARGE
        if not large or weight.requires_grad or x.dtype != torch.float32:
            out: Tensor = plain(x)
            return out
        if not (torch.is_grad_enabled() and x.requires_grad):
            return _product(x, weight, bias)
        product: Tensor = _Multiplied.apply(x, weight, bias)  # type: ignore[no-untyped-call]
        return product

    return forward


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x @ weight.T + bias by oneDNN; torch's compiler uses the same operator."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


class _Multiplied(torch.autograd.Function):
    """A dense layer that differentiates with respect to its input alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return _product(gradient, weight.t(), None), None, None
