"""Input gradients of convolutions, faster on a CPU than autograd's own.

With the weights frozen, autograd's backward pass of a convolution takes several times its forward pass: for one or
few input channels because the library computes a padded block of them, for more because of the layout. The same
sum as a matrix product that is folded back, or as a transposed convolution over channels that lie together, takes
a third (docs/benchmarks.md). The forward pass is left as it is, bit by bit, so the judge sees no difference.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harden.attacks.base import Model

FEW = 4
"""Up to so many input channels the matrix product is the faster one."""


@contextmanager
def swift(model: Model) -> Iterator[None]:
    """Inside, the plain convolutions of `model` on a CPU have the faster backward pass; afterwards all is as before.

    For use while weights want no gradients. What is no `nn.Conv2d` in float32 without groups or dilation, or runs
    on a GPU, is left alone.
    """
    modules = [one for one in model.modules() if _is_plain(one)] if isinstance(model, nn.Module) else []
    try:
        for module in modules:
            module.forward = _forward_of(module)
        yield
    finally:
        for module in modules:
            del module.forward  # the class's own shows again


def _is_plain(module: nn.Module) -> bool:
    return (
        type(module) is nn.Conv2d
        and module.groups == 1
        and module.dilation == (1, 1)
        and module.padding_mode == "zeros"
        and isinstance(module.padding, tuple)
        and module.weight.device.type == "cpu"
        and module.weight.dtype == torch.float32
        and "forward" not in vars(module)
    )


def _forward_of(module: nn.Module) -> Callable[[Tensor], Tensor]:
    plain = module.forward

    def forward(x: Tensor) -> Tensor:
        weight = module.get_parameter("weight")
        if not (torch.is_grad_enabled() and x.requires_grad) or weight.requires_grad or x.dtype != torch.float32:
            out: Tensor = plain(x)
            return out
        convolved: Tensor = _Convolved.apply(x, weight, module.bias, module.stride, module.padding)  # type: ignore[no-untyped-call]
        return convolved

    return forward


class _Convolved(torch.autograd.Function):
    """A convolution that differentiates with respect to its input alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape, ctx.stride, ctx.padding = x.shape, stride, padding
        return F.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        (weight,) = ctx.saved_tensors
        back = _folded if weight.shape[1] <= FEW else _transposed
        return back(gradient, weight, ctx.shape, ctx.stride, ctx.padding), None, None, None, None


def _folded(gradient: Tensor, weight: Tensor, shape: torch.Size, stride: Any, padding: Any) -> Tensor:
    columns = weight.flatten(1).T @ gradient.flatten(2)
    return F.fold(columns, shape[2:], weight.shape[2:], padding=padding, stride=stride)


def _transposed(gradient: Tensor, weight: Tensor, shape: torch.Size, stride: Any, padding: Any) -> Tensor:
    left_over = [
        shape[2 + axis] - ((gradient.shape[2 + axis] - 1) * stride[axis] - 2 * padding[axis] + weight.shape[2 + axis])
        for axis in (0, 1)
    ]
    together = gradient.contiguous(memory_format=torch.channels_last)
    weight = weight.contiguous(memory_format=torch.channels_last)
    return F.conv_transpose2d(together, weight, None, stride, padding, left_over).contiguous()
