"""What comes in, by line, by count or by a look ahead, whatever pieces the source hands out."""

from collections.abc import Callable
from typing import BinaryIO, TypeAlias

Pour: TypeAlias = Callable[[memoryview], int]
"""Fills some of a buffer from its start, says how many bytes; 0 at the end."""

_BLOCK = 4096


class Intake:
    """Bytes in order. Holds no more than was looked at, and a block."""

    def __init__(self, pour: Pour) -> None:
        self._pour = pour
        self._held = bytearray()

    def peek(self, count: int) -> bytes:
        """The next `count` bytes, fewer only at the end; they stay."""
        while len(self._held) < count and self._more():
            pass
        return bytes(self._held[:count])

    def line(self, limit: int) -> bytes:
        """The next line with its line feed, or without where the end or `limit` bytes come first."""
        seen, at = 0, -1
        while at < 0 and seen < limit:
            at = self._held.find(b"\n", seen, limit)
            seen = len(self._held)
            if at < 0 and seen < limit and not self._more():
                break
        return self.take(at + 1 if at >= 0 else min(limit, len(self._held)))

    def take(self, count: int) -> bytes:
        """The next `count` bytes, fewer only at the end."""
        taken = self.peek(count)
        del self._held[: len(taken)]
        return taken

    def fill(self, view: memoryview) -> int:
        """The next bytes go into `view`; says how many, fewer than it holds only at the end."""
        held = self.take(min(len(view), len(self._held)))
        count = len(held)
        view[:count] = held
        while count < len(view) and (got := self._pour(view[count:])):
            count += got
        return count

    def _more(self) -> int:
        block = bytearray(_BLOCK)
        got = self._pour(memoryview(block))
        self._held += block[:got]
        return got


def pouring(source: BinaryIO) -> Pour:
    """How `source`, any binary file object that can be read, fills a buffer."""
    readinto = getattr(source, "readinto", None)
    if readinto is not None:
        return lambda view: readinto(view) or 0  # a source that would block says None

    def copy(view: memoryview) -> int:
        piece = source.read(len(view))
        view[: len(piece)] = piece
        return len(piece)

    return copy
