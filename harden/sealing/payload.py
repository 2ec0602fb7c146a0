"""The payload: Cobblestone-256 of c2sp.org/chunked-encryption.

    key 32 | base nonce 12 | commitment 32 = HKDF-Expand-SHA512(input key, label | salt 24 | context)
    payload = salt | commitment | chunks;  chunk i = AES-256-GCM(key, base nonce XOR i, 16 KiB of plaintext)

The library writes it, and reads it from end to end; it cannot seek, so any range is decrypted here, straight to its
place. A leaf of the hash list is checked before tags, on the same copy of the bytes; the file is read, never mapped.
"""

import hmac
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from cryptography.cobblestone import Cobblestone256Decryptor
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from harden.sealing.derive import expand
from harden.sealing.errors import Damaged
from harden.sealing.layout import CHUNK, HEAD, LEAF, SEALED_CHUNK, Layout
from harden.sealing.leaves import Digests, Hashing, hashing
from harden.sealing.publish import naming

SALT = 24
INFO = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0"
WINDOW = 4
"""Leaves that are read and hashed at a time, while those before are decrypted."""


@dataclass(frozen=True)
class ChunkKeys:
    """What opens the chunks of one payload."""

    aead: AESGCM = field(repr=False)
    base_nonce: int = field(repr=False)
    commitment: bytes

    def nonce(self, chunk: int) -> bytes:
        """The nonce of a chunk."""
        return (self.base_nonce ^ chunk).to_bytes(12, "big")


def chunk_keys(key: bytes, salt: bytes, context: bytes) -> ChunkKeys:
    """What the input key (32 bytes), the salt of the payload and the context (H) make."""
    made = expand(key, INFO + salt + context, 32 + 12 + 32)
    return ChunkKeys(AESGCM(made[:32]), int.from_bytes(made[32:44], "big"), made[44:])


