"""Key files: `.pub` for everybody, `.key` for one, both canonical JSON.

    {"format":"harden-public/1","kind":"recipient","public":"...","suite":"hybrid"}
    {"format":"harden-secret/1","kind":"signer","protect":"argon2id","public":"...","secret":"...","suite":"hybrid"}

`public` and `secret` are hex; the secret is the seeds, under a passphrase unless `protect` is `none`; that of an
`owner` is a signer's, with 32 bytes behind it that marks in weights are derived from. A secret file that others can
read is refused, and one whose public key is not that of its seeds.
"""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harden.errors import ConfigError
from harden.sealing import canonical
from harden.sealing import passphrase as passphrases
from harden.sealing.derive import label
from harden.sealing.errors import Damaged, UnsafeKeyFile, WrongPassphrase
from harden.sealing.identity import Ask, KeyIdentity, KeyRecipient, key_identity
from harden.sealing.passphrase import Cost
from harden.sealing.provider import Provider
from harden.sealing.publish import PRIVATE, check_free, naming, write_new
from harden.sealing.signing import Signer, SignerKey, signer_of
from harden.sealing.suites import NAMES, Suite

LONGEST = 65_536
RECIPIENT, SIGNER, OWNER = "recipient", "signer", "owner"
KINDS = (RECIPIENT, SIGNER, OWNER)
CARRIER = 32
"""Bytes of an owner's secret behind the seeds of the signatures."""
PUBLIC_FORMAT, SECRET_FORMAT = "harden-public/1", "harden-secret/1"
ARGON2ID, NONE = "argon2id", "none"


@dataclass(frozen=True)
class PublicKey:
    """What a `.pub` file holds. kind: one of `KINDS`."""

    kind: str
    suite: Suite
    public: bytes


@dataclass(frozen=True)
class SecretKey:
    """What a `.key` file holds, unlocked."""

    public: PublicKey
    seed: bytes = field(repr=False)


def generate(kind: str, suite: Suite, provider: Provider) -> SecretKey:
    """A fresh key pair."""
    return _with_public(kind, suite, os.urandom(_seed_size(kind, suite)), provider)


def write_public(path: Path, key: PublicKey) -> None:
    """The `.pub` file; ConfigError where there is one already."""
    fields = {"format": PUBLIC_FORMAT, "kind": key.kind, "public": key.public.hex(), "suite": key.suite.name}
    write_new(path, canonical.encode(fields) + b"\n")


def write_secret(path: Path, key: SecretKey, passphrase: str | None, cost: Cost | None = None) -> None:
    """The `.key` file, mode 0600, under the passphrase if there is one; ConfigError where there is one already."""
    check_free(path, overwrite=False)  # before the expensive part
    public = key.public
    locked = (
        key.seed
        if passphrase is None
        else passphrases.lock(key.seed, passphrase, _info(public), cost or passphrases.COST)
    )
    fields = {
        "format": SECRET_FORMAT,
        "kind": public.kind,
        "protect": NONE if passphrase is None else ARGON2ID,
        "public": public.public.hex(),
        "secret": locked.hex(),
        "suite": public.suite.name,
    }
    write_new(path, canonical.encode(fields) + b"\n", mode=PRIVATE)


def read_public(path: Path, kind: str) -> PublicKey:
    """The public key of this kind in a `.pub` file. Raises Damaged, ConfigError for the other kind, Unreadable."""
    return _public(_fields(_bytes_of(path), path, PUBLIC_FORMAT), path, kind)


def read_secret(path: Path, kind: str, ask: Ask, provider: Provider) -> SecretKey:
    """The key pair of this kind in a `.key` file; `ask` is called where it has a passphrase.

    Raises UnsafeKeyFile, WrongPassphrase, Damaged, ConfigError for the other kind, Unreadable.
    """
    fields = _fields(_bytes_of(path, private=True), path, SECRET_FORMAT)
    public = _public(fields, path, kind)
    key = _with_public(kind, public.suite, _unlocked(fields, public, path, ask), provider)
    if key.public != public:
        raise Damaged(f"{path}: its public key is not that of its secret", "it was changed: use a copy")
    return key


def recipient_of(path: Path, provider: Provider) -> KeyRecipient:
    """The recipient in a `.pub` file; raises as `read_public` does."""
    key = read_public(path, RECIPIENT)
    return KeyRecipient(key.suite, key.public, provider)


def identity_of(path: Path, ask: Ask, provider: Provider) -> KeyIdentity:
    """The identity in a `.key` file; raises as `read_secret` does."""
    key = read_secret(path, RECIPIENT, ask, provider)
    return key_identity(key.public.suite, key.seed, provider)


def signer_key_of(path: Path) -> SignerKey:
    """The signer's public keys in a `.pub` file; raises as `read_public` does."""
    key = read_public(path, SIGNER)
    return SignerKey(key.suite, key.public)


