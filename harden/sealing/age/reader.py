"""Reading age files, binary or armored, in constant memory. No byte is handed out before its tag was checked."""

import io
from collections.abc import Sequence
from typing import Any, BinaryIO

from harden.errors import ConfigError, SealError
from harden.sealing.age import payload
from harden.sealing.age.armor import unarmored
from harden.sealing.age.classical import SCRYPT, Passphrase
from harden.sealing.age.faults import AGAIN, BadHeader, NoMatch, naming
from harden.sealing.age.header import Header, parse
from harden.sealing.age.hybrid import KIND
from harden.sealing.age.spelling import Identity


class AgeReader(io.RawIOBase):
    """The plaintext of the age file in `source`, as a file to read, once and in order.

    Read to the end: that what is missing is missing shows there. A read returns fewer bytes than it was asked for only
    at the end. Errors begin with `name`. `binary_bytes`, the size of the age file without armor, if it is known, makes
    `plaintext_bytes` known. Closing clears the buffers and leaves `source` open.
    """

    def __init__(
        self, source: BinaryIO, identities: Sequence[Identity], *, name: str = "", binary_bytes: int | None = None
    ) -> None:
        self._fault: SealError | None = None
        self._rest, self._name = memoryview(b""), name
        if not identities:
            raise ConfigError("no identity to open an age file with", "give a key or a passphrase")
        with naming(name):
            intake = unarmored(source)
            header = parse(intake)
            file_key = _unlocked(header, identities)
            nonce = intake.take(payload.NONCE_BYTES)
            if len(nonce) < payload.NONCE_BYTES:
                raise BadHeader("header: the file ends right behind it", AGAIN)
            self._chunks = payload.ChunkOpener(intake, file_key, nonce)
        self.recipients: tuple[str, ...] = tuple(stanza.kind.decode("ascii") for stanza in header.stanzas)
        self._sealed = None if binary_bytes is None else binary_bytes - header.size - payload.NONCE_BYTES

    @property
    def post_quantum(self) -> bool:
        """Whether every recipient is of the post-quantum type. If not, the file is as weak as the weakest of them."""
        return set(self.recipients) == {KIND.decode()}

    @property
    def plaintext_bytes(self) -> int | None:
        """How many bytes there are to read, unless the file was cut, as far as its size is known."""
        if self._sealed is None:
            return None
        with naming(self._name):
            return payload.plaintext_bytes(self._sealed)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fills `buffer`, as far as there is plaintext. Raises BadPayload or BadArmor, again at every further read."""
        self._refuse_closed()
        view, count = memoryview(buffer).cast("B"), 0
        while count < len(view) and (self._rest or self._advance()):
            piece = self._rest[: len(view) - count]
            view[count : count + len(piece)] = piece
            count, self._rest = count + len(piece), self._rest[len(piece) :]
        return count

    def drain(self, target: payload.Target) -> int:
        """Writes what is left to `target`, and says how many bytes. Genuine chunks before the damage come out too."""
        self._refuse_closed()
        total = len(self._rest)
        payload.write_all(target, self._rest)
        self._rest = memoryview(b"")
        while (chunk := self._next()) is not None:
            payload.write_all(target, chunk)
            total += len(chunk)
        return total

    def close(self) -> None:
        """Clears the plaintext that is held."""
        if hasattr(self, "_chunks"):  # a file object is closed even where opening failed
            self._chunks.clear()
        self._rest = memoryview(b"")
        super().close()

    def _refuse_closed(self) -> None:
        if self.closed:
            raise ValueError("this age file is closed")

    def _advance(self) -> bool:
        """Whether there was a next chunk. One that something is wrong behind is not handed out here: whoever reads
        just as many bytes as there should be would never learn of it."""
        chunk = self._next()
        if self._fault is not None:
            self._next()
        self._rest = memoryview(b"") if chunk is None else chunk
        return chunk is not None

    def _next(self) -> memoryview | None:
        with naming(self._name):
            if self._fault is not None:
                self._chunks.clear()
                raise self._fault
            if self._chunks.ended:
                return None
            try:
                chunk, self._fault = self._chunks.next()
            except SealError as fault:  # of the payload, or of the armor around it
                self._fault = fault
                self._chunks.clear()
                raise
        return chunk


def decrypt(source: BinaryIO, target: payload.Target, identities: Sequence[Identity]) -> int:
    """Writes the plaintext of the age file in `source` to `target`, and says how many bytes that were.

    Of a damaged file, the genuine chunks before the damage are written before this raises: let nobody use `target`
    until it returns.
    """
    with AgeReader(source, identities) as reader:
        return reader.drain(target)


def _unlocked(header: Header, identities: Sequence[Identity]) -> bytes:
    for identity in identities:
        if (file_key := identity.unwrap(header.stanzas)) is not None:
            header.verify(file_key)
            return file_key
    kinds = [stanza.kind for stanza in header.stanzas]
    if kinds == [SCRYPT]:
        wrong = any(isinstance(identity, Passphrase) for identity in identities)
        raise NoMatch("the passphrase does not fit" if wrong else "no key fits; a passphrase opens it")
    raise NoMatch(f"no key fits; it was sealed for {len(kinds)} {'recipient' if len(kinds) == 1 else 'recipients'}")
