"""age files by path: out of a file or a stream, into a file or a stream, whole or not at all."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from harden.errors import HardenError
from harden.sealing.age.armor import LOOK, is_armored, unarmored
from harden.sealing.age.faults import naming
from harden.sealing.age.hybrid import HybridRecipient
from harden.sealing.age.intake import Intake, pouring
from harden.sealing.age.payload import CHUNK, Target, write_all
from harden.sealing.age.reader import AgeReader
from harden.sealing.age.spelling import Identity
from harden.sealing.age.writer import AgeWriter, encrypt
from harden.sealing.publish import ORDINARY, PRIVATE, check_free, publishing

LOST_ON_EXPORT = (
    "an age file keeps the weights and who may read them; it has no signature, no bound facts, no epoch, "
    "no key commitment, and ChaCha20-Poly1305 in place of AES-256-GCM"
)
"""What a door says when it exports."""


@dataclass(frozen=True)
class Imported:
    """What came out of an age file: facts to judge it by, since the file itself does not say who made it."""

    sha256: str
    plaintext_bytes: int
    recipients: tuple[str, ...]
    post_quantum: bool


@contextmanager
def exporting(output: Path, recipients: Sequence[HybridRecipient]) -> Iterator[AgeWriter]:
    """What to write plaintext to; `output` appears when the block ends without an exception, and never otherwise."""
    with _publishing(output, ORDINARY) as file:
        writer = AgeWriter(file, recipients)
        try:
            yield writer
            writer.finish()
        finally:
            writer.discard()


@contextmanager
def importing(source: Path, identities: Sequence[Identity]) -> Iterator[AgeReader]:
    """What to read plaintext from; `plaintext_bytes` is known beforehand if `source` is an ordinary file.

    Armored files are decoded once more for that. Errors begin with the file's name.
    """
    size = _binary_bytes(source)
    with _reading(source) as file, AgeReader(file, identities, name=str(source), binary_bytes=size) as reader:
        yield reader


def export_age(source: Path, output: Path, recipients: Sequence[HybridRecipient]) -> int:
    """Makes `output`, an age file with the content of `source`, and says how many bytes of plaintext that were."""
    with _reading(source) as file, _publishing(output, ORDINARY) as target:
        return encrypt(file, target, recipients)


def import_age(
    source: Path, output: Path, identities: Sequence[Identity], *, check: Callable[[Imported], None]
) -> Imported:
    """Makes `output`, for its owner's eyes only, with the plaintext of the age file `source`.

    Nobody signs an age file: `check` is called when the last chunk has passed and before `output` gets its name, and
    raises `Untrusted` unless something else, such as a signed manifest, vouches for the digest.
    """
    with (
        _reading(source) as file,
        AgeReader(file, identities, name=str(source)) as reader,
        _publishing(output, PRIVATE) as result,
    ):
        target = _Hashed(result)
        count = reader.drain(target)
        imported = Imported(target.sha256.hexdigest(), count, reader.recipients, reader.post_quantum)
        check(imported)
    return imported


@contextmanager
def _publishing(path: Path, mode: int) -> Iterator[BinaryIO]:
    """A file to write, which gets the name `path` when the block ends well, and never replaces another."""
    check_free(path, overwrite=False, hint="it is not replaced: choose another name or remove it")
    with publishing(path, mode=mode) as handle, os.fdopen(handle, "wb", closefd=False) as file:
        yield file


class _Hashed:
    """A target that takes the digest of what passes through it."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.sha256 = hashlib.sha256()

    def write(self, data: memoryview, /) -> int:
        self.sha256.update(data)
        write_all(self._target, data)
        return len(data)


class _Source:
    """A file to read whose errors name it, so that they are not taken for those of the output."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path = file, path

    def readinto(self, view: Any) -> int:
        try:
            return cast("int", self._file.readinto(view))  # type: ignore[attr-defined]
        except OSError as error:
            raise _unreadable(self._path, error) from error


@contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    try:
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise _unreadable(path, error) from error
    with file:
        yield cast("BinaryIO", _Source(file, path))


def _binary_bytes(path: Path) -> int | None:
    """The size of the age file at `path` without its armor; None for a pipe, which can be read only once."""
    with _reading(path) as file:
        if not path.is_file():
            return None
        intake = Intake(pouring(file))
        if not is_armored(intake.peek(LOOK)):
            return path.stat().st_size
    with _reading(path) as file, naming(str(path)):
        intake, scratch = unarmored(file), memoryview(bytearray(CHUNK))
        return sum(iter(lambda: intake.fill(scratch), 0))


def _unreadable(path: Path, error: OSError) -> HardenError:
    return HardenError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}")
