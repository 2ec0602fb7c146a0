"""The mark of a claim, as signs over weights: which bit each weight belongs to, and which way it is pushed.

Each weight belongs to one bit, its slot. Up to `RANKED` weights, those of a tensor are ranked by keystream words and
dealt out in turn, so that no bit goes short; above, a keystream byte chooses the bit of 16 weights in a row. The
chip of weight j is bit j of the tensor's keystream under the key of the leaf that its slot belongs to.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harden.watermarking.balance import row_blocks
from harden.watermarking.key import Keystream
from harden.watermarking.layout import Layer, Layout

RANKED = 1 << 20
"""Weights of a layout from which on slots are dealt out by blocks."""
GROUP = 16

SIGNS = torch.from_numpy(
    1 - 2 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little").astype(np.float32)
)
"""The chips in a byte, lowest bit first: 0 is +1, 1 is -1. (256, 8)."""


@dataclass(frozen=True)
class Mark:
    """What a claim puts into weights. `leaf`: the keys that are known, by number; `leaves`: how many there are.

    `payload`: L bits, 0 or 1, as they stand in the claim's id, highest bit first.
    """

    layout: Layout
    payload: NDArray[np.uint8]
    leaf: Mapping[int, bytes] = field(repr=False)
    slots: bytes = field(repr=False)
    leaves: int = 1

    @property
    def bits(self) -> int:
        """L."""
        return len(self.payload)

    @property
    def group(self) -> int:
        """How many weights in a row share a slot."""
        return 1 if self.layout.count < RANKED else GROUP

    @property
    def known(self) -> NDArray[np.bool_]:
        """Whether the key of each slot's leaf is known, (L,)."""
        return np.isin(np.arange(self.bits) % self.leaves, list(self.leaf))

    def only(self, *leaves: int) -> "Mark":
        """This mark with the keys of these leaves alone."""
        return Mark(self.layout, self.payload, {one: self.leaf[one] for one in leaves}, self.slots, self.leaves)


@dataclass(frozen=True)
class Piece:
    """Some rows of a layer: the slot of each group of weights, (groups,), and what each weight is pushed by.

    `push`: +1 or -1, chip times payload, (rows * in * k,); 0 where the key is not known. Weights that do not fill
    the last group are a group too.
    """

    rows: slice
    slots: Tensor
    push: Tensor
    group: int

    def sums(self, values: Tensor, bits: int) -> Tensor:
        """The sum of `values`, one a weight, in each slot, (L,) float64."""
        return torch.bincount(self.slots, weights=grouped(values, self.group), minlength=bits)

    def spread(self, values: Tensor) -> Tensor:
        """The value of each weight's slot, (rows * in * k,), of `values`, (L,)."""
        return values[self.slots].repeat_interleave(self.group)[: len(self.push)]


def grouped(values: Tensor, group: int) -> Tensor:
    """The sums of the groups of `values`, float64."""
    if group == 1:
        return values.double()
    if rest := -len(values) % group:
        values = torch.nn.functional.pad(values, (0, rest))
    return values.reshape(-1, group).sum(dim=1).double()


def pieces(mark: Mark, layer: Layer) -> Iterator[Piece]:
    """The mark over the rows of `layer`, in order."""
    rows, columns = layer.shape[0], layer.count // layer.shape[0]
    slots = _ranked(mark, layer) if mark.group == 1 else None
    dealer = Keystream(mark.slots, layer.name)
    streams = {leaf: Keystream(key, layer.name) for leaf, key in mark.leaf.items()}
    for some in row_blocks(rows, columns):
        count = (some.stop - some.start) * columns
        start = some.start * columns
        own = slots[start : start + count] if slots is not None else _dealt(mark, dealer, count)
        yield Piece(some, torch.from_numpy(own), _push(mark, streams, own, count), mark.group)


def _ranked(mark: Mark, layer: Layer) -> NDArray[np.int64]:
    """The slot of each weight: its rank among the tensor's keystream words, behind an offset, round and round."""
    words = Keystream(mark.slots, layer.name).read(4 * (layer.count + 1)).view("<u4")
    rank = np.empty(layer.count, dtype=np.int64)
    rank[np.argsort(words[1:], kind="stable")] = np.arange(layer.count)
    return (rank + int(words[0])) % mark.bits


def _dealt(mark: Mark, dealer: Keystream, count: int) -> NDArray[np.int64]:
    """The slots of the next groups of weights."""
    return (dealer.read(-(-count // GROUP)) % mark.bits).astype(np.int64)


def _push(mark: Mark, streams: Mapping[int, Keystream], slots: NDArray[np.int64], count: int) -> Tensor:
    """Chip times payload for each of `count` weights, 0 without a key."""
    bytes_each = {leaf: stream.read(-(-count // 8)) for leaf, stream in streams.items()}
    weigh = torch.from_numpy(np.where(mark.known, 1.0 - 2.0 * mark.payload, 0.0).astype(np.float32))[slots]
    if len(bytes_each) == 1:
        (chips,) = (_chips(some, count) for some in bytes_each.values())
    else:
        chips = _chosen(mark, bytes_each, slots, count)
    if mark.group == 1:
        return chips * weigh
    full = torch.nn.functional.pad(chips, (0, -count % GROUP)).reshape(-1, GROUP)
    return (full * weigh[:, None]).reshape(-1)[:count]


def _chosen(mark: Mark, bytes_each: Mapping[int, NDArray[np.uint8]], slots: NDArray[np.int64], count: int) -> Tensor:
    """The chips of `count` weights, each from the stream of its own leaf."""
    leaf = slots % mark.leaves
    if mark.group == GROUP:  # 16 chips are two bytes, which are chosen before they are spread out
        words = np.zeros(len(slots), dtype="<u2")
        for one, some in bytes_each.items():
            np.copyto(words, np.pad(some, (0, 2 * len(slots) - len(some))).view("<u2"), where=leaf == one)
        return _chips(words.view(np.uint8), count)
    chips = torch.zeros(count)
    owner = torch.from_numpy(leaf)
    for one, some in bytes_each.items():
        torch.where(owner == one, _chips(some, count), chips, out=chips)
    return chips


def _chips(some: NDArray[np.uint8], count: int) -> Tensor:
    """+1 and -1 for the first `count` bits."""
    return SIGNS.index_select(0, torch.from_numpy(some.astype(np.int32))).reshape(-1)[:count]
