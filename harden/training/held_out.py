"""The images that checkpoints are chosen on: a part of the training data, drawn by class, never test images."""

import hashlib
from dataclasses import dataclass

from torch import Tensor

from harden.data import DataSet, Split, hold_out
from harden.files import canonical_json
from harden.seeds import stream

PART = "validation"
"""What the record calls the part."""


@dataclass(frozen=True)
class HeldOut:
    """Which training images are trained on, and which are held out, (m,) int64 each."""

    kept: Tensor
    held: Tensor


def held_out(data: DataSet, images: int, seed: int) -> HeldOut:
    """The parts for a run of this seed: `images` are held out, at least one, at most a tenth."""
    count = max(1, min(images, len(data.train) // 10))
    return HeldOut(*hold_out(data.train.y, count, stream(seed, PART)))


def told(data: DataSet, part: HeldOut) -> dict[str, object]:
    """What the record says of the images that a checkpoint was chosen on."""
    return {"part": PART, "images": len(part.held), "sha256": digest(data.train.take(part.held))}


def digest(split: Split) -> str:
    """SHA-256 in hex over shapes, images and labels."""
    shapes = canonical_json([[str(t.dtype), *t.shape] for t in (split.x, split.y)])
    found = hashlib.sha256(shapes)
    for tensor in (split.x, split.y):
        found.update(tensor.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
