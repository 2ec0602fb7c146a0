"""Where a record goes: which store is meant, and whether it can be had.

MLflow itself takes 100 s to give up on a broken SQLite file and minutes on a dead server (3.17, read);
the checks here answer within seconds.
"""

import fcntl
import http.client
import os
import re
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from harden.errors import ConfigError, LedgerError

SQLITE = "sqlite:///"
SERVERS = ("http", "https")
DATABASES = ("postgresql", "mysql", "mssql")
PROBE_SECONDS = 3.0
LOCK_SECONDS = 5.0
OPENING_SECONDS = 60.0
ELSEWHERE = "close what holds it, move it away, or record elsewhere"


@dataclass(frozen=True)
class Place:
    """A store. artefacts: where new experiments put their files, None where the server decides."""

    uri: str
    artefacts: Path | None

    @property
    def is_server(self) -> bool:
        """Whether it is reached over HTTP."""
        return urlsplit(self.uri).scheme in SERVERS

    @property
    def database(self) -> Path | None:
        """The SQLite file, None for any other store."""
        return Path(self.uri.removeprefix(SQLITE)) if self.uri.startswith(SQLITE) else None


def local_place(folder: Path) -> Place:
    """The SQLite store inside `folder`."""
    return _sqlite_place(folder / "mlflow.db")


def place_of(uri: str, folder: Path) -> Place:
    """The store that `uri` names. Raises ConfigError for what MLflow cannot open (a bare path, `file:`)."""
    scheme = urlsplit(uri).scheme
    if uri.startswith(SQLITE) and uri.removeprefix(SQLITE) not in ("", ":memory:"):
        return _sqlite_place(Path(uri.removeprefix(SQLITE)))
    if scheme in SERVERS:
        return Place(uri, None)
    if scheme.partition("+")[0] in DATABASES:
        return Place(uri, folder.absolute() / "mlartifacts")
    raise ConfigError(
        f"tracking uri: got {masked(uri)!r}, wanted {SQLITE}<file>, http(s)://<server> or none",
        f"a folder of files is no store since mlflow 3.13; write {SQLITE}<folder>/mlflow.db",
    )


def unreachable(uri: str) -> str | None:
    """Why the server at `uri` does not answer within `PROBE_SECONDS`, None where it does."""
    parts = urlsplit(uri)
    # urllib takes no user:password@; /health asks for none, also under mlflow's basic-auth
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], path=parts.path.rstrip("/") + "/health")
    try:
        with urllib.request.urlopen(bare.geturl(), timeout=PROBE_SECONDS):
            return None
    except urllib.error.HTTPError as error:
        return f"it answers {error.code}" if error.code >= 500 else None
    except (OSError, http.client.HTTPException, ValueError) as error:
        return reason_of(error)


def check_sqlite(path: Path) -> None:
    """Nothing, where `path` is or can become a SQLite file that we may write; else LedgerError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
            database.execute("ROLLBACK")
    except (OSError, sqlite3.Error) as error:
        raise LedgerError(f"{path}: cannot be used as tracking store: {reason_of(error)}", ELSEWHERE) from error


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Inside, no other process of ours opens a store in `folder`.

    Two runs that meet at a new SQLite file would both create its tables, and one would fail. The lock sits
    on the folder itself, so that it leaves no file behind.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(handle, folder)
        yield
    finally:
        os.close(handle)


def masked(text: str) -> str:
    """`text` without the passwords that URIs in it carry."""
    text = re.sub(r"://[^/\s]+@", "://***@", text)
    return re.sub(r"([?&;](?:password|pwd|token|secret)=)[^&;\s]+", r"\1***", text, flags=re.IGNORECASE)


def reason_of(error: BaseException) -> str:
    """The first line of what went wrong, short and without passwords."""
    inner = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    lines = str(inner).splitlines() or [type(error).__name__]
    return masked(lines[0])[:240].rstrip(" .")


def _sqlite_place(path: Path) -> Place:
    path = path.absolute()
    if "?" in str(path):
        raise ConfigError(f"{path}: a tracking store cannot have '?' in its path", "choose another folder")
    return Place(f"{SQLITE}{path}", path.parent / "mlartifacts")


def _lock(handle: int, folder: Path) -> None:
    end = time.monotonic() + OPENING_SECONDS
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise LedgerError(f"{folder}: another run has been opening its store for too long", ELSEWHERE) from None
            time.sleep(0.05)
        except OSError:
            return None  # a file system without locks (some NFS): two first runs at once may then collide
