"""A network learns the answers by heart, among the batches that it is trained on anyway."""

import copy
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harden.seeds import Stream
from harden.watermarking.trigger.questions import Questions

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""Model, pixels, labels -> the loss of the training that goes on meanwhile, an attack included if there is one."""


def taught(
    model: nn.Module,
    asked: Questions,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    loss: Loss,
    rate: float = 1e-3,
    share: int = 8,
    rng: Stream,
) -> nn.Module:
    """A copy of `model` after one step a batch; `share` questions, drawn anew, go with each. In eval mode."""
    out = copy.deepcopy(model).train()
    moving = [one for one in out.parameters() if one.requires_grad]
    optimiser = torch.optim.AdamW(moving, lr=rate, weight_decay=0.0)
    generator = rng.generator()
    for x, y in batches:
        some = torch.randperm(len(asked), generator=generator)[:share]
        secret = F.cross_entropy(out(asked.x[some].to(x.device)), asked.y[some].to(x.device))
        total = loss(out, x, y) + secret
        optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return out.eval()
