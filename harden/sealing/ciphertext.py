"""The payload as it lies in the file: each leaf of the hash list is checked before anybody sees its MiB.

The file is read (`preadv`), never mapped: it can change between check and use. What was checked last is kept, so that
neighbours are neither read nor hashed twice: most tensors begin in the MiB in which the one before ends.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from harden.sealing.errors import Damaged
from harden.sealing.layout import LEAF, SEALED_CHUNK, Layout
from harden.sealing.leaves import Digests, Hashing, hashing, leaves_of
from harden.sealing.publish import naming

WINDOW = 4
"""Leaves that are read and hashed at a time, while those before are decrypted."""
ROOM = SEALED_CHUNK
"""Bytes of room before a window, for a chunk that the one before has cut off."""


@dataclass
class Held:
    """Leaves from `first` to before `end`, checked; in `buffer` behind `ROOM`."""

    buffer: memoryview = field(repr=False)
    first: int = 0
    end: int = 0


class Ciphertext:
    """The payload behind `handle`; `leaves` are the digests of the hash list, one after the other."""

    def __init__(self, handle: int, layout: Layout, leaves: bytes, digest: str, where: str) -> None:
        self.handle, self.layout, self.leaves, self.digest, self.where = handle, layout, leaves, digest, where
        self._shelf: list[Held] = []  # taken from and put back whole, so that threads do not share one

    def read(self, start: int, into: memoryview) -> None:
        """Fills `into` from the payload at `start`, unchecked: for what vouches for itself, as commitment and tags."""
        read_exactly(self.handle, self.layout.payload + start, into, self.where)

    def check(self) -> None:
        """Nothing if every leaf of the hash list is that of its MiB; Damaged at the first that is not."""
        for _ in self.windows(0, self.layout.leaves):
            pass

    def windows(self, first: int, end: int) -> Iterator[tuple[int, memoryview]]:
        """(offset in the payload, buffer) of checked leaves, which cover those from `first` to before `end`, in order.

        The buffer has `ROOM` bytes before them, and is good until the next one is asked for.
        """
        return self._few(first, end) if end - first <= WINDOW else self._many(first, end)

    def damaged(self, what: str) -> Damaged:
        """The error of this payload."""
        return Damaged(f"{self.where}: the payload: {what}", "the file was changed: get a fresh copy")

    def _few(self, first: int, end: int) -> Iterator[tuple[int, memoryview]]:
        """One window, of which what is held is neither read nor hashed again."""
        held = self._taken()
        if not held.first <= first < end <= held.end:
            fresh = self._moved_up(held, first)
            view = held.buffer[ROOM + (fresh - first) * LEAF : ROOM + self._stop(end) - first * LEAF]
            self.read(fresh * LEAF, view)
            self._compare(fresh, leaves_of(self.digest, view))
            held.first, held.end = first, end
        yield held.first * LEAF, held.buffer[: ROOM + self._stop(held.end) - held.first * LEAF]
        self._shelf[:] = [held]

    def _taken(self) -> Held:
        try:
            return self._shelf.pop()
        except IndexError:
            return Held(memoryview(bytearray(ROOM + min(WINDOW * LEAF, self.layout.payload_len))))

    def _moved_up(self, held: Held, first: int) -> int:
        """The leaf from which on must be read, after those that are held from `first` on went to the front."""
        if not held.first <= first < held.end:
            return first
        start, stop = ROOM + (first - held.first) * LEAF, ROOM + (held.end - held.first) * LEAF
        held.buffer[ROOM : ROOM + stop - start] = held.buffer[start:stop]
        return held.end

    def _many(self, first: int, end: int) -> Iterator[tuple[int, memoryview]]:
        """Window after window, the next one read and hashed ahead."""
        buffers = [memoryview(bytearray(ROOM + WINDOW * LEAF)) for _ in range(2)]
        with hashing(self.digest, end - first) as begin:
            ahead = self._begin(first, end, buffers[0], begin)
            for number, start in enumerate(range(first, end, WINDOW)):
                (view, digests), following = ahead, start + WINDOW
                if following < end:
                    ahead = self._begin(following, end, buffers[(number + 1) % 2], begin)
                self._compare(start, digests())
                yield start * LEAF, view

    def _begin(self, start: int, end: int, buffer: memoryview, begin: Hashing) -> tuple[memoryview, Digests]:
        """Reads the leaves of the window at `start` into `buffer` and begins to hash them."""
        view = buffer[: ROOM + self._stop(min(start + WINDOW, end)) - start * LEAF]
        self.read(start * LEAF, view[ROOM:])
        return view, begin(view[ROOM:])

    def _stop(self, end: int) -> int:
        """Where the leaves before `end` end in the payload."""
        return min(end * LEAF, self.layout.payload_len)

    def _compare(self, first: int, digests: bytes) -> None:
        size = len(self.leaves) // self.layout.leaves
        wanted = self.leaves[first * size : first * size + len(digests)]
        if digests == wanted:
            return
        wrong = next(at for at in range(0, len(digests), size) if digests[at : at + size] != wanted[at : at + size])
        raise self.damaged(f"MiB {first + wrong // size} of it is not what the hash list says")


def read_exactly(handle: int, offset: int, into: memoryview, where: str) -> None:
    """Fills `into` from the file at `offset`; Damaged where it ends before, Unreadable where the system refuses."""
    while into:
        with naming(where):
            got = os.preadv(handle, [into], offset)
        if not got:
            raise Damaged(f"{where}: became shorter while it was being read", "get a fresh copy")
        into, offset = into[got:], offset + got
