"""Secrets and what is derived from them: the owner's, a claim's, a leaf's, and the keystream of a tensor.

HKDF: RFC 5869 with SHA-512. Keystream: AES-256 in counter mode over zeros, one a tensor, so that a layer that is
missing, renamed or cut shifts no other one's.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

SECRET = 32
LABEL = b"harden/watermark/v1 "


def extract(salt: bytes, secret: bytes) -> bytes:
    """HKDF-Extract."""
    return hmac.digest(salt, secret, "sha512")


def expand(key: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand."""
    out, block = b"", b""
    for number in range(1, -(-length // 64) + 1):
        block = hmac.digest(key, block + info + bytes([number]), "sha512")
        out += block
    return out[:length]


@dataclass(frozen=True)
class WatermarkKey:
    """The owner's secret for carriers, 32 bytes."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != SECRET:
            raise ValueError(f"a watermark key has {SECRET} bytes, got {len(self.secret)}")

    def under(self, claim_id: bytes, leaves: int) -> "Keys":
        """The keys of the claim with this id."""
        root = expand(extract(claim_id, self.secret), LABEL + b"key\0", SECRET)
        leaf = [expand(root, b"leaf\0" + number.to_bytes(4, "big"), SECRET) for number in range(leaves)]
        return Keys(tuple(leaf), expand(root, b"slots\0", SECRET), expand(root, b"trigger\0", SECRET))


@dataclass(frozen=True)
class Keys:
    """The keys of one claim: a key a leaf, which makes its chips; the key of the slots; that of the triggers."""

    leaf: Sequence[bytes] = field(repr=False)
    slots: bytes = field(repr=False)
    trigger: bytes = field(repr=False)


class Keystream:
    """The keystream of one tensor under a leaf's key or that of the slots, read from its beginning on."""

    def __init__(self, key: bytes, tensor: str) -> None:
        own = expand(key, b"tensor\0" + tensor.encode(), 32)
        self._encryptor = Cipher(AES256(own), CTR(bytes(16))).encryptor()

    def read(self, count: int) -> NDArray[np.uint8]:
        """The next `count` bytes."""
        return np.frombuffer(self._encryptor.update(bytes(count)), dtype=np.uint8)