class Payload:
    """The plaintext of an open file, by offset.

    `leaves` are the digests of the hash list, one after the other. `size`: bytes of plaintext.
    """

    def __init__(self, handle: int, layout: Layout, size: int, leaves: bytes, digest: str, where: str) -> None:
        self.handle, self.layout, self.size, self.where = handle, layout, size, where
        self.leaves, self.digest = leaves, digest
        self.last = size // CHUNK
        self._keys: ChunkKeys | None = None
        self._key, self._context = b"", b""

    def unlock(self, key: bytes, context: bytes) -> None:
        """Checks the commitment, and the last chunk, which fixes the length; Damaged where one is wrong."""
        head = bytearray(HEAD)
        self._read(0, memoryview(head))
        keys = chunk_keys(key, bytes(head[:SALT]), context)
        if not hmac.compare_digest(keys.commitment, head[SALT:]):
            raise self._damaged("its commitment is not that of the file key")
        self._keys, self._key, self._context = keys, key, context
        start, end = self._span(self.last)
        sealed = memoryview(bytearray(end - start))
        self._read(start, sealed)
        plain = memoryview(bytearray(len(sealed) - 16))
        self._open(self.last, sealed, plain)
        plain[:] = bytes(len(plain))

    def read_into(self, start: int, into: memoryview) -> None:
        """Fills `into` with the plaintext from `start` on; on failure it holds zeros where nothing was checked."""
        if not len(into):
            return
        stop, scratch = start + len(into), memoryview(bytearray(CHUNK))
        for index, sealed in self._chunks(start // CHUNK, (stop - 1) // CHUNK):
            at = index * CHUNK
            size = len(sealed) - 16
            if start <= at and at + size <= stop:
                self._open(index, sealed, into[at - start : at - start + size])
                continue
            self._open(index, sealed, scratch[:size])
            low, high = max(start, at), min(stop, at + size)
            into[low - start : high - start] = scratch[low - at : high - at]
        scratch[:] = bytes(CHUNK)

    def pieces(self) -> Iterator[memoryview]:
        """All of the plaintext, in pieces of up to a window, each checked; a view is good until the next.

        By the library's own reader, which takes a whole window in one call.
        """
        decryptor = Cobblestone256Decryptor(self._key, self._context)
        plain = memoryview(bytearray(WINDOW * LEAF + SEALED_CHUNK))
        for start, view in self._windows(0, self.layout.leaves):
            if filled := self._decrypted(decryptor, start, view[SEALED_CHUNK:], plain):
                yield plain[:filled]
        plain[:] = bytes(len(plain))

    def _decrypted(self, decryptor: Cobblestone256Decryptor, start: int, sealed: memoryview, into: memoryview) -> int:
        """Decrypts the window that begins at `start`, and after the last one the end; how many bytes there are.

        What the library has written before it found a wrong tag is cleared.
        """
        try:
            filled = decryptor.update_into(sealed, into)
            if start + len(sealed) == self.layout.payload_len:
                end = decryptor.finalize()
                into[filled : filled + len(end)] = end
                filled += len(end)
        except InvalidTag:
            into[:] = bytes(len(into))
            raise self._damaged(f"a tag in MiB {start // LEAF} or the {WINDOW} behind it is wrong") from None
        return filled

    def check_leaves(self) -> None:
        """Nothing if every leaf of the hash list is that of its MiB; Damaged at the first that is not."""
        for _ in self._windows(0, self.layout.leaves):
            pass

    def _span(self, chunk: int) -> tuple[int, int]:
        """Where the sealed chunk begins and ends in the payload."""
        start = HEAD + chunk * SEALED_CHUNK
        return start, min(start + SEALED_CHUNK, self.layout.payload_len)

    def _chunks(self, first: int, last: int) -> Iterator[tuple[int, memoryview]]:
        """The sealed chunks from `first` to `last`, their leaves checked; a view is good until the next."""
        at, cut_off = first, b""
        start, stop = self._span(first)[0], self._span(last)[1]
        for base, buffer in self._windows(start // LEAF, -(-stop // LEAF)):
            origin = base - SEALED_CHUNK  # of the buffer: before the window is room for a chunk that was cut off
            buffer[SEALED_CHUNK - len(cut_off) : SEALED_CHUNK] = cut_off
            while at <= last and self._span(at)[1] <= origin + len(buffer):
                low, high = self._span(at)
                yield at, buffer[low - origin : high - origin]
                at += 1
            cut_off = bytes(buffer[self._span(at)[0] - origin :]) if at <= last else b""

    def _windows(self, first: int, end: int) -> Iterator[tuple[int, memoryview]]:
        """(offset in the payload, buffer) of the checked leaves from `first` to before `end`, in order.

        The buffer has `SEALED_CHUNK` bytes of room before them, and is good until the next one is asked for.
        """
        starts = range(first, end, WINDOW)
        room = SEALED_CHUNK + min(WINDOW, end - first) * LEAF
        buffers = [memoryview(bytearray(room)) for _ in starts[:2]]
        with hashing(self.digest, end - first) as begin:
            ahead = self._begin(first, end, buffers[0], begin)
            for number, start in enumerate(starts):
                (view, digests), following = ahead, start + WINDOW
                if following < end:
                    ahead = self._begin(following, end, buffers[(number + 1) % 2], begin)
                self._check(start, digests())
                yield start * LEAF, view

    def _begin(self, start: int, end: int, buffer: memoryview, begin: Hashing) -> tuple[memoryview, Digests]:
        """Reads the leaves of the window at `start` into `buffer` and begins to hash them."""
        stop = min((min(start + WINDOW, end)) * LEAF, self.layout.payload_len)
        view = buffer[: SEALED_CHUNK + stop - start * LEAF]
        self._read(start * LEAF, view[SEALED_CHUNK:])
        return view, begin(view[SEALED_CHUNK:])

    def _check(self, first: int, digests: bytes) -> None:
        size = len(self.leaves) // self.layout.leaves
        wanted = self.leaves[first * size : first * size + len(digests)]
        if digests == wanted:
            return
        wrong = next(at for at in range(0, len(digests), size) if digests[at : at + size] != wanted[at : at + size])
        raise self._damaged(f"MiB {first + wrong // size} of it is not what the hash list says")

    def _open(self, chunk: int, sealed: memoryview, into: memoryview) -> None:
        """Decrypts a chunk to its place."""
        assert self._keys is not None, "unlock comes first"
        if not opened_in_place(self._keys.aead, self._keys.nonce(chunk), sealed, into):
            raise self._damaged(f"the tag of chunk {chunk} is wrong")

    def _read(self, start: int, into: memoryview) -> None:
        """Fills `into` from the payload at `start`."""
        read_exactly(self.handle, self.layout.payload + start, into, self.where)

    def _damaged(self, what: str) -> Damaged:
        return Damaged(f"{self.where}: the payload: {what}", "the file was changed: get a fresh copy")


def opened_in_place(aead: AESGCM, nonce: bytes, sealed: memoryview, into: memoryview, aad: bytes | None = None) -> bool:
    """Whether `sealed` is authentic; if so `into`, 16 bytes shorter, holds what it says, and zeros if not.

    The library raises only after it has written: 16,383 bytes of a chunk are there that nobody vouches for.
    """
    try:
        aead.decrypt_into(nonce, sealed, aad, into)
    except InvalidTag:
        into[:] = bytes(len(into))
        return False
    return True


def read_exactly(handle: int, offset: int, into: memoryview, where: str) -> None:
    """Fills `into` from the file at `offset`; Damaged where it ends before, Unreadable where the system refuses."""
    while into:
        with naming(where):
            got = os.preadv(handle, [into], offset)
        if not got:
            raise Damaged(f"{where}: became shorter while it was being read", "get a fresh copy")
        into, offset = into[got:], offset + got
