"""Layers of a chain, as the loops that follow a change through them need to know them."""

from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor


class Kind(IntEnum):
    """What a layer does to a change: weigh it, per channel too, bend it at zero, or reduce it in sliding windows."""

    convolution = 0
    dense = 1
    scale = 2
    rectifier = 3
    mean = 4
    maximum = 5


Size = tuple[int, int, int]
"""Channels, height, width."""

Pair = tuple[int, int]


@dataclass(frozen=True)
class Layer:
    """One layer. `weight` as torch has it: a convolution's, a dense layer's over flattened `taken`, a scale a channel,
    a rectifier's slope below zero."""

    kind: Kind
    taken: Size
    given: Size
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    pad: Pair = (0, 0)
    weight: Tensor | None = None

    @property
    def bends(self) -> bool:
        """Whether what comes out depends on more than the change."""
        return self.kind in (Kind.rectifier, Kind.maximum)

    def packed(self) -> Tensor:
        """The weights as the loops read them, outputs innermost, (count,)."""
        if self.weight is None:
            return torch.empty(0)
        weight = self.weight.detach()
        if self.kind is Kind.convolution:
            weight = weight.permute(2, 3, 1, 0)
        elif self.kind is Kind.dense:
            weight = weight.view(-1, *self.taken).permute(2, 3, 1, 0)
        return weight.reshape(-1).float()
