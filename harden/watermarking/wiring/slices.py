"""Channels of a tensor as slices: chosen, scaled and appended, with the positions that belong to each."""

import torch
from torch import Tensor

from harden.watermarking.wiring.channels import Port


def chosen(tensor: Tensor, port: Port, index: Tensor) -> Tensor:
    """`tensor` with the channels `index` along the port, in that order."""
    return tensor.index_select(port.dim, columns(index, port.positions))


def columns(index: Tensor, positions: int) -> Tensor:
    """Where the channels `index` lie in a tensor that holds each one `positions` times in a row."""
    return (index[:, None] * positions + torch.arange(positions)).flatten()


def scaled(tensor: Tensor, port: Port, factor: Tensor) -> Tensor:
    """`tensor` times `factor`, one number a channel; multiplied in float64 and stored as it was."""
    shape = [1] * tensor.dim()
    shape[port.dim] = -1
    return (tensor.double() * factor.double().repeat_interleave(port.positions).view(shape)).to(tensor.dtype)


def appended(tensor: Tensor, port: Port, extra: Tensor) -> Tensor:
    """`tensor` with more channels behind its own."""
    return torch.cat([tensor, extra.to(tensor.dtype)], dim=port.dim)
