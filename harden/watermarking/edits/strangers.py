"""What takes the core of the room: marks of strangers on top of a mark, and a shown leaf taken away."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from harden.seeds import Stream
from harden.watermarking.balance import factors, flat
from harden.watermarking.embed import embedded, measure
from harden.watermarking.layout import Layout, Weights, layout_of
from harden.watermarking.mark import Mark, pieces
from harden.watermarking.size import Plan, Profile, plan


def stranger(layout: Layout, made: Plan, *, rng: Stream) -> Mark:
    """A mark of somebody else over the same layers, with keys drawn from `rng`."""
    draw = np.random.default_rng(rng.key)
    payload = draw.integers(0, 2, made.bits, dtype=np.uint8)
    return Mark(layout, payload, {0: draw.bytes(32)}, draw.bytes(32), 1)


def overwriter(profile: Profile, *, rng: Stream) -> Callable[[Weights, int], dict[str, Tensor]]:
    """A function that puts the mark of stranger number n on top of weights, in the same profile."""

    def overwrite(weights: Weights, number: int) -> dict[str, Tensor]:
        layout = layout_of(weights)
        made = plan(layout.count, profile=profile)
        return embedded(weights, stranger(layout, made, rng=rng.child("stranger", number)), made)[0]

    return overwrite


def leaf_in(weights: Weights, leaf: Mark) -> dict[str, Tensor]:
    """What a disclosed leaf's chips add to `weights` in the mean, by tensor: take it away, and its bits have Z = 0."""
    by, slots = measure(weights, leaf)
    steps = torch.where(slots.n > 0, slots.s / slots.n.clamp_min(1), 0.0).float()
    out = {}
    for layer in leaf.layout.layers:
        r, c = (torch.where(one == 0, 0.0, 1 / one) for one in factors(weights[layer.name], by[layer.name]))
        part = torch.zeros_like(flat(weights[layer.name]), dtype=torch.float32)
        for piece in pieces(leaf, layer):
            du = piece.pushed(steps).reshape(-1, len(c))
            part[piece.rows] = du * r[piece.rows, None] * c
        out[layer.name] = part.reshape(weights[layer.name].shape)
    return out
