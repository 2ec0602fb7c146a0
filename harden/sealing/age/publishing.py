"""A new file that appears whole or not at all, and never in place of another.

While it is written it has no name at all where the system can do that (O_TMPFILE), so that even a killed process leaves
no plaintext behind.
"""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from harden.errors import ConfigError, HardenError

_NO_NAMELESS = {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL}
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}
_PROC = "/proc/self/fd"


@contextmanager
def publishing(path: Path, *, mode: int) -> Iterator[BinaryIO]:
    """A file to write, which gets the name `path` when the block ends without an exception.

    `mode` is cut by the user's mask. Raises ConfigError where `path` exists, HardenError where it cannot be written.
    """
    if os.path.lexists(path):
        raise _exists(path)
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = _open(path, mode)
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(handle)
            _name(handle, part, path)
        _sync(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def _open(path: Path, mode: int) -> tuple[int, Path | None]:
    """A descriptor to write to, and the temporary name, if it has one."""
    nameless = getattr(os, "O_TMPFILE", 0)
    if nameless and os.path.isdir(_PROC):
        try:
            return os.open(path.parent, nameless | os.O_WRONLY | os.O_CLOEXEC, mode), None
        except OSError as error:
            if error.errno not in _NO_NAMELESS:
                raise
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    return os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode), part


def _name(handle: int, part: Path | None, path: Path) -> None:
    """Raises ConfigError, rather than to replace what came into being meanwhile."""
    try:
        if part is None:
            os.link(f"{_PROC}/{handle}", path, src_dir_fd=handle, follow_symlinks=True)  # else Python follows no link
        else:
            os.link(part, path)
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        if part is None or error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):  # a file system without hard links: the last moment we can look
            raise _exists(path) from error
        part.rename(path)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _exists(path: Path) -> ConfigError:
    return ConfigError(f"{path}: exists already, and is not replaced", "choose another name or remove it")


def _unwritable(path: Path, error: OSError) -> HardenError:
    reason = (error.strerror or str(error)).lower()
    return HardenError(f"{path}: cannot be written: {reason}", "free space or choose another folder")
