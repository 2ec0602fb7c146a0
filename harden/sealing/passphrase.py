"""A secret under a passphrase: Argon2id (RFC 9106), then AES-256-GCM. Used by entries of type 2 and by key files.

    u32 memory in KiB | u32 iterations | u32 lanes | salt 16 | AES-256-GCM(Argon2id(passphrase), nonce 0, secret, info)

The nonce may be 0, as the salt, and so the key, is fresh at each write.
"""

import os
import struct
import unicodedata
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from harden.errors import ConfigError
from harden.sealing.errors import Damaged
from harden.sealing.suites import TAG

HEADER = struct.Struct(">III16s")
OVERHEAD = HEADER.size + TAG
NONCE = bytes(12)


@dataclass(frozen=True)
class Cost:
    """What one guess costs: memory in KiB, iterations, lanes."""

    kib: int = 262_144
    iterations: int = 3
    lanes: int = 4

    @property
    def is_bearable(self) -> bool:
        """Whether a stranger's file may ask for it: at most 1 GiB, 10 iterations, 16 lanes."""
        sane = 1 <= self.iterations <= 10 and 1 <= self.lanes <= 16
        return sane and 8 * self.lanes <= self.kib <= 1 << 20


COST = Cost()
"""0.8 to 1.9 s on two cores; RFC 9106's second choice has 64 MiB."""


def lock(secret: bytes, passphrase: str, info: bytes, cost: Cost) -> bytes:
    """`secret` under the passphrase, `OVERHEAD` bytes longer, bound to `info`."""
    salt = os.urandom(16)
    key = _key(passphrase, salt, cost)
    return HEADER.pack(cost.kib, cost.iterations, cost.lanes, salt) + AESGCM(key).encrypt(NONCE, secret, info)


def unlock(box: bytes, passphrase: str, info: bytes, where: str) -> bytes | None:
    """The secret; None where the passphrase, or `info`, is another. Damaged where the cost is absurd."""
    if len(box) < OVERHEAD:
        raise Damaged(f"{where}: too short for a secret under a passphrase")
    kib, iterations, lanes, salt = HEADER.unpack_from(box)
    cost = Cost(kib, iterations, lanes)
    if not cost.is_bearable:
        raise Damaged(f"{where}: asks for {kib} KiB, {iterations} iterations, {lanes} lanes of Argon2id, beyond bounds")
    try:
        return AESGCM(_key(passphrase, salt, cost)).decrypt(NONCE, box[HEADER.size :], info)
    except InvalidTag:
        return None


def _key(passphrase: str, salt: bytes, cost: Cost) -> bytes:
    if not passphrase:
        raise ConfigError("a passphrase must have at least one character")
    words = unicodedata.normalize("NFC", passphrase).encode()
    kdf = Argon2id(salt=salt, length=32, iterations=cost.iterations, lanes=cost.lanes, memory_cost=cost.kib)
    return kdf.derive(words)
