"""What older age files are sealed for, X25519 and passphrases: read here, never written.

C2SP age.md, "The X25519 recipient type" and "The scrypt recipient type".
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from harden.sealing.age.encoding import from_unpadded
from harden.sealing.age.faults import AGAIN, BadHeader
from harden.sealing.age.header import Stanza
from harden.sealing.errors import Refused

X25519, SCRYPT = b"X25519", b"scrypt"
IDENTITY = "AGE-SECRET-KEY-"

MOST_WORK = 20
"""2^20 takes 1 GiB and some seconds; age itself writes 2^18, whoever asks for more wants to stop us."""

_KEY_BYTES, _BODY_BYTES, _SALT_BYTES = 32, 32, 16
_NONCE = bytes(12)  # every wrapping key is used once


@dataclass(frozen=True)
class X25519Identity:
    """The 32 secret bytes of an AGE-SECRET-KEY-1..."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != _KEY_BYTES:
            raise ValueError(f"the key has {len(self.secret)} bytes, wanted {_KEY_BYTES}")

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes | None:
        """The file key, or None where no stanza is for this identity. Raises BadHeader for a malformed stanza."""
        key = X25519PrivateKey.from_private_bytes(self.secret)
        wanted = [(_share(stanza), stanza.body) for stanza in stanzas if stanza.kind == X25519]
        return next(filter(None, (_open(_wrapping_key(key, share), body) for share, body in wanted)), None)


@dataclass(frozen=True)
class Passphrase:
    """What a person types to open a file that `age -p` made."""

    secret: bytes = field(repr=False)

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes | None:
        """The file key, or None where it is another passphrase. Raises BadHeader for a malformed stanza."""
        wanted = [(*_salt_and_work(stanza), stanza.body) for stanza in stanzas if stanza.kind == SCRYPT]
        return next(filter(None, (_open(self._stretched(salt, work), body) for salt, work, body in wanted)), None)

    def _stretched(self, salt: bytes, work: int) -> bytes:
        salt = b"age-encryption.org/v1/scrypt" + salt
        try:
            return Scrypt(salt=salt, length=_KEY_BYTES, n=1 << work, r=8, p=1).derive(self.secret)
        except MemoryError as error:
            raise Refused(f"its passphrase needs {1 << work >> 10} MiB of memory", "free memory") from error


def _share(stanza: Stanza) -> bytes:
    share = _argument(stanza, count=2)
    if len(share) != _KEY_BYTES or len(stanza.body) != _BODY_BYTES:
        raise _malformed(stanza)
    return share


def _salt_and_work(stanza: Stanza) -> tuple[bytes, int]:
    salt = _argument(stanza, count=3)
    if len(salt) != _SALT_BYTES or len(stanza.body) != _BODY_BYTES:
        raise _malformed(stanza)
    if not re.fullmatch(rb"[1-9][0-9]*", stanza.arguments[2]):
        raise _malformed(stanza)
    if len(stanza.arguments[2]) > 2 or int(stanza.arguments[2]) > MOST_WORK:
        raise BadHeader(
            f"header: its passphrase asks for more than 2^{MOST_WORK} rounds of scrypt, wanted at most that",
            "age itself writes 2^18; if you trust the file, open it with age",
        )
    return salt, int(stanza.arguments[2])


def _argument(stanza: Stanza, *, count: int) -> bytes:
    if len(stanza.arguments) != count:
        raise _malformed(stanza)
    try:
        return from_unpadded(stanza.arguments[1])
    except ValueError as error:
        raise _malformed(stanza) from error


def _malformed(stanza: Stanza) -> BadHeader:
    return BadHeader(f"header: a malformed {stanza.kind.decode('ascii')} stanza", AGAIN)


def _wrapping_key(key: X25519PrivateKey, share: bytes) -> bytes:
    try:
        secret = key.exchange(X25519PublicKey.from_public_bytes(share))
    except ValueError as error:  # a share of low order makes the secret zero
        raise BadHeader("header: an X25519 stanza with a share of low order", AGAIN) from error
    salt = share + key.public_key().public_bytes_raw()
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=salt, info=b"age-encryption.org/v1/X25519").derive(secret)


def _open(key: bytes, body: bytes) -> bytes | None:
    try:
        return ChaCha20Poly1305(key).decrypt(_NONCE, body, None)
    except InvalidTag:
        return None
