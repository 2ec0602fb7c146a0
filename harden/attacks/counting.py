"""What an attack costs, in passes through the model."""

import torch
from torch import Tensor, nn

from harden.attacks.base import Model


class Counted(nn.Module):
    """`model` as it is, with the samples counted that went forward and those whose gradient came back.

    A backward pass is counted when it runs, once for each time the input's gradient is asked for.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model
        self.forwards = 0
        self.backwards = 0

    def forward(self, x: Tensor) -> Tensor:
        """The model's logits."""
        self.forwards += len(x)
        if torch.is_grad_enabled() and x.requires_grad:
            x = _Noticed.apply(x, self)  # type: ignore[no-untyped-call]
        return self.model(x)


class _Noticed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, meter: Counted) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.meter = meter
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        ctx.meter.backwards += len(gradient)
        return gradient, None
