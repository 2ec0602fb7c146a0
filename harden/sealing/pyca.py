"""The default engine: everything from pyca/cryptography, with the OpenSSL of its wheel."""

import hashlib
from functools import cache
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa, mlkem, x25519

from harden.errors import MissingExtra
from harden.sealing.provider import Opener, Signing
from harden.sealing.suites import ED25519, ML_DSA_65, ML_DSA_87, ML_KEM_1024, X_WING, Kem, Scheme

ML_KEM_768_PUBLIC = 1184
HPKE = {
    X_WING.name: (hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256),
    ML_KEM_1024.name: (hpke.KEM.MLKEM1024, hpke.KDF.HKDF_SHA384),
}
ML_DSA: dict[str, tuple[Any, Any]] = {
    ML_DSA_65.name: (mldsa.MLDSA65PrivateKey, mldsa.MLDSA65PublicKey),
    ML_DSA_87.name: (mldsa.MLDSA87PrivateKey, mldsa.MLDSA87PublicKey),
}


@cache
def engine() -> "Pyca":
    """The engine; MissingExtra where the OpenSSL behind `cryptography` lacks an algorithm."""
    try:
        mlkem.MLKEM768PrivateKey.from_seed_bytes(bytes(64))
        mldsa.MLDSA65PrivateKey.from_seed_bytes(bytes(32))
    except UnsupportedAlgorithm as error:
        raise MissingExtra(
            f"this build of cryptography lacks an algorithm: {error}",
            "its wheels from PyPI have all: pip install --force-reinstall 'cryptography>=50.0.2,<51'",
        ) from error
    return Pyca()


class Pyca:
    """ML-KEM, X25519 and HPKE; ML-DSA (hedged) and Ed25519."""

    def public_of_kem(self, kem: Kem, seed: bytes) -> bytes:
        if kem == ML_KEM_1024:
            return mlkem.MLKEM1024PrivateKey.from_seed_bytes(seed).public_key().public_bytes_raw()
        lattice, curve = _x_wing(seed)
        return lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()

    def public_of_scheme(self, scheme: Scheme, seed: bytes) -> bytes:
        return bytes(_signing_key(scheme, seed).public_key().public_bytes_raw())

    def wrap(self, kem: Kem, public: bytes, file_key: bytes, info: bytes) -> bytes | None:
        try:
            return _hpke(kem).encrypt(file_key, _public_key(kem, public), info=info)
        except (ValueError, InvalidTag):  # not a key: a coefficient >= q, a point of low order
            return None

    def opener(self, kem: Kem, seed: bytes) -> Opener:
        suite, key = _hpke(kem), _private_key(kem, seed)

        def unwrap(blob: bytes, info: bytes) -> bytes | None:
            try:
                return suite.decrypt(blob, key, info=info)
            except (InvalidTag, ValueError):
                return None

        return unwrap

    def signing(self, scheme: Scheme, seed: bytes) -> Signing:
        key = _signing_key(scheme, seed)
        if scheme == ED25519:
            return lambda message, _context: bytes(key.sign(message))
        return lambda message, context: bytes(key.sign(message, context=context))

    def verifies(self, scheme: Scheme, public: bytes, message: bytes, signature: bytes, context: bytes) -> bool:
        try:
            if scheme == ED25519:
                ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
            else:
                ML_DSA[scheme.name][1].from_public_bytes(public).verify(signature, message, context=context)
        except (InvalidSignature, ValueError):
            return False
        return True


def _x_wing(seed: bytes) -> tuple[mlkem.MLKEM768PrivateKey, x25519.X25519PrivateKey]:
    """X-Wing's key expansion: SHAKE256 of the seed, 64 bytes for ML-KEM and 32 for X25519."""
    expanded = hashlib.shake_256(seed).digest(96)
    return (
        mlkem.MLKEM768PrivateKey.from_seed_bytes(expanded[:64]),
        x25519.X25519PrivateKey.from_private_bytes(expanded[64:]),
    )


def _private_key(kem: Kem, seed: bytes) -> Any:
    if kem == ML_KEM_1024:
        return mlkem.MLKEM1024PrivateKey.from_seed_bytes(seed)
    return hpke.MLKEM768X25519PrivateKey(*_x_wing(seed))


def _public_key(kem: Kem, public: bytes) -> Any:
    if kem == ML_KEM_1024:
        return mlkem.MLKEM1024PublicKey.from_public_bytes(public)
    return hpke.MLKEM768X25519PublicKey(
        mlkem.MLKEM768PublicKey.from_public_bytes(public[:ML_KEM_768_PUBLIC]),
        x25519.X25519PublicKey.from_public_bytes(public[ML_KEM_768_PUBLIC:]),
    )


def _hpke(kem: Kem) -> hpke.Suite:
    return hpke.Suite(*HPKE[kem.name], hpke.AEAD.AES_256_GCM)


def _signing_key(scheme: Scheme, seed: bytes) -> Any:
    if scheme == ED25519:
        return ed25519.Ed25519PrivateKey.from_private_bytes(seed)
    return ML_DSA[scheme.name][0].from_seed_bytes(seed)
