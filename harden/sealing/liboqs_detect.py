"""Whether liboqs can be had, found out without importing `oqs`; and an import of it that can start nothing.

`import oqs` (liboqs-python 0.16.0.1, read) looks for the native library, and where none loads it counts down, clones
liboqs with git, builds it with cmake and ends the process with SystemExit; no setting turns that off. PyPI's `oqs` is
a stranger's package of the same name. So, in this order: the distribution, and its files by the digests in RECORD;
which file `import oqs` would run; the library, loaded by absolute path from the folders that the import looks into,
and its version. Only what has passed may be imported, `supervised`.

`ctypes.util.find_library` is not asked: it runs ldconfig, gcc and ld (40 ms). A library that the system installed is
found by its prefix, OQS_INSTALL_PATH=/usr/local.
"""

import base64
import ctypes
import hashlib
import importlib.util
import io
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from harden.errors import MissingExtra

DISTRIBUTION = "liboqs-python"
WANTED = "0.16"
NEEDED = {"oqs/__init__.py", "oqs/oqs.py"}
"""What `import oqs` runs; RECORD must have a digest of each."""

REFUSED = {
    *("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "pty.spawn"),
    *("socket.__new__", "socket.connect", "socket.getaddrinfo", "tempfile.mkdtemp"),
}
"""Audit events that end a supervised import. The installer's first step is a temporary folder, before its countdown."""

HINT = (
    "pip install 'harden[oqs]', then liboqs 0.16 as a shared library in ~/_oqs/lib or $OQS_INSTALL_PATH/lib"
    " (docs/liboqs.md); or leave sealing.provider=cryptography: the files are the same"
)


@dataclass(frozen=True)
class Found:
    """What may be imported: the file that `import oqs` runs first, and the library that it will load."""

    package: Path
    library: Path


def find() -> Found:
    """The package and the library, both checked. Raises MissingExtra; starts nothing, prints nothing."""
    return Found(_package(), _library())


def missing(reason: str) -> MissingExtra:
    """The error that says what is not here, and the way out."""
    return MissingExtra(f"sealing.provider=oqs: {reason}", HINT)


@contextmanager
def supervised() -> Iterator[None]:
    """Inside, this thread can start no process and open no socket, and what it prints goes nowhere.

    The wrapper's calls of find_library fail by that too, which it passes over: it then loads the file checked before.
    """
    _arm()
    logging.getLogger("oqs.oqs").disabled = True  # it would also reach the root's handlers
    _watch.on = True
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        _watch.on = False


def _package() -> Path:
    try:
        distribution = metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        raise missing(f"the package {DISTRIBUTION} is not installed") from None
    if not _fits(distribution.version):
        raise missing(f"{DISTRIBUTION} is {distribution.version}, wanted {WANTED}")
    _check_digests(distribution)
    package = Path(str(distribution.locate_file("oqs/__init__.py"))).resolve()
    first = _first_on_path()
    if first != package:
        raise missing(f"`import oqs` would run {first}, which is not {DISTRIBUTION}'s")
    return package


def _check_digests(distribution: metadata.Distribution) -> None:
    """Raise unless every Python file of `oqs` is the one that was installed."""
    files = [file for file in distribution.files or [] if file.parts[:1] == ("oqs",) and file.suffix == ".py"]
    unlisted = NEEDED - {file.as_posix() for file in files if file.hash}
    if unlisted:
        raise missing(f"{DISTRIBUTION} cannot be checked: its RECORD has no digest of {', '.join(sorted(unlisted))}")
    for file in files:
        if not file.hash or _digest(Path(str(file.locate())), file.hash.mode) != file.hash.value:
            raise missing(f"{file.locate()} is not the file that {DISTRIBUTION} installed")


def _digest(path: Path, algorithm: str) -> str:
    """The digest of a file as RECORD spells it; empty where the file or the algorithm cannot be had."""
    try:
        digest = hashlib.new(algorithm, path.read_bytes()).digest()
    except (OSError, ValueError):
        return ""
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def _first_on_path() -> Path | None:
    """The file that `import oqs` would run, or did run."""
    loaded = sys.modules.get("oqs")
    if loaded is not None:
        origin = getattr(loaded, "__file__", None)
    else:
        spec = importlib.util.find_spec("oqs")
        origin = spec.origin if spec else None
    return Path(origin).resolve() if origin else None


def _library() -> Path:
    """liboqs.so by absolute path; the first there is must load and be of the wanted version."""
    paths = [folder / "liboqs.so" for folder in _folders()]
    for path in paths:
        if path.is_file():
            _check_library(path)
            return path
    raise missing(f"there is no {' and no '.join(map(str, paths))}")


def _folders() -> list[Path]:
    """Where the wrapper looks, beside the system's own folders."""
    try:
        prefix = Path(os.environ["OQS_INSTALL_PATH"]) if "OQS_INSTALL_PATH" in os.environ else Path.home() / "_oqs"
    except RuntimeError as error:
        raise missing(f"there is no home folder to look into: {error}") from None
    return [(prefix / name).absolute() for name in ("lib", "lib64")]


def _check_library(path: Path) -> None:
    try:
        version = ctypes.CDLL(str(path)).OQS_version
    except OSError as error:
        raise missing(f"{path} cannot be loaded: {' '.join(str(error).split())}") from None
    except AttributeError:
        raise missing(f"{path} is no liboqs: it has no OQS_version") from None
    version.restype = ctypes.c_char_p
    found = (version() or b"").decode("ascii", "replace")
    if not _fits(found):
        raise missing(f"{path} is liboqs {found}, wanted {WANTED}")


def _fits(version: str) -> bool:
    return version.split("-")[0].startswith(WANTED + ".")


_watch = threading.local()
_armed = threading.Lock()  # taken once and never given back: an audit hook cannot be removed


class Stopped(BaseException):
    """A supervised import was about to start a process or to reach the network."""


def _arm() -> None:
    if _armed.acquire(blocking=False):
        sys.addaudithook(_stop)


def _stop(event: str, _arguments: tuple[Any, ...]) -> None:
    if event in REFUSED and getattr(_watch, "on", False):
        raise Stopped(event)
