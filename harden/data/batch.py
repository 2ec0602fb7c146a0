"""What a training step and an attack see: pixels in the box, labels, and who the samples are."""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Some samples of one split. The pixels are never normalised: a model does that itself."""

    x: Tensor  # (n, c, h, w) float32 in [0, 1]
    y: Tensor  # (n,) int64, class numbers
    # (n,) int64, the samples' ids in their split, by which random draws are keyed; hides `tuple.index`
    index: Tensor  # type: ignore[assignment]
