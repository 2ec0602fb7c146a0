"""An exponential moving average of weights and floating buffers (BatchNorm's statistics among them)."""

import copy

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """`model`: a copy that follows another one; decay 0 makes it an exact copy after every update."""

    def __init__(self, model: nn.Module) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module, decay: float) -> None:
        """Moves the average by (1 - decay) of the way to `model`; integer buffers are copied."""
        old, new = self.model.state_dict(), model.state_dict()
        floats = [name for name, value in new.items() if value.is_floating_point()]
        move = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        move([old[n] for n in floats], [new[n] for n in floats], torch.empty(0))
        for name in new.keys() - set(floats):
            old[name].copy_(new[name])
