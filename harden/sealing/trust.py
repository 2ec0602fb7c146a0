"""Whom to believe: one signer's public key, or a trust store that also remembers what it has seen.

    {"format":"harden-trust/1","seen":{SIGNER:{MODEL_ID:{"epoch":3,"h":"...","root":"..."}}},
     "signers":{SIGNER:{"public":"...","status":"active","suite":"hybrid"}}}

Keys are never taken from the file they judge. The store is a file of its owner's: whoever can write it can undo it.
"""

import fcntl
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from harden.sealing import canonical, keyfiles
from harden.sealing.errors import Damaged, RolledBack, UnknownSigner, Unreadable, UnsafeKeyFile
from harden.sealing.publish import PRIVATE, naming, write_new
from harden.sealing.signing import SignerKey
from harden.sealing.suites import NAMES

logger = logging.getLogger(__name__)

FORMAT = "harden-trust/1"
ACTIVE, RETIRED = "active", "retired"
LONGEST = 16 << 20
PATIENCE = 10.0
"""Seconds that a lock is waited for."""


@dataclass(frozen=True)
class Seen:
    """The highest epoch of a model that has been opened: H and the root of its hash list, in hex."""

    epoch: int
    h: str
    root: str


class Trust(Protocol):
    """What opening asks: which key a signer has, and whether a file may follow what was seen before."""

    def key(self, signer: str, where: str) -> SignerKey:
        """The public keys of the signer with this id; UnknownSigner where it is not trusted."""

    def check(self, signer: str, model_id: str, now: Seen, where: str) -> None:
        """RolledBack where a later epoch, or another file of this one, has been seen."""

    def advance(self, signer: str, model_id: str, now: Seen, where: str) -> None:
        """Remembers `now`, after everything about the file has been checked; raises as `check` does."""


@dataclass(frozen=True)
class OneSigner:
    """Trust in the holder of one `.pub`; remembers nothing, so it cannot notice an older epoch."""

    signer: SignerKey

    def key(self, signer: str, where: str) -> SignerKey:
        """The key, where the id is its own."""
        if signer != self.signer.id:
            raise _unknown(where, signer, f"trusted is {self.signer.id}")
        return self.signer

    def check(self, signer: str, model_id: str, now: Seen, where: str) -> None:
        """Nothing."""

    def advance(self, signer: str, model_id: str, now: Seen, where: str) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Contents:
    """What a trust store holds: signers by id, and for each signer what was seen by model id."""

    signers: Mapping[str, tuple[SignerKey, str]] = field(default_factory=dict)
    seen: Mapping[str, Mapping[str, Seen]] = field(default_factory=dict)


@dataclass(frozen=True)
class TrustStore:
    """A trust store on disk, read anew for each question. `allow_rollback`: older epochs pass, with a warning."""

    path: Path
    allow_rollback: bool = False

    def key(self, signer: str, where: str) -> SignerKey:
        """The key of a signer that is in the store and active."""
        signers = read_store(self.path).signers
        if signer not in signers:
            raise _unknown(where, signer, f"{self.path} trusts {len(signers)} signers, not this one")
        key, status = signers[signer]
        if status != ACTIVE:
            raise UnknownSigner(f"{where}: its signer {signer} is retired in {self.path}", "have it sealed anew")
        return key

    def check(self, signer: str, model_id: str, now: Seen, where: str) -> None:
        """Compares with the highest epoch seen."""
        self._compare(read_store(self.path), signer, model_id, now, where)

    def advance(self, signer: str, model_id: str, now: Seen, where: str) -> None:
        """Raises the highest epoch seen, never lowers it."""
        with _locked(self.path):
            contents = read_store(self.path)
            self._compare(contents, signer, model_id, now, where)
            models = contents.seen.get(signer, {})
            if (before := models.get(model_id)) is None or before.epoch < now.epoch:
                seen = {**contents.seen, signer: {**models, model_id: now}}
                write_store(self.path, replace(contents, seen=seen))

    def _compare(self, contents: Contents, signer: str, model_id: str, now: Seen, where: str) -> None:
        before = contents.seen.get(signer, {}).get(model_id)
        if before is None or now.epoch > before.epoch or now == before:
            return
        kind = f"epoch {now.epoch}, seen before: {before.epoch}"
        if now.epoch == before.epoch:
            kind = f"another file of epoch {now.epoch} than the one seen before"
        if not self.allow_rollback:
            raise RolledBack(f"{where}: model {model_id}: {kind}", "if it is meant: allow_rollback=true")
        logger.warning("%s: model %s: %s: let through, as asked", where, model_id, kind)


