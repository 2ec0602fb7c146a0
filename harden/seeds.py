"""Every random draw has a name: `stream(seed, "attack", epoch)`.

A stream is a 64-bit key, derived by SHA-256 from the seed and the names, so that it is the same in every
process. Draws for samples are counter-based (Philox4x32-10, Salmon et al. 2011, SC'11): the number drawn
depends on the key, the sample's id and the element alone, not on batch split, thread, rank or device.
Hence there is no generator state to save, and a resumed run draws what an unbroken one draws.
"""

import hashlib
import json
import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from harden import kernels


def stream(seed: int, *names: str | int) -> "Stream":
    """The stream of random numbers that belongs to `names` under `seed`."""
    return Stream(_key([seed, *names]))


@dataclass(frozen=True)
class Stream:
    """Random numbers under one key. `rows` are the ids of the samples that draws are for, shape (n,)."""

    key: int
    rows: Tensor | None = None

    def child(self, *names: str | int) -> "Stream":
        """The stream of `names` below this one, for the same samples."""
        return replace(self, key=_key([self.key, *names]))

    def at(self, rows: Tensor) -> "Stream":
        """This stream for the samples whose ids are `rows`."""
        return replace(self, rows=rows)

    def take(self, index: Tensor | slice) -> "Stream":
        """This stream for those of its samples that stand at the positions `index`."""
        if self.rows is None:
            raise ValueError("the stream holds no sample ids to take from")
        return self.at(self.rows[index])

    def generator(self) -> torch.Generator:
        """A CPU generator, for what concerns no single sample (an epoch's order)."""
        return torch.Generator().manual_seed(self.key)

    def uniform(self, like: Tensor, low: float = 0.0, high: float = 1.0, draw: int = 0) -> Tensor:
        """Uniform float32 numbers in [low, high), in the shape of `like`, whose first axis is the sample's."""
        if self.rows is None or len(self.rows) != len(like):
            raise ValueError(f"the stream holds {self._count()} sample ids, wanted {len(like)}")
        out = torch.empty(like.shape, dtype=torch.float32, device=like.device)
        return kernels.uniform(self.key, self.rows, low=low, high=high, draw=draw, out=out)

    def normal(self, like: Tensor, draw: int = 0) -> Tensor:
        """Standard normal float32 numbers (Box and Muller 1958); equal across devices up to libm's rounding."""
        radius = self.child("radius").uniform(like, draw=draw)
        angle = self.child("angle").uniform(like, draw=draw)
        return torch.sqrt(-2 * torch.log1p(-radius)) * torch.cos(2 * math.pi * angle)

    def _count(self) -> int:
        return 0 if self.rows is None else len(self.rows)


@contextmanager
def seeded(rng: Stream, device: torch.device | None = None) -> Iterator[None]:
    """Inside, torch's global generators of CPU and `device` are seeded by `rng`; afterwards they are as before.

    For code that can draw from nothing else, such as the initialisation of `torch.nn` layers, or dropout.
    """
    cuda = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(rng.key)
        for one in cuda:
            with torch.cuda.device(one):
                torch.cuda.manual_seed(rng.key)
        yield


@contextmanager
def seeded_numpy(rng: Stream) -> Iterator[None]:
    """Inside, NumPy's and `random`'s global generators are seeded by `rng`; afterwards they are as before.

    So are new `RandomState`s that would otherwise take their seed from the system. For libraries that draw from
    nothing else.
    """
    before, plain, kind = np.random.get_state(), random.getstate(), np.random.RandomState
    seeds = iter(range(rng.key % 2**31, 2**32))

    class Seeded(kind):  # type: ignore[misc, valid-type]
        def __init__(self, seed: object = None) -> None:
            super().__init__(next(seeds) if seed is None else seed)

    np.random.seed(next(seeds))
    random.seed(rng.key)
    np.random.RandomState = Seeded  # type: ignore[misc]
    try:
        yield
    finally:
        np.random.RandomState = kind  # type: ignore[misc]
        np.random.set_state(before)
        random.setstate(plain)


def _key(names: list[str | int]) -> int:
    return int.from_bytes(hashlib.sha256(json.dumps(names).encode()).digest()[:8], "little")