def signer_from(path: Path, ask: Ask, provider: Provider) -> Signer:
    """The signer in a `.key` file; raises as `read_secret` does."""
    key = read_secret(path, SIGNER, ask, provider)
    return signer_of(key.public.suite, key.seed, provider)


def owner_key_of(path: Path) -> SignerKey:
    """The owner's public keys in a `.pub` file; raises as `read_public` does."""
    key = read_public(path, OWNER)
    return SignerKey(key.suite, key.public)


def owner_from(path: Path, ask: Ask, provider: Provider) -> tuple[Signer, bytes]:
    """The signer in an owner's `.key` file, and the secret that marks come from; raises as `read_secret` does."""
    key = read_secret(path, OWNER, ask, provider)
    suite, seed = key.public.suite, key.seed
    return signer_of(suite, seed[: suite.signer_seed], provider), seed[suite.signer_seed :]


def _seed_size(kind: str, suite: Suite) -> int:
    return {RECIPIENT: suite.kem.seed, SIGNER: suite.signer_seed, OWNER: suite.signer_seed + CARRIER}[kind]


def _public_size(kind: str, suite: Suite) -> int:
    return suite.kem.public if kind == RECIPIENT else suite.signer_public


def _with_public(kind: str, suite: Suite, seed: bytes, provider: Provider) -> SecretKey:
    if kind == RECIPIENT:
        public = provider.public_of_kem(suite.kem, seed)
    else:
        public = signer_of(suite, seed[: suite.signer_seed], provider).key.public
    return SecretKey(PublicKey(kind, suite, public), seed)


def _info(public: PublicKey) -> bytes:
    """What a locked secret is bound to."""
    words = f"{public.kind}\0{public.suite.name}\0".encode("ascii")
    return label("key") + words + public.public


def _bytes_of(path: Path, *, private: bool = False) -> bytes:
    with naming(path):
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe must not hold us up
        try:
            found = os.fstat(handle)
            data = os.read(handle, LONGEST + 1) if stat.S_ISREG(found.st_mode) else b""
        finally:
            os.close(handle)
    if private and found.st_mode & 0o077 and data:
        raise UnsafeKeyFile(
            f"{path}: others can read this secret: its mode is {stat.S_IMODE(found.st_mode):04o}, wanted 0600",
            f"chmod 600 {path}, and think about who may have read it: a new key is safer",
        )
    return data


def _fields(data: bytes, path: Path, wanted: str) -> dict[str, Any]:
    try:
        raw = canonical.decode(data.removesuffix(b"\n"))
    except ValueError as error:
        raise Damaged(f"{path}: is not a key file of harden", "harden.keygen makes one") from error
    if raw.get("format") != wanted:
        ask = {PUBLIC_FORMAT: "public (.pub)", SECRET_FORMAT: "secret (.key)"}
        raise ConfigError(f"{path}: wanted a {ask[wanted]} key file", f"it says format {raw.get('format')!r}")
    names = {"format", "kind", "public", "suite"} | ({"protect", "secret"} if wanted == SECRET_FORMAT else set())
    if raw.keys() != names:
        raise Damaged(f"{path}: does not have exactly the fields of {wanted}")
    return raw


def _public(fields: dict[str, Any], path: Path, kind: str) -> PublicKey:
    if fields["kind"] not in KINDS:
        raise Damaged(f"{path}: is a key for {fields['kind']!r}, known are {', '.join(KINDS)}")
    if fields["kind"] != kind:
        raise ConfigError(f"{path}: is the key of a {fields['kind']}, wanted that of a {kind}")
    if not (suite := _suite(fields["suite"])):
        raise Damaged(f"{path}: names the unknown suite {fields['suite']!r}; known: {', '.join(NAMES)}")
    size = _public_size(kind, suite)
    if not canonical.is_hex(fields["public"], size):
        raise Damaged(f"{path}: its public key is not {size} bytes in hex")
    return PublicKey(kind, suite, bytes.fromhex(fields["public"]))


def _suite(name: Any) -> Suite | None:
    return NAMES.get(name) if isinstance(name, str) else None


def _unlocked(fields: dict[str, Any], public: PublicKey, path: Path, ask: Ask) -> bytes:
    size, locked = _seed_size(public.kind, public.suite), fields["secret"]
    readers: dict[Any, tuple[int, Callable[[bytes], bytes | None]]] = {
        NONE: (size, lambda data: data),
        ARGON2ID: (
            size + passphrases.OVERHEAD,
            lambda data: passphrases.unlock(data, ask(str(path)), _info(public), str(path)),
        ),
    }
    if not isinstance(fields["protect"], str) or fields["protect"] not in readers:
        raise Damaged(f"{path}: is protected by {fields['protect']!r}, known are {NONE} and {ARGON2ID}")
    wanted, read = readers[fields["protect"]]
    if not canonical.is_hex(locked, wanted):
        raise Damaged(f"{path}: its secret is not {wanted} bytes in hex")
    seed = read(bytes.fromhex(locked))
    if seed is None:
        raise WrongPassphrase(f"{path}: the passphrase does not open it", "or the file was changed")
    return seed
