"""Layers as tables (out, in, rest): what alignment works on."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from harden.watermarking.balance import balanced
from harden.watermarking.layout import Layer

NOWHERE = -1
"""In an order: nobody stands at this place."""


@dataclass(frozen=True)
class Side:
    """One side of a layer, its rows (dim 0) or its input channels (dim 1), and the axis that it lies on."""

    layer: str
    dim: int


@dataclass(frozen=True)
class Table:
    """The balanced form of a layer, (out, in channels, positions * kernel), float32."""

    values: Tensor

    def side(self, dim: int) -> Tensor:
        """The channels of `dim` as rows, (channels, all else)."""
        return (self.values if dim == 0 else self.values.transpose(0, 1)).flatten(1)

    def sizes(self) -> "Table":
        """The sizes of its values, their mean taken away: what no change of signs changes."""
        sizes = self.values.abs()
        return Table(sizes - sizes.mean())

    def placed(self, dim: int, place: "Place") -> "Table":
        """The channels of `dim` in another order, with other signs; zeros where nobody stands."""
        return replace(self, values=placed(self.values, dim, place))


@dataclass(frozen=True)
class Place:
    """Who stands where: `order`, (channels of the reference,), of the suspect's channels; `sign` of each."""

    order: Tensor
    sign: Tensor

    @staticmethod
    def identity(count: int) -> "Place":
        """Everybody where they are."""
        return Place(torch.arange(count), torch.ones(count))


def placed(values: Tensor, dim: int, place: Place) -> Tensor:
    """The channels of `dim` of (out, in, rest) put in their places."""
    found = values.index_select(dim, place.order.clamp_min(0))
    factor = torch.where(place.order == NOWHERE, 0.0, place.sign).to(values.dtype)
    return found * (factor[:, None, None] if dim == 0 else factor[None, :, None])


def split(weight: Tensor, layer: Layer) -> Tensor:
    """A weight tensor as (out, in channels, positions * kernel)."""
    return weight.reshape(weight.shape[0], weight.shape[1] // layer.positions, -1)


def table(weight: Tensor, layer: Layer) -> Table:
    """The balanced form of a layer's weight."""
    return Table(split(balanced(weight), layer))
