"""From pixels to logits: the one shape in which every other room sees a network."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn


class Classifier(nn.Module):
    """A network behind its own normalisation, so that a threat model can speak in pixels.

    `mean` and `std` are buffers of shape (c, 1, 1) and travel with the weights. Raises ValueError where
    they differ in length or a `std` is not positive.
    """

    only_normalises: ClassVar[bool] = True
    """Whether `forward` is `net(normalised(x))` and nothing else; a subclass has to say so again."""

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, *, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or min(std) <= 0:
            raise ValueError(f"wanted one mean and one positive std a channel, got {mean} and {std}")
        self.net = net
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (n, classes), for pixels `x` in [0, 1], shape (n, c, h, w)."""
        logits: Tensor = self.net(self.normalised(x))
        return logits

    def normalised(self, x: Tensor) -> Tensor:
        """Pixels as the network takes them."""
        return (x - self.mean) / self.std
