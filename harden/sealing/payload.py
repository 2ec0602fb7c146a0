"""The payload: Cobblestone-256 of c2sp.org/chunked-encryption.

    key 32 | base nonce 12 | commitment 32 = HKDF-Expand-SHA512(input key, label | salt 24 | context)
    payload = salt | commitment | chunks;  chunk i = AES-256-GCM(key, base nonce XOR i, 16 KiB of plaintext)

The library writes it, and reads it from end to end; it cannot seek, so any range is decrypted here, straight to its
place. A leaf of the hash list is checked before tags, on the same copy of the bytes: see `ciphertext`.
"""

import hmac
from collections.abc import Iterator
from dataclasses import dataclass, field

from cryptography.cobblestone import Cobblestone256Decryptor
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from harden.sealing.ciphertext import ROOM, WINDOW, Ciphertext
from harden.sealing.derive import expand
from harden.sealing.layout import CHUNK, HEAD, LEAF, SEALED_CHUNK, Layout
from harden.sealing.memory import secret_memory

SALT = 24
INFO = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0"

SPARE = CHUNK + 16
"""Bytes that the library's reader wants beyond what it is given, for a chunk that it held back."""


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
        self.layout, self.size = layout, size
        self.ciphertext = Ciphertext(handle, layout, leaves, digest, where)
        self.last = size // CHUNK
        self._keys: ChunkKeys | None = None
        self._key, self._context = b"", b""

    def unlock(self, key: bytes, context: bytes) -> None:
        """Checks the commitment, and the last chunk, which fixes the length; Damaged where one is wrong."""
        head = bytearray(HEAD)
        self.ciphertext.read(0, memoryview(head))
        keys = chunk_keys(key, bytes(head[:SALT]), context)
        if not hmac.compare_digest(keys.commitment, head[SALT:]):
            raise self.ciphertext.damaged("its commitment is not that of the file key")
        self._keys, self._key, self._context = keys, key, context
        start, end = self._span(self.last)
        sealed = memoryview(bytearray(end - start))
        self.ciphertext.read(start, sealed)
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

    def whole(self) -> memoryview:
        """All of the plaintext, each byte checked, in memory that no core dump holds."""
        decryptor, at = Cobblestone256Decryptor(self._key, self._context), 0
        plain = secret_memory(self.size + SPARE)
        for start, view in self.ciphertext.windows(0, self.layout.leaves):
            at += self._decrypted(decryptor, start, view[ROOM:], plain[at:])
        return plain[: self.size]

    def pieces(self) -> Iterator[memoryview]:
        """All of the plaintext, in pieces of up to a window, each checked; a view is good until the next.

        By the library's own reader, which takes a whole window in one call.
        """
        decryptor = Cobblestone256Decryptor(self._key, self._context)
        plain = secret_memory(WINDOW * LEAF + SPARE)
        try:
            for start, view in self.ciphertext.windows(0, self.layout.leaves):
                if filled := self._decrypted(decryptor, start, view[ROOM:], plain):
                    yield plain[:filled]
        finally:
            plain[:] = bytes(len(plain))

    def check_leaves(self) -> None:
        """Nothing if every leaf of the hash list is that of its MiB; Damaged at the first that is not."""
        self.ciphertext.check()

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
            dirty = into[: len(sealed) + SPARE]
            dirty[:] = bytes(len(dirty))
            what = f"a tag in MiB {start // LEAF} or the {WINDOW} behind it is wrong"
            raise self.ciphertext.damaged(what) from None
        return filled

    def _span(self, chunk: int) -> tuple[int, int]:
        """Where the sealed chunk begins and ends in the payload."""
        start = HEAD + chunk * SEALED_CHUNK
        return start, min(start + SEALED_CHUNK, self.layout.payload_len)

    def _chunks(self, first: int, last: int) -> Iterator[tuple[int, memoryview]]:
        """The sealed chunks from `first` to `last`, their leaves checked; a view is good until the next."""
        at, cut_off = first, b""
        start, stop = self._span(first)[0], self._span(last)[1]
        for base, buffer in self.ciphertext.windows(start // LEAF, -(-stop // LEAF)):
            origin = base - ROOM  # of the buffer: before the window is room for a chunk that was cut off
            buffer[ROOM - len(cut_off) : ROOM] = cut_off
            while at <= last and self._span(at)[1] <= origin + len(buffer):
                low, high = self._span(at)
                yield at, buffer[low - origin : high - origin]
                at += 1
            cut_off = bytes(buffer[self._span(at)[0] - origin :]) if at <= last else b""

    def _open(self, chunk: int, sealed: memoryview, into: memoryview) -> None:
        """Decrypts a chunk to its place."""
        assert self._keys is not None, "unlock comes first"
        if not opened_in_place(self._keys.aead, self._keys.nonce(chunk), sealed, into):
            raise self.ciphertext.damaged(f"the tag of chunk {chunk} is wrong")


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