def trust_of(path: Path, *, allow_rollback: bool = False) -> Trust:
    """The trust in a signer's `.pub`, or the trust store, at `path`, whichever it is."""
    if _raw(path)[0].get("format") == FORMAT:
        return TrustStore(path, allow_rollback)
    return OneSigner(keyfiles.signer_key_of(path))


def read_store(path: Path) -> Contents:
    """What the trust store at `path` holds. Raises Damaged, UnsafeKeyFile where others can write it, Unreadable."""
    raw, found = _raw(path)
    if (mode := found.st_mode) & 0o022:
        raise UnsafeKeyFile(f"{path}: others can change whom you trust: its mode is {mode & 0o777:04o}", "chmod 600 it")
    if found.st_uid not in (os.geteuid(), 0):
        raise UnsafeKeyFile(f"{path}: user {found.st_uid} can change whom you trust", "have a trust store of your own")
    try:
        if raw.keys() != {"format", "seen", "signers"} or raw["format"] != FORMAT:
            raise ValueError("not the fields of a trust store")
        signers = {name: _signer(name, one) for name, one in raw["signers"].items()}
        seen = {name: {model: _seen(one) for model, one in models.items()} for name, models in raw["seen"].items()}
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise Damaged(f"{path}: is not a trust store: {error}", "keygen action=trust makes one") from error
    return Contents(signers, seen)


def write_store(path: Path, contents: Contents) -> None:
    """Replaces the trust store at `path`, mode 0600."""
    signers = {
        name: {"public": key.public.hex(), "status": status, "suite": key.suite.name}
        for name, (key, status) in contents.signers.items()
    }
    seen = {name: {model: vars(one) for model, one in models.items()} for name, models in contents.seen.items()}
    text = canonical.encode({"format": FORMAT, "seen": seen, "signers": signers})
    write_new(path, text + b"\n", mode=PRIVATE, overwrite=True)


def with_signers(path: Path, *, add: Mapping[str, SignerKey], retire: Mapping[str, SignerKey]) -> Contents:
    """Adds and retires signers in the store at `path`, which is made where there is none; what it then holds."""
    if not os.path.exists(path):
        write_new(path, canonical.encode({"format": FORMAT, "seen": {}, "signers": {}}) + b"\n", mode=PRIVATE)
    with _locked(path):
        contents = read_store(path)
        changed = {name: (key, ACTIVE) for name, key in add.items()}
        changed |= {name: (key, RETIRED) for name, key in retire.items()}
        contents = replace(contents, signers={**contents.signers, **changed})
        write_store(path, contents)
    return contents


def _signer(name: str, one: Mapping[str, Any]) -> tuple[SignerKey, str]:
    suite = NAMES[one["suite"]]
    key = SignerKey(suite, bytes.fromhex(one["public"]))
    if one.keys() != {"public", "status", "suite"} or one["status"] not in (ACTIVE, RETIRED):
        raise ValueError(f"signer {name} has wrong fields")
    if len(key.public) != suite.signer_public or key.id != name:
        raise ValueError(f"signer {name} has another key than its id says")
    return key, one["status"]


def _seen(one: Mapping[str, Any]) -> Seen:
    seen = Seen(**one)
    sizes = {suite.digest_size for suite in NAMES.values()}
    roots = any(canonical.is_hex(seen.root, size) for size in sizes)
    if not (canonical.is_count(seen.epoch) and canonical.is_hex(seen.h, 64) and roots):
        raise ValueError("an epoch has wrong fields")
    return seen


def _raw(path: Path) -> tuple[dict[str, Any], os.stat_result]:
    """What the file says, and whose it is."""
    with naming(path):
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            found = os.fstat(handle)
            data = file.read(LONGEST + 1)
    try:
        return canonical.decode(data.removesuffix(b"\n")), found
    except ValueError as error:
        raise Damaged(f"{path}: is neither a public key nor a trust store", "keygen makes both") from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Inside, no other process changes the store. The lock is on the file, which is then another one: look again."""
    began = time.monotonic()
    while True:
        with naming(path):
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with naming(path):
                taken = _is_taken(handle, path)
            if taken:
                yield
                return
        finally:
            os.close(handle)
        if time.monotonic() - began > PATIENCE:
            raise Unreadable(f"{path}: another process holds its lock", "wait for it or stop it")
        time.sleep(0.02)


def _is_taken(handle: int, path: Path) -> bool:
    """Whether the lock is ours, and on the file that `path` still names."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        mine, there = os.fstat(handle), os.stat(path)
    except (BlockingIOError, FileNotFoundError):
        return False
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)


def _unknown(where: str, signer: str, why: str) -> UnknownSigner:
    return UnknownSigner(
        f"{where}: its signer {signer} is not trusted: {why}", "add its key only if you know whose it is"
    )
