"""What a sealed file says of itself: head, hash list, slots. Read with every bound checked, and nothing believed."""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harden.sealing import core as cores
from harden.sealing import layout as layouts
from harden.sealing import leaves as lists
from harden.sealing import slots as slots_of
from harden.sealing.ciphertext import read_exactly
from harden.sealing.core import Core
from harden.sealing.derive import binding
from harden.sealing.errors import Damaged, Unreadable
from harden.sealing.layout import PREAMBLE, Layout, Preamble
from harden.sealing.publish import naming
from harden.sealing.slots import Entry, Slot
from harden.sealing.trust import PATIENCE, Seen

FRESH = "the file was changed: get a fresh copy"
COPIES = "AB"
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@dataclass(frozen=True)
class Head:
    """What a file says of itself, structurally sound and not yet believed. `bound` is H."""

    where: str
    preamble: Preamble
    core: Core
    layout: Layout
    bound: bytes


@dataclass(frozen=True)
class Marked:
    """The hash list, its root, and the signature over it; lengths are right, nothing else is checked."""

    leaves: bytes
    root: bytes
    signature: bytes

    def seen(self, head: Head) -> Seen:
        """What a trust store would remember of the file."""
        return Seen(head.core.facts.epoch, head.bound.hex(), self.root.hex())


@dataclass(frozen=True)
class Slots:
    """Both copies, A and B; None for one that is being written. `equal`: as they are after a rewrap has finished."""

    copies: tuple[Slot | None, Slot | None]
    equal: bool

    @property
    def entries(self) -> list[Entry]:
        """The entries of both, each once."""
        return list(dict.fromkeys(entry for copy in self.copies if copy for entry in copy.entries))

    @property
    def newest(self) -> Slot:
        """The copy of the higher generation."""
        return max((copy for copy in self.copies if copy), key=lambda copy: copy.generation)


@contextmanager
def opened(path: Path, flags: int = os.O_RDONLY) -> Iterator[int]:
    """A descriptor of the file at `path`, closed with the block; Unreadable where there is none."""
    with naming(path):
        handle = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        yield handle
    finally:
        os.close(handle)


def read_head(handle: int, where: str) -> Head:
    """Preamble and core, and the file's size compared with what they say. Raises NotSealed, Damaged."""
    with naming(where):
        size = os.fstat(handle).st_size
        start = os.pread(handle, PREAMBLE.size, 0)
    preamble = layouts.decode(start, where)
    raw = read(handle, PREAMBLE.size, preamble.core_len, where, size)
    core = cores.decode(raw, where)
    layout = layouts.layout_of(preamble, core)
    if size != layout.size:
        kind = "is cut off" if size < layout.size else "has something appended"
        raise Damaged(f"{where}: {kind}: {size} bytes, wanted {layout.size}", FRESH)
    after = PREAMBLE.size + preamble.core_len
    if read(handle, after, layout.slots - after, where).strip(b"\0"):
        raise Damaged(f"{where}: the core is not filled up with zeros", FRESH)
    return Head(where, preamble, core, layout, binding(preamble, raw))


def read_marked(handle: int, head: Head) -> Marked:
    """The hash list, its root, and the signature."""
    layout, digest = head.layout, head.preamble.suite.digest
    leaves = read(handle, layout.payload + layout.payload_len, layout.list_len, head.where)
    signature = read(handle, layout.signature, layout.signature_len, head.where)
    return Marked(leaves, lists.root(digest, leaves, layout.leaves), signature)


def read_slots(handle: int, head: Head) -> Slots:
    """Both slots, structurally sound, tags not yet checked, as they are while nobody rewraps. Raises Damaged."""
    with locked(handle, head.where, shared=True):
        return slots_in(handle, head)


def slots_in(handle: int, head: Head, *, lenient: bool = False) -> Slots:
    """Both slots, for whoever holds the lock already. `lenient`: a copy that is damaged is None too."""
    length, where = head.layout.slot_len, head.where
    both = read(handle, head.layout.slots, 2 * length, where)
    parts = both[:length], both[length:]
    first, second = (_slot(part, head, name, lenient) for name, part in zip(COPIES, parts, strict=True))
    if first is None and second is None and not lenient:
        raise Damaged(f"{where}: both slots say that they are being written", FRESH)
    return Slots((first, second), parts[0] == parts[1])


def _slot(part: bytes, head: Head, name: str, lenient: bool) -> Slot | None:
    try:
        return slots_of.decode(part, head.preamble.suite, f"{head.where}: slot {name}")
    except Damaged:
        if lenient:
            return None
        raise


@contextmanager
def locked(handle: int, where: str, *, shared: bool) -> Iterator[None]:
    """Inside, nobody rewraps the file (`shared`), or nobody else even reads its slots.

    Where the file system has no locks, a reader goes on without: what it sees of a rewrap does not pass its checks.
    """
    kind, began = fcntl.LOCK_SH if shared else fcntl.LOCK_EX, time.monotonic()
    with naming(where):
        while not (taken := _taken(handle, kind)):
            if taken is None and shared:
                break
            if taken is None or time.monotonic() - began > PATIENCE:
                what = "its file system has no locks" if taken is None else "another process is changing it"
                raise Unreadable(f"{where}: {what}", "wait for it or stop it; or write a copy: output=FILE")
            time.sleep(0.02)
    try:
        yield
    finally:
        if taken:
            fcntl.flock(handle, fcntl.LOCK_UN)


def _taken(handle: int, kind: int) -> bool | None:
    """Whether the lock is ours now; None where there are no locks."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in NO_LOCKS:
            return None
        raise
    return True


def read(handle: int, offset: int, length: int, where: str, size: int | None = None) -> bytes:
    """`length` bytes at `offset`; Damaged where the file ends before, known at once where its `size` is."""
    if size is not None and offset + length > size:
        raise Damaged(f"{where}: is cut off: {size} bytes, its core alone ends at {offset + length}", FRESH)
    data = bytearray(length)
    read_exactly(handle, offset, memoryview(data), where)
    return bytes(data)
