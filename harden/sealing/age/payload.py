"""The payload of an age file: 64 KiB chunks, each with a tag, by ChaCha20-Poly1305 (C2SP age.md, "Payload").

A nonce counts the chunks and marks the last, so that a cut, a swap or an addition breaks a tag (STREAM, Hoang et al.
2015, eprint 2015/189).
"""

from errno import EAGAIN
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from harden.sealing.age.faults import AGAIN, BadPayload
from harden.sealing.age.intake import Intake

CHUNK, TAG, NONCE_BYTES = 64 << 10, 16, 16
SEALED_CHUNK = CHUNK + TAG


class Target(Protocol):
    """What takes bytes in order: a file that is open for writing, or whatever else has `write`."""

    def write(self, data: memoryview, /) -> int | None:
        """Takes `data`, or its first bytes, and says how many."""


class ChunkSealer:
    """Chunks go in one by one, the last of them marked; what is sealed goes to `target`."""

    def __init__(self, target: Target, file_key: bytes, nonce: bytes) -> None:
        self._target = target
        self._aead = ChaCha20Poly1305(_payload_key(file_key, nonce))
        self._sealed = memoryview(bytearray(SEALED_CHUNK))
        self._index = 0

    def seal(self, chunk: memoryview, *, last: bool) -> None:
        """Writes `chunk`, of 64 KiB unless it is the last, with its tag."""
        sealed = self._sealed[: len(chunk) + TAG]
        self._aead.encrypt_into(_nonce(self._index, last=last), chunk, None, sealed)
        self._index += 1
        write_all(self._target, sealed)


class ChunkOpener:
    """Takes chunks from `intake`, in order. What is handed out was authenticated, and lies in one reused buffer."""

    def __init__(self, intake: Intake, file_key: bytes, nonce: bytes) -> None:
        self._intake = intake
        self._aead = ChaCha20Poly1305(_payload_key(file_key, nonce))
        self._sealed = memoryview(bytearray(SEALED_CHUNK))
        self._plain = memoryview(bytearray(CHUNK))
        self._number = 0
        self.ended = False

    def next(self) -> tuple[memoryview, BadPayload | None]:
        """The next chunk, and what is known to be wrong behind it. Raises BadPayload where the chunk itself is.

        A full chunk that is the last by its tag, yet not by its place, or the other way round, is genuine: so it is
        handed out with the fault, for whoever streams.
        """
        count = self._intake.fill(self._sealed)
        self.ended = not self._intake.peek(1)
        self._number += 1
        if self._opens(count, last=self.ended):
            return self._checked(count), None
        if count == SEALED_CHUNK and self._opens(count, last=not self.ended):
            what = "cut short, the file ends behind" if self.ended else "the file goes on behind its last chunk,"
            return self._plain, self._fault(what)
        raise self._fault("changed or cut short in" if count else "cut short, the file ends before")

    def clear(self) -> None:
        """Forgets the plaintext of the chunk that was handed out last."""
        self._plain[:] = bytes(CHUNK)

    def _opens(self, count: int, *, last: bool) -> bool:
        if count < TAG:
            return False
        nonce, plain = _nonce(self._number - 1, last=last), self._plain[: count - TAG]
        try:
            self._aead.decrypt_into(nonce, self._sealed[:count], None, plain)
        except InvalidTag:
            self.clear()  # the plaintext that failed the check is in the buffer already (measured, cryptography 50.0.2)
            return False
        return True

    def _checked(self, count: int) -> memoryview:
        if count == TAG and self._number > 1:
            raise self._fault("nothing is in the last chunk,")
        return self._plain[: count - TAG]

    def _fault(self, what: str) -> BadPayload:
        return BadPayload(f"payload: {what} chunk {self._number}", AGAIN)


def plaintext_bytes(sealed: int) -> int:
    """How many bytes a payload of `sealed` bytes, without its nonce, opens to. Raises BadPayload for no such length.

    True once the last chunk was opened: a cut at a chunk's border has a good length too.
    """
    chunks = max(1, -(-sealed // SEALED_CHUNK))
    last = sealed - (chunks - 1) * SEALED_CHUNK
    if last < TAG + (chunks > 1):
        raise BadPayload(f"payload: cut short, {sealed} bytes are no whole number of chunks", AGAIN)
    return sealed - chunks * TAG


def write_all(target: Target, data: memoryview) -> None:
    """`data` goes to `target`, in several pieces where it takes less at once, as unbuffered files may."""
    while data:
        taken = target.write(data)
        if not taken:
            raise BlockingIOError(EAGAIN, "the target took nothing")
        data = data[taken:]


def _payload_key(file_key: bytes, nonce: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=nonce, info=b"payload").derive(file_key)


def _nonce(index: int, *, last: bool) -> bytes:
    return index.to_bytes(11, "big") + bytes([last])
