"""The post-quantum recipient of age: X-Wing, that is ML-KEM-768 and X25519 together, by HPKE.

C2SP age.md, "The MLKEM768-X25519 (i.e. X-Wing) hybrid post-quantum recipient type"; draft-ietf-hpke-pq-03 for the KEM.
The file key stays secret while one of the two holds. It is the only type that is written here.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from harden.errors import MissingExtra
from harden.sealing.age import bech32
from harden.sealing.age.encoding import from_unpadded, unpadded
from harden.sealing.age.faults import AGAIN, BadHeader
from harden.sealing.age.header import Stanza

KIND = b"mlkem768x25519"
RECIPIENT, IDENTITY = "age1pq", "AGE-SECRET-KEY-PQ-"
SEED_BYTES, PUBLIC_BYTES, ENC_BYTES, BODY_BYTES = 32, 1216, 1120, 32

_INFO = b"age-encryption.org/mlkem768x25519"
_MLKEM_PUBLIC, _MLKEM_CIPHERTEXT, _MLKEM_SEED = 1184, 1088, 64


@dataclass(frozen=True)
class HybridRecipient:
    """Somebody to write to: the public key, ML-KEM's 1184 bytes before X25519's 32. ValueError for a bad key."""

    public: bytes

    def __post_init__(self) -> None:
        if len(self.public) != PUBLIC_BYTES:
            raise ValueError(f"the key has {len(self.public)} bytes, wanted {PUBLIC_BYTES}")
        self._key()
        if not _agree(X25519PrivateKey.generate(), self.public[_MLKEM_PUBLIC:]):
            raise ValueError("its X25519 share has low order")

    def __str__(self) -> str:
        return bech32.encode(RECIPIENT, self.public)

    def wrap(self, file_key: bytes) -> Stanza:
        """A stanza that this recipient alone can open."""
        sealed = _suite().encrypt(file_key, self._key(), info=_INFO)
        return Stanza((KIND, unpadded(sealed[:ENC_BYTES])), sealed[ENC_BYTES:])

    def _key(self) -> hpke.MLKEM768X25519PublicKey:
        mlkem, x25519 = self.public[:_MLKEM_PUBLIC], self.public[_MLKEM_PUBLIC:]
        with _post_quantum():
            return hpke.MLKEM768X25519PublicKey(
                MLKEM768PublicKey.from_public_bytes(mlkem), X25519PublicKey.from_public_bytes(x25519)
            )


@dataclass(frozen=True)
class HybridIdentity:
    """Somebody who can read: the 32-byte seed that both private keys follow from, as in X-Wing everywhere."""

    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.seed) != SEED_BYTES:
            raise ValueError(f"the seed has {len(self.seed)} bytes, wanted {SEED_BYTES}")

    def recipient(self) -> HybridRecipient:
        """The public side."""
        mlkem, x25519 = self._keys()
        return HybridRecipient(mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw())

    def spelled(self) -> str:
        """The secret as AGE-SECRET-KEY-PQ-1..., which any age from 1.3 on takes as an identity file."""
        return bech32.encode(IDENTITY, self.seed)

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes | None:
        """The file key, or None where no stanza is for this identity. Raises BadHeader for a malformed stanza."""
        wanted = [(_enc(stanza), stanza.body) for stanza in stanzas if stanza.kind == KIND]
        if not wanted:
            return None
        mlkem, x25519 = self._keys()
        return next(filter(None, (_open(mlkem, x25519, enc, body) for enc, body in wanted)), None)

    def _keys(self) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
        digest = hashes.Hash(hashes.SHAKE256(digest_size=_MLKEM_SEED + 32))
        digest.update(self.seed)
        expanded = digest.finalize()
        with _post_quantum():
            mlkem = MLKEM768PrivateKey.from_seed_bytes(expanded[:_MLKEM_SEED])
        return mlkem, X25519PrivateKey.from_private_bytes(expanded[_MLKEM_SEED:])


def _enc(stanza: Stanza) -> bytes:
    """The encapsulated key of a stanza whose every length is right.

    The body's length is checked before decryption, against partitioning oracles (age.md).
    """
    try:
        enc = from_unpadded(stanza.arguments[1]) if len(stanza.arguments) == 2 else b""
    except ValueError:
        enc = b""
    if len(enc) != ENC_BYTES or len(stanza.body) != BODY_BYTES:
        raise BadHeader(f"header: a malformed {KIND.decode()} stanza", AGAIN)
    return enc


def _open(mlkem: MLKEM768PrivateKey, x25519: X25519PrivateKey, enc: bytes, body: bytes) -> bytes | None:
    """HPKE reports a share that makes the secret zero as it reports another's key; age wants it refused outright."""
    if not _agree(x25519, enc[_MLKEM_CIPHERTEXT:]):
        raise BadHeader(f"header: a {KIND.decode()} stanza with a share of low order", AGAIN)
    try:
        return bytes(_suite().decrypt(enc + body, hpke.MLKEM768X25519PrivateKey(mlkem, x25519), info=_INFO))
    except InvalidTag:
        return None


def _agree(private: X25519PrivateKey, share: bytes) -> bool:
    """Whether there is a shared secret; `share` has low order where it would be zero."""
    try:
        return bool(private.exchange(X25519PublicKey.from_public_bytes(share)))
    except ValueError:
        return False


def _suite() -> hpke.Suite:
    return hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)


@contextmanager
def _post_quantum() -> Iterator[None]:
    try:
        yield
    except UnsupportedAlgorithm as error:
        raise MissingExtra(
            "this build of cryptography has no ML-KEM-768",
            "install its wheel: pip install --only-binary :all: cryptography",
        ) from error
