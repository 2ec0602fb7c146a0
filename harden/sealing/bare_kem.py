"""What HPKE and X-Wing add to a bare KEM, for an engine whose library has KEMs alone.

HPKE, base mode, one shot: RFC 9180 section 5.1; as draft-ietf-hpke-pq says, the KEM's secret enters the key schedule
as it is. X-Wing: draft-connolly-cfrg-xwing-kem. SHAKE, SHA-3 and HMAC are hashlib's, the rest is `cryptography`'s.
"""

import hashlib
import hmac
import struct

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from harden.sealing.suites import X_WING, Kem

CURVE = 32
"""Bytes of an X25519 key, public or private."""
SHARED = 32
"""Bytes of the secret of every KEM here."""
X_WING_LABEL = bytes.fromhex("5c2e2f2f5e5c")
KDF = {"sha256": (0x0001, hashes.SHA256), "sha384": (0x0002, hashes.SHA384)}
AES_256_GCM = 0x0002


class LowOrder(Exception):
    """A point of low order: no public key of X25519."""


def schedule(kem: Kem, shared: bytes, info: bytes) -> tuple[bytes, bytes]:
    """HPKE's key and first nonce (RFC 9180, 5.1): mode base, no pre-shared key, AES-256-GCM."""
    number, algorithm = KDF[kem.kdf]
    suite = b"HPKE" + struct.pack(">HHH", kem.hpke_id, number, AES_256_GCM)

    def extract(salt: bytes, label: bytes, secret: bytes) -> bytes:
        return hmac.digest(salt, b"HPKE-v1" + suite + label + secret, kem.kdf)

    def expand(label: bytes, length: int) -> bytes:
        labelled = struct.pack(">H", length) + b"HPKE-v1" + suite + label + context
        return HKDFExpand(algorithm(), length, labelled).derive(secret)

    context = b"\0" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    secret = extract(shared, b"secret", b"")
    return expand(b"key", 32), expand(b"base_nonce", 12)


def expanded(kem: Kem, seed: bytes) -> tuple[bytes, bytes]:
    """ML-KEM's seed, 64 bytes, and X25519's private key, which is empty without X25519."""
    if kem != X_WING:
        return seed, b""
    both = hashlib.shake_256(exact(seed, kem.seed)).digest(64 + CURVE)
    return both[:64], both[64:]


def lattice_public(kem: Kem) -> int:
    """Bytes of ML-KEM's public key in a public key."""
    return kem.public - (CURVE if kem == X_WING else 0)


def lattice_enc(kem: Kem) -> int:
    """Bytes of ML-KEM's ciphertext in an encapsulation."""
    return kem.enc - (CURVE if kem == X_WING else 0)


def combined(lattice: bytes, curve: bytes, point: bytes, public: bytes) -> bytes:
    """X-Wing's combiner."""
    return hashlib.sha3_256(lattice + curve + point + public + X_WING_LABEL).digest()


def exchange(private: X25519PrivateKey, public: bytes) -> bytes:
    """X25519's secret; LowOrder for a point that would make it zero."""
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(exact(public, CURVE)))
    except ValueError as error:
        raise LowOrder from error


def curve_key(private: bytes) -> bytes:
    """X25519's public key."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def exact(data: bytes, wanted: int) -> bytes:
    """`data`, as bytes; ValueError for another length, which liboqs would pad or cut."""
    if len(data) != wanted:
        raise ValueError(f"{wanted} bytes wanted, got {len(data)}")
    return bytes(data)
