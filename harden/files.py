"""Files that are never half-written: a temporary name in the same folder, synced, then renamed. And digests."""

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harden.errors import HardenError

CHUNK = 1 << 20


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which it replaces when the block ends without an exception.

    Readers see the old file or the new one, never a part. Raises HardenError where the disk is full
    or the folder cannot be written; the temporary file is gone then.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise _unwritable(path, error) from error
    part = Path(name)
    try:
        yield part
        sync(part)
        part.chmod(0o666 & ~_umask())  # mkstemp makes 0600; a result file follows the user's umask
        part.replace(path)
        sync(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        part.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """`data` at `path`, whole or not at all."""
    with replacing(path) as part:
        part.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """`value` as JSON with sorted keys, so that equal values give equal bytes. Refuses NaN and infinity."""
    write_bytes(path, (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode())


@contextmanager
def alone(folder: Path, busy: str = "another process is working here") -> Iterator[None]:
    """Inside, no other process works in `folder`; HardenError, saying `busy`, where one does already."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise HardenError(f"{folder}: {busy}", "wait for it or stop it") from error
        yield
    finally:
        os.close(handle)


def canonical_json(value: Any) -> bytes:
    """The one spelling of `value` that digests are taken over."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def sha256_of(path: Path) -> str:
    """SHA-256 of the file's bytes, in hex, read in constant memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Has the file or folder on the disk, and not in a cache alone, when it returns."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _unwritable(path: Path, error: OSError) -> HardenError:
    reason = (error.strerror or str(error)).lower()
    return HardenError(f"{path}: cannot be written: {reason}", "free space or choose another folder")
