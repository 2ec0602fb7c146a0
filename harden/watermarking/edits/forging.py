"""Attempts to claim what is not one's own: keys and payloads that are searched for, and alignment to marked weights.

Altered, backdated and foreign claims are refused by their signatures; that is for the doors' tests.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from harden.seeds import Stream
from harden.watermarking.align.align import align
from harden.watermarking.balance import balanced
from harden.watermarking.edits.strangers import stranger
from harden.watermarking.layout import Layout, Weights
from harden.watermarking.mark import Mark
from harden.watermarking.pvalue import log10_tail
from harden.watermarking.size import Plan
from harden.watermarking.verify import CLIP, blind, present


@dataclass(frozen=True)
class Forged:
    """How far a forger came. `tries`: how many things were tried; `z`, `log10_p`: of the best, before correction."""

    attack: str
    tries: int
    z: float
    log10_p: float

    @property
    def log10_corrected(self) -> float:
        """With the tries counted, as verification counts them."""
        return min(0.0, self.log10_p + math.log10(max(1, self.tries)))


def keys_searched(weights: Weights, layout: Layout, tries: int, *, rng: Stream, batch: int = 256) -> Forged:
    """The best of so many patterns on weights that they do not belong to.

    Patterns are drawn as random signs, which is what a keystream gives; a key each would cost a cipher and say the
    same. The best of m is near sqrt(2 ln m) deviations.
    """
    found, _ = present(weights, layout)
    u = torch.cat([balanced(weights[layer.name]).clamp(-CLIP, CLIP).flatten() for layer in found])
    u /= u.norm()
    draw = np.random.default_rng(rng.key)
    best, done = -math.inf, 0
    while done < tries:
        some = min(batch, tries - done)
        signs = np.unpackbits(
            np.frombuffer(draw.bytes(some * -(-len(u) // 8)), dtype=np.uint8).reshape(some, -1), axis=1
        )
        best = max(best, float((1 - 2 * torch.from_numpy(signs[:, : len(u)]).float()).matmul(u).max()))
        done += some
    return Forged("keys searched", tries, best, log10_tail(best))


def payload_searched(weights: Weights, layout: Layout, made: Plan, *, rng: Stream) -> Forged:
    """The payload that suits unmarked weights best under one key: what a forger gains who may choose it.

    Every bit then is right, which shows why a payload must follow from the claim: as many tries as there are payloads
    are to be counted, 2^L, and they eat up all of the gain.
    """
    mark = stranger(layout, made, rng=rng)
    found, _ = present(weights, layout)
    chosen = math.fsum(abs(one) for one in blind(weights, mark, found).margins) / math.sqrt(mark.bits)
    return Forged("payload searched", 2**mark.bits, chosen, log10_tail(chosen))


def aligned_to_marked(innocent: Weights, marked: Weights, mark: Mark) -> Forged:
    """An innocent network aligned to the marked one instead of the sidecar: the trap that the claim's digest closes."""
    reference = {layer.name: marked[layer.name] for layer in mark.layout.layers}
    moved = align(innocent, reference, mark.layout)
    z = blind(moved, mark, present(moved, mark.layout)[0]).z
    return Forged("alignment to the marked network", 1, z, log10_tail(z))
