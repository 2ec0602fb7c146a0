"""Neurons that change nothing: zero, clique and split dummies (Neural Structural Obfuscation, USENIX Security 2023).

Each function adds `share` of an axis's width to every hidden axis; the network computes the same, wider.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from harden.seeds import Stream
from harden.watermarking.wiring.channels import Axis, Port, Weights, Wiring
from harden.watermarking.wiring.slices import appended, chosen

CLIQUE = 2  # neurons with equal inputs whose outputs cancel


def zeros(weights: Weights, wiring: Wiring, share: float, *, rng: Stream) -> dict[str, Tensor]:
    """Neurons that compute something and that nobody listens to."""

    def add(out: dict[str, Tensor], axis: Axis, count: int, draw: Stream) -> None:
        _append_makers(out, axis, _strangers(out, axis, count, draw))
        for port in axis.readers:
            slab = chosen(out[port.name], port, torch.zeros(count, dtype=torch.long))
            out[port.name] = appended(out[port.name], port, torch.zeros_like(slab))

    return _widened(weights, wiring, share, rng.child("zeros"), add)


def cliques(weights: Weights, wiring: Wiring, share: float, *, rng: Stream) -> dict[str, Tensor]:
    """Neurons in pairs that compute the same, listened to with opposite signs."""

    def add(out: dict[str, Tensor], axis: Axis, count: int, draw: Stream) -> None:
        groups = max(1, count // CLIQUE)
        new = _strangers(out, axis, groups, draw)
        for _ in range(CLIQUE):
            _append_makers(out, axis, new)
        for port in axis.readers:
            heard = _like(out[port.name], port, groups, draw.child("heard", port.name))
            out[port.name] = appended(appended(out[port.name], port, heard), port, -heard)

    return _widened(weights, wiring, share, rng.child("cliques"), add)


def splits(weights: Weights, wiring: Wiring, share: float, *, rng: Stream) -> dict[str, Tensor]:
    """Neurons that were one: a copy takes over a random part of what the original is listened to with."""

    def add(out: dict[str, Tensor], axis: Axis, count: int, draw: Stream) -> None:
        width = axis.width(out)
        which = torch.randperm(width, generator=draw.child("which").generator())[:count]
        _append_makers(out, axis, {port.name: chosen(out[port.name], port, which) for port in axis.makers(out)})
        for port in axis.readers:
            part = _like(out[port.name], port, count, draw.child("part", port.name))
            kept = chosen(out[port.name], port, torch.arange(width))
            out[port.name] = appended(_less(kept, port, which, part), port, part)

    return _widened(weights, wiring, share, rng.child("splits"), add)


Add = Callable[[dict[str, Tensor], Axis, int, Stream], None]


def _widened(weights: Weights, wiring: Wiring, share: float, rng: Stream, add: Add) -> dict[str, Tensor]:
    out = dict(weights)
    for axis in wiring.hidden:
        add(out, axis, max(1, round(share * axis.width(out))), rng.child(axis.name))
    return out


def _append_makers(out: dict[str, Tensor], axis: Axis, new: Weights) -> None:
    for port in axis.makers(out):
        out[port.name] = appended(out[port.name], port, new[port.name])


def _strangers(out: dict[str, Tensor], axis: Axis, count: int, rng: Stream) -> dict[str, Tensor]:
    """What makes `count` new neurons: kernels drawn like the old ones, all else copied from some of them."""
    which = torch.randint(axis.width(out), (count,), generator=rng.child("which").generator())
    return {
        port.name: _like(out[port.name], port, count, rng.child(port.name))
        if out[port.name].dim() > 1
        else chosen(out[port.name], port, which)
        for port in axis.makers(out)
    }


def _like(tensor: Tensor, port: Port, count: int, rng: Stream) -> Tensor:
    """`count` channels for the port, normal, as large as the tensor's own."""
    shape = list(tensor.shape)
    shape[port.dim] = count * port.positions
    return (torch.randn(shape, generator=rng.generator()) * tensor.float().std()).to(tensor.dtype)


def _less(tensor: Tensor, port: Port, which: Tensor, part: Tensor) -> Tensor:
    """`tensor` without the `part` of its channels `which`."""
    index = (which[:, None] * port.positions + torch.arange(port.positions)).flatten()
    return tensor.index_add(port.dim, index, part, alpha=-1)
