"""Other recipients for a sealed file, without touching its payload; and a copy under a new key (`rotate`).

The new slot goes over one copy, then over the other. A copy is marked before its bytes change and unmarked after,
each step synced, so that at any moment one copy is whole and a reader can tell. Whoever had the file key, or an
old copy of the file, still has it.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harden.errors import ConfigError
from harden.sealing import layout as layouts
from harden.sealing import slots as slots_of
from harden.sealing.errors import Damaged, Unreadable
from harden.sealing.heads import FRESH, Head, locked, opened, read_head, read_marked, slots_in
from harden.sealing.identity import Identity, Recipient
from harden.sealing.memory import wipe
from harden.sealing.opening import check_origin, file_keys, no_key, open_payload
from harden.sealing.provider import Provider, provider
from harden.sealing.publish import naming, publishing, write_all
from harden.sealing.sealer import common_suite, wrapped
from harden.sealing.slots import ENTRY, LAST, MARK_AT, PASSPHRASE, WRITING, Entry, Slot
from harden.sealing.trust import Trust

MARK = bytes([WRITING])


@dataclass(frozen=True)
class Change:
    """Who shall open the file: exactly those in `to`; or, without any there, those of now and those in `add`."""

    to: Sequence[Recipient] = ()
    add: Sequence[Recipient] = ()

    def __post_init__(self) -> None:
        if self.to and self.add:
            raise ConfigError("to and add exclude each other", "to names all who shall open the file")


def rewrap(
    path: Path,
    identity: Identity,
    change: Change,
    *,
    trust: Trust | None,
    output: Path | None = None,
    by: Provider | None = None,
) -> tuple[Head, int]:
    """Changes who can open the sealed file at `path`: in place, or in a copy `output` with slots of the right length.

    Returns the head and how many recipients there are now. An empty change repairs a file whose last rewrap was
    cut short or whose slots were damaged, as long as one is whole. Raises as `opening.unlocked`, and ConfigError
    where the recipients do not go together, or take more room than there is.
    """
    flags = os.O_RDONLY if output else os.O_RDWR
    with opened(path, flags) as handle, locked(handle, str(path), shared=output is not None):
        head = read_head(handle, str(path))
        if trust is not None:
            check_origin(head, read_marked(handle, head), trust, by or provider())
        file_key, newest = _opened(handle, head, identity)
        try:
            entries = _entries(head, newest, change, file_key)
            if output:
                _copy(handle, head, entries, file_key, output)
            else:
                _replace(handle, head, newest, entries, file_key)
                _check_named(handle, path)
        finally:
            wipe(file_key)
    return head, len(entries)


def _opened(handle: int, head: Head, identity: Identity) -> tuple[memoryview, tuple[int, Slot]]:
    """The file key that opens the payload, and the newest copy whose tag it makes, with its place (0 or 1)."""
    slots = slots_in(handle, head, lenient=True)
    for file_key in file_keys(head, slots, identity):
        whole = [
            (copy.generation, place, copy)
            for place, copy in enumerate(slots.copies)
            if copy and copy.is_whole(file_key, head.preamble, head.bound)
        ]
        if whole:
            try:
                open_payload(handle, head, b"", file_key)
            except Damaged:
                wipe(file_key)
                raise
            _, place, newest = max(whole, key=lambda one: one[:2])
            return file_key, (place, newest)
        wipe(file_key)
    if slots.copies == (None, None):
        raise Damaged(f"{head.where}: both slots are damaged: nobody can open the file any more", FRESH)
    raise no_key(head, slots)


def _entries(head: Head, newest: tuple[int, Slot], change: Change, file_key: memoryview) -> Sequence[Entry]:
    """The entries of the new slot. Those that stay are kept as they are: nobody else's public key is needed."""
    suite = head.preamble.suite
    fresh = change.to or change.add
    if not fresh:
        return newest[1].entries
    if common_suite(fresh, None) != suite and any(one.suite for one in fresh):
        raise ConfigError(f"{head.where}: is of suite {suite.name}, the new recipients of another")
    kept = () if change.to else newest[1].entries
    entries = [*kept, *wrapped(file_key, fresh, suite, head.bound)]
    if len(entries) > slots_of.MOST or (len(entries) > 1 and any(one.kind == PASSPHRASE for one in entries)):
        raise ConfigError("at most 128 recipients, and a passphrase beside none", "say who shall open it: to=[...]")
    return entries


def _replace(handle: int, head: Head, newest: tuple[int, Slot], entries: Sequence[Entry], file_key: memoryview) -> None:
    """Writes the slot over the other copy, then over the newest."""
    used, length = slots_of.used_by(entries), head.layout.slot_len
    if used > length:
        raise ConfigError(
            f"{head.where}: {len(entries)} recipients take {used} bytes, its slots have {length}",
            "write a copy with longer slots: output=FILE",
        )
    place, before = newest
    if before.generation >= LAST:
        raise ConfigError(f"{head.where}: its generations are used up", "action=rotate makes a new file of it")
    slot = slots_of.encode(entries, before.generation + 1, file_key=file_key, preamble=head.preamble, bound=head.bound)
    for target in (1 - place, place):
        _overwrite(handle, head.layout.slots + target * length, slot, head.where)


def _overwrite(handle: int, at: int, slot: bytes, where: str) -> None:
    """One copy: marked as being written, its bytes, the mark taken off again, each on disk before the next."""
    marked = slot[:MARK_AT] + MARK + slot[MARK_AT + 1 :]
    for offset, part in ((MARK_AT, MARK), (0, marked), (MARK_AT, b"\0")):
        with naming(where):
            _write_at(handle, part, at + offset)
            os.fdatasync(handle)


def _check_named(handle: int, path: Path) -> None:
    """Raises Unreadable where `path` has become another file meanwhile, which has the old recipients."""
    with naming(path):
        mine, there = os.fstat(handle), os.stat(path)
    if (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino):
        raise Unreadable(f"{path}: was replaced by another file meanwhile", "look who did, and rewrap that one")


def _write_at(handle: int, data: bytes, at: int) -> None:
    while data:
        written = os.pwrite(handle, data, at)
        data, at = data[written:], at + written


def _copy(handle: int, head: Head, entries: Sequence[Entry], file_key: memoryview, output: Path) -> None:
    """A file with the same payload, list and signature, and slots with room for one recipient more."""
    spare = 0 if entries[0].kind == PASSPHRASE else ENTRY.size + len(entries[0].blob)
    preamble = replace(head.preamble, slot_len=layouts.slot_len_for(slots_of.used_by(entries) + spare))
    layout = layouts.layout_of(preamble, head.core)
    slot = slots_of.encode(entries, 1, file_key=file_key, preamble=preamble, bound=head.bound)
    start = (preamble.encode() + head.core.encode()).ljust(layout.slots, b"\0")
    with publishing(output) as target:
        write_all(target, start + slot + slot)
        at, end = head.layout.payload, head.layout.size
        while at < end:
            copied = os.sendfile(target, handle, at, end - at)
            if not copied:
                raise Damaged(f"{head.where}: became shorter while it was being read", FRESH)
            at += copied
