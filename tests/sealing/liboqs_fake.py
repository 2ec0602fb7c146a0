"""A stand-in for liboqs-python's module `oqs` with its habits: short input is padded, keys come from OQS_randombytes.

The work is done by `cryptography`. Tests load this file by path, and lay it down as the package `oqs` for children.
"""

import ctypes
import os
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import mldsa, mlkem

KEMS: dict[str, tuple[Any, Any, int, int]] = {
    "ML-KEM-768": (mlkem.MLKEM768PrivateKey, mlkem.MLKEM768PublicKey, 1184, 1088),
    "ML-KEM-1024": (mlkem.MLKEM1024PrivateKey, mlkem.MLKEM1024PublicKey, 1568, 1568),
}
SIGNATURES: dict[str, tuple[Any, Any, int, int]] = {
    "ML-DSA-65": (mldsa.MLDSA65PrivateKey, mldsa.MLDSA65PublicKey, 1952, 3309),
    "ML-DSA-87": (mldsa.MLDSA87PrivateKey, mldsa.MLDSA87PublicKey, 2592, 4627),
}
LIVING: list[Any] = []
"""Objects made and not freed."""


def padded(data: bytes, size: int) -> bytes:
    """What the wrapper makes of `data`: ctypes refuses longer input and pads shorter."""
    return bytes(ctypes.create_string_buffer(data, size))


class Native:
    """The library's own functions, as far as they are called."""

    _name = os.path.join(os.path.abspath(os.environ.get("OQS_INSTALL_PATH", "/nowhere")), "lib", "liboqs.so")

    def __init__(self) -> None:
        self.draw: Any = None
        self.draws_at_a_time = 32

    def OQS_randombytes_custom_algorithm(self, callback: Any) -> None:  # noqa: N802
        self.draw = callback

    def OQS_randombytes_switch_algorithm(self, name: bytes) -> int:  # noqa: N802
        assert name == b"system"
        self.draw = None
        return 0

    def randombytes(self, length: int) -> bytes:
        if self.draw is None:
            return os.urandom(length)
        parts = []
        for _ in range(length // self.draws_at_a_time):
            buffer = ctypes.create_string_buffer(self.draws_at_a_time)
            self.draw(ctypes.addressof(buffer), self.draws_at_a_time)
            parts.append(buffer.raw)
        return b"".join(parts)


_native = Native()


def native() -> Native:
    return _native


class _Mechanism:
    def __init__(self) -> None:
        LIVING.append(self)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.free()

    def free(self) -> None:
        LIVING[:] = [one for one in LIVING if one is not self]


class KeyEncapsulation(_Mechanism):
    """As in oqs.py."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.private, self.public, self.length_public_key, self.length_ciphertext = KEMS[name]
        self.key: Any = None

    def generate_keypair_seed(self, seed: bytes) -> bytes:
        if len(seed) != 64:
            raise ValueError("Seed length must be 64 bytes")
        self.key = self.private.from_seed_bytes(seed)
        return bytes(self.key.public_key().public_bytes_raw())

    def encap_secret(self, public_key: bytes) -> tuple[bytes, bytes]:
        try:
            shared, enc = self.public.from_public_bytes(padded(public_key, self.length_public_key)).encapsulate()
        except ValueError:
            raise RuntimeError("Can not encapsulate secret") from None
        return bytes(enc), bytes(shared)

    def decap_secret(self, ciphertext: bytes) -> bytes:
        return bytes(self.key.decapsulate(padded(ciphertext, self.length_ciphertext)))


class Signature(_Mechanism):
    """As in oqs.py."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.private, self.public, self.length_public_key, self.length_signature = SIGNATURES[name]
        self.key: Any = None

    def generate_keypair(self) -> bytes:
        self.key = self.private.from_seed_bytes(_native.randombytes(32))
        return bytes(self.key.public_key().public_bytes_raw())

    def sign_with_ctx_str(self, message: bytes, context: bytes) -> bytes:
        return bytes(self.key.sign(message, context=context))

    def verify_with_ctx_str(self, message: bytes, signature: bytes, context: bytes, public_key: bytes) -> bool:
        key = self.public.from_public_bytes(padded(public_key, self.length_public_key))
        try:
            key.verify(signature, message, context=context)
        except InvalidSignature:
            return False
        return True


def get_enabled_kem_mechanisms() -> tuple[str, ...]:
    return ("Kyber768", *KEMS)


def get_enabled_sig_mechanisms() -> tuple[str, ...]:
    return tuple(SIGNATURES)


def oqs_version() -> str:
    return "0.16.0"
