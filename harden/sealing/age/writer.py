"""Writing age files, in constant memory, for post-quantum recipients only.

age.md asks not to seal one file for hybrid and for classical recipients, since the weakest decides: so there is no way
to name a classical one here.
"""

import secrets
from collections.abc import Sequence
from typing import BinaryIO

from harden.errors import ConfigError
from harden.sealing.age import header
from harden.sealing.age.hybrid import HybridRecipient
from harden.sealing.age.intake import pouring
from harden.sealing.age.payload import CHUNK, NONCE_BYTES, ChunkSealer, Target, write_all

MOST_RECIPIENTS = 128


class AgeWriter:
    """Plaintext goes in by `write`, in pieces of any size; an age file comes out at `target`.

    Only `finish` makes the file whole: what was abandoned before reads as cut short, by design and by no accident of
    garbage collection. Raises ConfigError unless there are 1 to 128 recipients.
    """

    def __init__(self, target: Target, recipients: Sequence[HybridRecipient]) -> None:
        if not 1 <= len(recipients) <= MOST_RECIPIENTS:
            raise ConfigError(f"got {len(recipients)} recipients, wanted 1 to {MOST_RECIPIENTS}")
        file_key, nonce = secrets.token_bytes(header.KEY_BYTES), secrets.token_bytes(NONCE_BYTES)
        start = header.render([recipient.wrap(file_key) for recipient in recipients], file_key)
        write_all(target, memoryview(start + nonce))
        self._sealer: ChunkSealer | None = ChunkSealer(target, file_key, nonce)
        self._held = memoryview(bytearray(CHUNK))
        self._count = 0

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Takes all of `data`, and says so."""
        view = memoryview(data).cast("B")
        taken = 0
        while taken < len(view):
            if self._count == CHUNK:  # more is to come, so it is not the last
                self._flush(last=False)
            piece = view[taken : taken + CHUNK - self._count]
            self._held[self._count : self._count + len(piece)] = piece
            self._count += len(piece)
            taken += len(piece)
        return taken

    def finish(self) -> None:
        """Seals the last chunk; then nothing more can be written."""
        self._flush(last=True)
        self.discard()

    def discard(self) -> None:
        """Forgets what was held back; the file stays cut short unless it was finished."""
        self._held[:] = bytes(CHUNK)
        self._sealer = None

    def _flush(self, *, last: bool) -> None:
        if self._sealer is None:
            raise ValueError("this age file is finished or was given up")
        sealer, self._sealer = self._sealer, None  # given up, should the target fail
        sealer.seal(self._held[: self._count], last=last)
        self._sealer, self._count = sealer, 0


def encrypt(source: BinaryIO, target: Target, recipients: Sequence[HybridRecipient]) -> int:
    """Writes what `source` holds to `target` as an age file, and says how many bytes of plaintext that were."""
    writer = AgeWriter(target, recipients)
    pour, buffer, total = pouring(source), memoryview(bytearray(CHUNK)), 0
    try:
        while count := pour(buffer):
            total += writer.write(buffer[:count])
        writer.finish()
    finally:
        buffer[:] = bytes(CHUNK)
        writer.discard()
    return total
