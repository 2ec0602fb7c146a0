"""A slot: who can open the file. There are two copies, A and B, so that a rewrap that dies leaves one whole.

    slot  = u64 generation | u16 count | u8 mark | u8 0 | u32 0 | entries | zeros | tag 64
    entry = u16 type | u16 0 | u32 length | blob

A slot that is being written says so: its mark is `WRITING`, and nothing else in it counts. Every other slot must be
whole, down to the last zero and the tag; so a reader can tell a rewrap cut short from a change.
"""

import hmac
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from harden.sealing.derive import slot_key, slot_tag
from harden.sealing.errors import Damaged
from harden.sealing.layout import Preamble
from harden.sealing.suites import Suite

HEADER = struct.Struct(">QHBBI")
ENTRY = struct.Struct(">HHI")
TAG = 64
MOST = 128
"""Entries of a slot."""

WRITING = 0xFF
"""The mark of a slot that is being written; 0 in all others. One byte, as no crash can tear it."""
MARK_AT = 10
LAST = 2**63
"""The highest generation."""

PUBLIC_KEY, PASSPHRASE, SPLIT, RELEASE = 1, 2, 3, 4
"""Types of entries: HPKE to a public key; Argon2id; shared between a key file and a token; attested release."""
LONGEST_FOREIGN = 8192
"""Bytes of the longest blob of types 3 and 4, whose inside belongs to their adapters."""
PASSPHRASE_BLOB = 76


@dataclass(frozen=True)
class Entry:
    """One way to the file key: what an identity unwraps."""

    kind: int
    blob: bytes


@dataclass(frozen=True)
class Slot:
    """The entries of one copy. `body`: its bytes without the tag."""

    generation: int
    entries: tuple[Entry, ...]
    body: bytes
    tag: bytes

    def is_whole(self, file_key: bytes | memoryview, preamble: Preamble, bound: bytes) -> bool:
        """Whether the tag is the one that this file key makes."""
        return hmac.compare_digest(self.tag, slot_tag(slot_key(file_key, bound), preamble, bound, self.body))


def used_by(entries: Sequence[Entry]) -> int:
    """Bytes that a slot needs for `entries`."""
    return HEADER.size + sum(ENTRY.size + len(entry.blob) for entry in entries) + TAG


def encode(
    entries: Sequence[Entry], generation: int, *, file_key: bytes | memoryview, preamble: Preamble, bound: bytes
) -> bytes:
    """The slot, `preamble.slot_len` bytes; the entries must fit, see `used_by`."""
    head = HEADER.pack(generation, len(entries), 0, 0, 0)
    packed = (ENTRY.pack(entry.kind, 0, len(entry.blob)) + entry.blob for entry in entries)
    body = (head + b"".join(packed)).ljust(preamble.slot_len - TAG, b"\0")
    return body + slot_tag(slot_key(file_key, bound), preamble, bound, body)


def decode(data: bytes, suite: Suite, where: str) -> Slot | None:
    """The slot in these bytes, its tag not yet checked; None for one that is being written.

    Raises Damaged, naming `where`, for bytes that `encode` cannot have written.
    """
    body, tag = data[:-TAG], data[-TAG:]
    generation, count, mark, *zeros = HEADER.unpack_from(body)
    if mark == WRITING:
        return None
    if mark or any(zeros) or not 1 <= count <= MOST or not 1 <= generation <= LAST:
        raise _damaged(where, "has an impossible header")
    entries, at = [], HEADER.size
    for _ in range(count):
        entry, at = _entry(body, at, suite, where)
        entries.append(entry)
    if any(entry.kind == PASSPHRASE for entry in entries) and count > 1:
        raise _damaged(where, "has a passphrase beside other recipients")
    if body[at:].strip(b"\0"):
        raise _damaged(where, "is not filled up with zeros")
    return Slot(generation, tuple(entries), body, tag)


def fits(kind: int, length: int, suite: Suite) -> bool:
    """Whether the blob of an entry of this type may have `length` bytes."""
    exact = {PUBLIC_KEY: suite.kem.blob, PASSPHRASE: PASSPHRASE_BLOB}
    return length == exact[kind] if kind in exact else kind in (SPLIT, RELEASE) and 1 <= length <= LONGEST_FOREIGN


def _entry(body: bytes, at: int, suite: Suite, where: str) -> tuple[Entry, int]:
    """The entry at `at`, and where it ends."""
    if at + ENTRY.size > len(body):
        raise _damaged(where, "ends within an entry")
    kind, zero, length = ENTRY.unpack_from(body, at)
    start = at + ENTRY.size
    if zero or not fits(kind, length, suite):
        raise _damaged(where, f"has an impossible entry: type {kind}, {length} bytes")
    if start + length > len(body):
        raise _damaged(where, "ends within an entry")
    return Entry(kind, body[start : start + length]), start + length


def _damaged(where: str, what: str) -> Damaged:
    return Damaged(f"{where} {what}", "the file was changed: get a fresh copy")
