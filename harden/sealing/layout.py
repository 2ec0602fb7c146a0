"""Where everything lies: the preamble, and every offset and length that follows from it and the core.

There is nothing to search and nothing that could contradict: any other file size is damage. Integers big-endian.
"""

import struct
from dataclasses import dataclass

from harden.errors import ConfigError
from harden.sealing import core as cores
from harden.sealing.core import Core
from harden.sealing.errors import Damaged, NotSealed, UnknownVersion
from harden.sealing.suites import Suite, suite_of

MAGIC = b"\x89HSF\r\n\x1a\n"  # as PNG's: a text-mode copy breaks it at once
VERSION = 1
PREAMBLE = struct.Struct(">8sHHIIIQ")
BLOCK = 512
LEAST_SLOT, LARGEST_SLOT = 3 * BLOCK, 512 * BLOCK

CHUNK = 16_384
"""Plaintext bytes of a chunk of the payload."""
SEALED_CHUNK = CHUNK + 16
HEAD = 24 + 32
"""Bytes of the payload before its first chunk: salt and commitment."""

LEAF = 1 << 20
"""Payload bytes that one digest of the hash list stands for."""


@dataclass(frozen=True)
class Preamble:
    """The first 32 bytes. Lengths in bytes."""

    suite: Suite
    core_len: int
    slot_len: int

    def encode(self, *, slot_len: int | None = None) -> bytes:
        """The bytes; with `slot_len` in the place of its own, as the digest H wants 0 there."""
        length = self.slot_len if slot_len is None else slot_len
        return PREAMBLE.pack(MAGIC, VERSION, self.suite.number, self.core_len, length, 0, 0)


def decode(data: bytes, where: str) -> Preamble:
    """The preamble in the first bytes of a file; NotSealed, UnknownVersion or Damaged for all others."""
    if data[: len(MAGIC)] != MAGIC:
        raise NotSealed(f"{where}: is not a sealed file", "harden.seal makes one")
    if len(data) < PREAMBLE.size:
        raise Damaged(f"{where}: is cut off in the preamble: {len(data)} of {PREAMBLE.size} bytes")
    _, version, number, core_len, slot_len, *zeros = PREAMBLE.unpack(data[: PREAMBLE.size])
    if version != VERSION:
        raise UnknownVersion(f"{where}: version {version} is unknown; this reads {VERSION}", "a later harden may")
    suite = suite_of(number, where)
    if any(zeros) or not 1 <= core_len <= cores.LONGEST or not is_slot_len(slot_len):
        raise Damaged(f"{where}: the preamble has impossible lengths", "the file was changed: get a fresh copy")
    return Preamble(suite, core_len, slot_len)


def is_slot_len(length: int) -> bool:
    """Whether a slot may take `length` bytes."""
    return LEAST_SLOT <= length <= LARGEST_SLOT and length % BLOCK == 0


def slot_len_for(used: int) -> int:
    """The shortest slot that holds `used` bytes; ConfigError where none does."""
    length = max(LEAST_SLOT, _padded(used))
    if not is_slot_len(length):
        raise ConfigError(f"the recipients take {used} bytes, a slot holds {LARGEST_SLOT}", "seal for fewer")
    return length


@dataclass(frozen=True)
class Layout:
    """Offsets from the start of the file and lengths, in bytes."""

    slots: int
    slot_len: int
    payload: int
    payload_len: int
    leaves: int
    list_len: int
    signature: int
    signature_len: int

    @property
    def size(self) -> int:
        """The one size that the file has."""
        return self.signature + self.signature_len


def layout_of(preamble: Preamble, core: Core) -> Layout:
    """Where the parts of the file with this preamble and core lie."""
    slots = _padded(PREAMBLE.size + preamble.core_len)
    payload = slots + 2 * preamble.slot_len
    payload_len = payload_length(core.plaintext_bytes)
    leaves = -(-payload_len // LEAF)
    end = payload + payload_len
    list_len = leaves * preamble.suite.digest_size
    signature_len = preamble.suite.signature if core.signer else 0
    return Layout(slots, preamble.slot_len, payload, payload_len, leaves, list_len, end + list_len, signature_len)


def payload_length(plaintext: int) -> int:
    """Bytes of the payload of `plaintext` bytes; the last chunk is always short, and may be empty."""
    return HEAD + plaintext + 16 * (plaintext // CHUNK + 1)


def _padded(length: int) -> int:
    return -(-length // BLOCK) * BLOCK
