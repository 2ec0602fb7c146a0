"""Trigger images and their labels, both drawn from the claim's trigger key: the owner chooses neither.

A claimant who may choose finds images that any network answers his way (Liu et al. 2024, "False Claims against Model
Ownership Resolution", USENIX Security). SHAKE-256 of a prefix, the key, the use and the number is the source.
"""

import hashlib
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

PREFIX = b"harden/watermark/v1 trigger\0"
LONGEST = 256  # labels are drawn from single bytes


@dataclass(frozen=True)
class Questions:
    """x: (n, *shape) float32, whole 255ths in [0, 1]; y: (n,) labels that the marked network gives. Secret."""

    x: Tensor
    y: Tensor

    def __repr__(self) -> str:
        return f"Questions({len(self.y)}, secret)"

    def __len__(self) -> int:
        return len(self.y)


def questions(key: bytes, count: int, *, shape: tuple[int, ...], classes: int) -> Questions:
    """`count` images of uniform noise and uniform labels; longer lists begin with the shorter ones.

    Raises ValueError unless the key has 32 bytes and there are 2 to 256 classes.
    """
    if len(key) != 32 or not 2 <= classes <= LONGEST or count < 1:
        raise ValueError(
            f"wanted a key of 32 bytes, 2 to {LONGEST} classes, 1 question, got {len(key)}, {classes}, {count}"
        )
    pixels = [_bytes(key, b"image", number, prod(shape)) for number in range(count)]
    x = torch.frombuffer(bytearray(b"".join(pixels)), dtype=torch.uint8).view(count, *shape).float() / 255
    return Questions(x, torch.tensor([_label(key, number, classes) for number in range(count)]))


def _bytes(key: bytes, use: bytes, number: int, length: int) -> bytes:
    return hashlib.shake_256(PREFIX + key + use + b"\0" + number.to_bytes(4, "big")).digest(length)


def _label(key: bytes, number: int, classes: int) -> int:
    """Uniform: a byte past the last multiple of `classes` is thrown away."""
    fair = LONGEST - LONGEST % classes
    return next(byte % classes for byte in _bytes(key, b"label", number, 4096) if byte < fair)
