"""What Z is for keys that have nothing to do with the weights: the distribution that evidence is compared with."""

from harden.watermarking.key import WatermarkKey
from harden.watermarking.layout import Weights
from harden.watermarking.mark import Mark
from harden.watermarking.verify import blind, present


def stranger(mark: Mark, number: int) -> Mark:
    """A mark like `mark` under a key that nobody embedded, one a number."""
    keys = WatermarkKey(number.to_bytes(32, "big")).under(b"harden/watermark/v1 null", mark.leaves)
    return Mark(mark.layout, mark.payload, dict(enumerate(keys.leaf)), keys.slots, mark.leaves)


def null_z(weights: Weights, mark: Mark, count: int) -> list[float]:
    """Blind Z of `count` strangers' keys on these weights."""
    layers, _ = present(weights, mark.layout)
    return [blind(weights, stranger(mark, number), layers).z for number in range(count)]
