"""The payload on its way to disk: encrypted by `cryptography`, hashed a MiB at a time, in constant memory."""

import os
from collections.abc import Iterator
from pathlib import Path

from cryptography.cobblestone import Cobblestone256Encryptor

from harden.sealing.ciphertext import WINDOW
from harden.sealing.errors import Unreadable
from harden.sealing.layout import LEAF, payload_length
from harden.sealing.leaves import Digests, hashing
from harden.sealing.publish import naming, stream_out

Source = Iterator[memoryview]
"""Plaintext in order, in pieces of any size; a piece is good until the next is asked for."""

SPAN = WINDOW * LEAF
ROOM = LEAF + LEAF // 1024 + 16_456
"""What `update_into` wants for a MiB: the head, 16 bytes a chunk, and a chunk held back."""


def write_payload(handle: int, source: Source, size: int, key: bytes, context: bytes, digest: str) -> bytes:
    """Encrypts `source`, `size` bytes, to where `handle` stands; the hash list, one digest after the other.

    A buffer is hashed and written while the other is filled.
    """
    encryptor = Cobblestone256Encryptor(key, context)
    buffers = [memoryview(bytearray(SPAN + ROOM)) for _ in range(2)]
    pending: list[Digests] = []
    done, filled, leaves = 0, 0, bytearray()
    with hashing(digest, -(-payload_length(size) // LEAF)) as begin:
        for piece in _cut(source):
            filled += encryptor.update_into(piece, buffers[0][filled:])
            done += len(piece)
            if filled >= SPAN:
                leaves += b"".join(digests() for digests in pending)  # the other buffer is free from here on
                pending = [begin(buffers[0][:SPAN])]
                stream_out(handle, buffers[0][:SPAN])
                filled -= SPAN
                buffers[1][:filled] = buffers[0][SPAN : SPAN + filled]
                buffers.reverse()
        if done != size:
            raise ValueError(f"the source gave {done} bytes, wanted {size}")
        rest = memoryview(bytes(buffers[0][:filled]) + encryptor.finalize())
        stream_out(handle, rest)
        leaves += b"".join(digests() for digests in [*pending, begin(rest)])
    return bytes(leaves)


def _cut(source: Source) -> Source:
    """The same plaintext in pieces of up to a MiB."""
    for piece in source:
        for at in range(0, len(piece), LEAF):
            yield piece[at : at + LEAF]


def from_file(handle: int, size: int, path: Path) -> Source:
    """The `size` bytes of an open file; Unreadable where they have become more or fewer meanwhile."""
    buffer, at = memoryview(bytearray(LEAF)), 0
    while at < size:
        with naming(path):
            got = os.preadv(handle, [buffer[: min(LEAF, size - at)]], at)
        if not got:
            break
        yield buffer[:got]
        at += got
    with naming(path):
        more = os.pread(handle, 1, size)
    if at < size or more:
        raise Unreadable(f"{path}: changed while it was being read", "wait until whoever writes it is done")


def from_memory(data: memoryview) -> Source:
    """The bytes of `data`."""
    yield data
