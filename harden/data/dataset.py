"""A data set as values: two splits of images held as uint8 (or float32) tensors, with names and a digest.

Sixty thousand small images fit a device's memory whole, so a batch is tensor indexing there: no worker
processes, no files, no decoding per step.
"""

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from harden.data.batch import Batch
from harden.data.checks import check_classes, check_images, check_labels, check_presence, check_shapes
from harden.errors import DataError
from harden.files import canonical_json

STD_FLOOR = 1e-3  # a channel that never varies would otherwise be divided by zero


@dataclass(frozen=True, eq=False)
class Split:
    """Images and labels that belong together. Raises DataError where shapes, types or counts do not fit."""

    x: Tensor  # (n, c, h, w) uint8 in 0..255, or float32 in [0, 1]
    y: Tensor  # (n,) int64
    serves: torch.device | None = None  # where batches go, None: to where the images are

    def __post_init__(self) -> None:
        check_shapes(self.x, self.y)

    def __len__(self) -> int:
        return len(self.y)

    def to(self, device: torch.device | str) -> "Split":
        """This split with its tensors on `device`."""
        return Split(self.x.to(device), self.y.to(device))

    def on(self, device: torch.device) -> "Split":
        """This split with its batches on `device`, and its tensors too where they fit into its free memory."""
        return self.to(device) if _fits(self.x, device) else Split(self.x, self.y, serves=device)

    def take(self, index: Tensor) -> "Split":
        """The samples at `index`, (m,) int64, as a split of their own: ids count from 0 again."""
        rows = index.to(self.y.device)
        return Split(self.x[rows], self.y[rows])

    def batch(self, index: Tensor) -> Batch:
        """The samples at `index`, (m,) int64, on the device it serves, pixels as float32 in [0, 1]."""
        rows, device = index.to(self.y.device), self.serves or self.y.device
        return Batch(_unit(self.x[rows].to(device)), self.y[rows].to(device), rows.to(device))


def _fits(images: Tensor, device: torch.device) -> bool:
    """Whether the images take less than half of what is free; a CPU holds them already."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return images.nbytes < free // 2


@dataclass(frozen=True, eq=False)
class DataSet:
    """Images to train on and images to test on. Raises DataError where the content cannot be used.

    Labels are 0..C-1 for the C >= 2 `classes`, each class has a training image, floats lie in [0, 1], and both
    splits have samples of one shape.
    """

    name: str  # as printed beside every figure
    classes: tuple[str, ...]
    train: Split
    test: Split
    source: str  # where it was read, for messages and the record

    def __post_init__(self) -> None:
        for part, split in (("train", self.train), ("test", self.test)):
            check_images(split.x, where=f"{self.name} {part}")
            check_labels(split.y, len(self.classes), where=f"{self.name} {part}")
        check_classes(self.classes, where=self.name)
        check_presence(self.train.y, self.classes, where=f"{self.name} train")
        if self.train.x.shape[1:] != self.test.x.shape[1:]:
            got, wanted = tuple(self.test.x.shape[1:]), tuple(self.train.x.shape[1:])
            raise DataError(f"{self.name}: test images are {got}, wanted {wanted} as in training")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        channels, height, width = self.train.x.shape[1:]
        return channels, height, width

    @cached_property
    def digest(self) -> str:
        """SHA-256 in hex over the content alone: class names, and type, shape and bytes of every tensor.

        Neither packaging nor place nor name enters, so equal digests mean equal data.
        """
        tensors = (self.train.x, self.train.y, self.test.x, self.test.y)
        head = {"classes": self.classes, "tensors": [[str(t.dtype), *t.shape] for t in tensors]}
        digest = hashlib.sha256(canonical_json(head))
        for tensor in tensors:
            array = tensor.cpu().contiguous().numpy()
            digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).data)
        return digest.hexdigest()

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of the training pixels, in [0, 1], one a channel."""
        return tuple(mean for mean, _ in self._moments)

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of the training pixels in units of [0, 1], one a channel, at least STD_FLOOR."""
        return tuple(max(std, STD_FLOOR) for _, std in self._moments)

    @cached_property
    def _moments(self) -> list[tuple[float, float]]:
        return [_moments_of(channel) for channel in self.train.x.unbind(1)]


def _unit(x: Tensor) -> Tensor:
    if x.dtype == torch.float32:
        return x
    # CUDA multiplies by a Python number's reciprocal, which rounds otherwise than the CPU's division;
    # a tensor on the device is truly divided by, so pixels are the same bits everywhere.
    return x.float() / torch.full((), 255.0, device=x.device)


def _moments_of(channel: Tensor) -> tuple[float, float]:
    """Mean and standard deviation; exact for uint8, whose 256 values are counted."""
    if channel.dtype == torch.float32:
        variance, mean = torch.var_mean(channel.double(), correction=0)
        return float(mean), math.sqrt(float(variance))
    share = torch.bincount(channel.flatten(), minlength=256).double() / channel.numel()
    values = torch.arange(256, dtype=torch.float64, device=share.device) / 255
    centre = float((share * values).sum())
    return centre, math.sqrt(float((share * (values - centre) ** 2).sum()))
