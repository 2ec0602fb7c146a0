"""Downloads of public files: several mirrors, interrupted ones taken up again, nothing kept unchecked."""

import http.client
import logging
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path

from harden.data.choice import Progress
from harden.errors import DataError, Untrusted
from harden.files import CHUNK

TIMEOUT = 30.0  # seconds without an answer
ATTEMPTS = 3  # at one mirror, each going on where the last one broke off

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Remote:
    """A public file: what it is called, where it lies, and how it is known."""

    name: str
    urls: tuple[str, ...]
    sha256: str
    digest: Callable[[Path], str]  # of the file as it is, or of its content where mirrors pack differently


class UnreachableError(DataError):
    """No mirror gave the file."""


class _CutShortError(OSError):
    """The connection ended before the file did."""


def fetch(remote: Remote, folder: Path, *, progress: Progress) -> Path:
    """The path of `remote` in `folder`, downloaded from the first mirror that has it.

    A file appears under its name only once whole and checked; a part stays, to be resumed by the next call.
    Raises UnreachableError where no mirror answers, Untrusted (and keeps nothing) on a wrong digest.
    """
    reasons = []
    for url in remote.urls:
        part = _part(folder, remote.name, url)
        try:
            _download(url, part, lambda done, total: progress(remote.name, done, total))
        except (OSError, http.client.HTTPException) as error:
            reasons.append(f"{url}: {_reason(error)}")
            continue
        log.info("downloaded %s", url)
        return _settle(part, remote, folder)
    raise UnreachableError(f"{remote.name}: cannot be downloaded ({'; '.join(reasons)})")


def _part(folder: Path, name: str, url: str) -> Path:
    """Where the unfinished file lies: one for each mirror, as two mirrors' halves need not fit together."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "set HARDEN_DATA to a folder that can be written"
        raise DataError(f"{folder}: cannot be made: {_reason(error)}", hint) from error
    return folder / f".{name}.{sha256(url.encode()).hexdigest()[:8]}.part"


def _download(url: str, part: Path, report: Callable[[int, int | None], None]) -> None:
    for _ in range(ATTEMPTS - 1):
        try:
            return _continue(url, part, report)
        except _CutShortError as error:
            log.info("%s: %s, trying again", url, error)
    return _continue(url, part, report)


def _continue(url: str, part: Path, report: Callable[[int, int | None], None]) -> None:
    """`part` completed from `url`, or fetched anew where the server does not give what is missing."""
    done = part.stat().st_size if part.exists() else 0
    try:
        with _open(url, done) as answer:
            resumed = answer.status == HTTPStatus.PARTIAL_CONTENT
            if resumed and not answer.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
                raise OSError("the server sent another range than asked for")
            _copy(answer, part, done if resumed else 0, report)
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        part.unlink()  # as long as the file or longer, so it cannot be continued
        raise _CutShortError("the part on disk does not fit") from error


def _open(url: str, done: int) -> http.client.HTTPResponse:
    headers = {"User-Agent": "harden"} | ({"Range": f"bytes={done}-"} if done else {})
    answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    if not isinstance(answer, http.client.HTTPResponse):
        answer.close()
        raise OSError("wanted an http or https address")
    return answer


def _copy(answer: http.client.HTTPResponse, part: Path, start: int, report: Callable[[int, int | None], None]) -> None:
    """The answer's body written to `part` from byte `start` on. Raises _CutShortError where it ends early."""
    total = None if answer.length is None else start + answer.length
    with part.open("r+b" if start else "wb") as file:
        file.seek(start)
        while chunk := answer.read(CHUNK):
            file.write(chunk)
            report(file.tell(), total)
        done = file.tell()
    if total is not None and done < total:
        raise _CutShortError(f"the connection ended after {done} of {total} bytes")


def _settle(part: Path, remote: Remote, folder: Path) -> Path:
    try:
        got = remote.digest(part)
    except (OSError, EOFError, ValueError) as error:
        got = f"unreadable content ({error})"
    if got != remote.sha256:
        part.unlink()
        raise Untrusted(
            f"{remote.name}: downloaded file has sha256 {got}, wanted {remote.sha256}; it was deleted",
            "a proxy or login page may have answered: try again, or bring the file and use data.root=FOLDER",
        )
    return part.replace(folder / remote.name)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"http {error.code}"
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    text = inner.strerror if isinstance(inner, OSError) and inner.strerror else str(inner)
    return text.lower() or type(inner).__name__.lower()
