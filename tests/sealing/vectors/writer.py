"""A writer of sealed files of its own: it shares no code with `harden.sealing`, only docs/sealed-format.md.

Keys are fixed; encapsulation and ML-DSA draw randomness. Parts are made once and used again, so that hundreds of
files of ten kilobytes compress well.
"""

import hashlib
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from cryptography.cobblestone import Cobblestone256Encryptor
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa, mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

LABEL = b"harden/seal/v1"
FILE_KEY = hashlib.sha256(b"the file key of all vectors").digest()
PASSPHRASE = "correct horse battery staple"
SEEDS = {name: hashlib.shake_256(name.encode()).digest(64) for name in ("alice", "bob", "acme", "mallory")}
MIB = 1 << 20


def x_wing(name: str) -> Any:
    """The X-Wing key of somebody."""
    expanded = hashlib.shake_256(SEEDS[name][:32]).digest(96)
    return hpke.MLKEM768X25519PrivateKey(
        mlkem.MLKEM768PrivateKey.from_seed_bytes(expanded[:64]),
        x25519.X25519PrivateKey.from_private_bytes(expanded[64:]),
    )


def ml_kem_1024(name: str) -> Any:
    """The ML-KEM-1024 key of somebody."""
    return mlkem.MLKEM1024PrivateKey.from_seed_bytes(SEEDS[name])


@cache
def wrapped(suite: int, name: str, info: bytes, file_key: bytes) -> bytes:
    """A file key for somebody; made once."""
    if suite == 2:
        kem = hpke.Suite(hpke.KEM.MLKEM1024, hpke.KDF.HKDF_SHA384, hpke.AEAD.AES_256_GCM)
        return kem.encrypt(file_key, ml_kem_1024(name).public_key(), info=info)
    kem = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
    return kem.encrypt(file_key, x_wing(name).public_key(), info=info)


def signers(suite: int, name: str) -> tuple[Any, ...]:
    """The signing keys of somebody, ML-DSA first."""
    first, second = SEEDS[name][:32], SEEDS[name][32:]
    if suite == 2:
        return (mldsa.MLDSA87PrivateKey.from_seed_bytes(first),)
    return mldsa.MLDSA65PrivateKey.from_seed_bytes(first), ed25519.Ed25519PrivateKey.from_private_bytes(second)


@cache
def signer_id(suite: int, name: str) -> str:
    """The id of a signer in hex."""
    public = b"".join(key.public_key().public_bytes_raw() for key in signers(suite, name))
    return hashlib.sha512(LABEL + b" signer\0" + public).digest()[:32].hex()


@cache
def signed(suite: int, name: str, message: bytes) -> bytes:
    """Somebody's signature; made once."""
    first, *second = signers(suite, name)
    return bytes(first.sign(message, context=LABEL)) + b"".join(key.sign(message) for key in second)


def expand(key: bytes, name: str, h: bytes, length: int) -> bytes:
    """HKDF-Expand-SHA512 under a label and H."""
    return HKDFExpand(hashes.SHA512(), length, LABEL + f" {name}".encode() + b"\0" + h).derive(key)


@cache
def payload_of(plain: bytes, key: bytes, h: bytes) -> bytes:
    """The payload; made once."""
    encryptor = Cobblestone256Encryptor(key, h)
    return encryptor.update(plain) + encryptor.finalize()


@cache
def boxed(secret: bytes, passphrase: str, info: bytes, cost: tuple[int, int, int]) -> bytes:
    """A secret under a passphrase."""
    salt = hashlib.sha256(info).digest()[:16]
    kdf = Argon2id(salt=salt, length=32, iterations=cost[1], lanes=cost[2], memory_cost=cost[0])
    return struct.pack(">III", *cost) + salt + AESGCM(kdf.derive(passphrase.encode())).encrypt(bytes(12), secret, info)


Entries = Callable[[bytes], list[tuple[int, bytes]]]
"""H -> the type and blob of each entry."""


@dataclass(frozen=True)
class File:
    """What a sealed file is made of; every default is that of a sound file."""

    plain: bytes = b"hello"
    suite: int = 1
    core: dict[str, Any] = field(default_factory=dict)
    raw_core: Callable[[bytes], bytes] | None = None
    to: tuple[str, ...] = ("alice", "bob")
    entries: Entries | None = None
    generations: tuple[int, int] = (1, 1)
    slot_len: int | None = None
    signer: str = "acme"
    signs: str | None = None
    slot_file_key: bytes = FILE_KEY
    payload_file_key: bytes = FILE_KEY
    preamble: tuple[Any, ...] = ()

    def build(self) -> tuple[bytearray, dict[str, int]]:
        """The bytes, and where the parts begin."""
        core = self.core_bytes()
        entries_h = self.h(core)
        entries = self.made_entries(entries_h)
        slot_len = self.slot_len or max(1536, -(-(16 + sum(8 + len(blob) for _, blob in entries) + 64) // 512) * 512)
        preamble = self.head(core, slot_len)
        start = (preamble + core).ljust(-(-(32 + len(core)) // 512) * 512, b"\0")
        slots = [self.slot(entries, generation, preamble, entries_h, slot_len) for generation in self.generations]
        payload = payload_of(self.plain, expand(self.payload_file_key, "payload", entries_h, 32), entries_h)
        parts = [payload[at : at + MIB] for at in range(0, len(payload), MIB)]
        digest = {1: "sha256", 2: "sha384"}[self.suite]
        leaves = b"".join(hashlib.new(digest, b"\0" + part).digest() for part in parts)
        count = struct.pack(">Q", len(parts))
        root = hashlib.new(digest, b"\1" + count + leaves).digest()
        signature = b""
        if self.signer:
            message = LABEL + b" signature\0" + struct.pack(">H", self.suite) + entries_h
            message += (
                struct.pack(">Q", len(payload)) + count + root + bytes.fromhex(signer_id(self.suite, self.signer))
            )
            signature = signed(self.suite, self.signs or self.signer, message)
        pieces = {
            "start": start,
            "a": slots[0],
            "b": slots[1],
            "payload": payload,
            "list": leaves,
            "signature": signature,
        }
        at, places = 0, {}
        for name, piece in pieces.items():
            places[name], at = at, at + len(piece)
        return bytearray(b"".join(pieces.values())), places | {"end": at, "core": 32, "after": 32 + len(core)}

    def core_bytes(self) -> bytes:
        """The core in its one spelling, or what `raw_core` makes of it."""
        usual = {
            "created": 1,
            "epoch": 1,
            "file_id": "00112233445566778899aabbccddeeff",
            "format": "bytes",
            "metadata": {},
            "model_id": "m",
            "parent": "",
            "plaintext_bytes": len(self.plain),
            "signer": signer_id(self.suite, self.signer) if self.signer else "",
        }
        text = json.dumps(usual | self.core, sort_keys=True, separators=(",", ":")).encode()
        return self.raw_core(text) if self.raw_core else text

    def head(self, core: bytes, slot_len: int) -> bytes:
        """The preamble."""
        usual = [b"\x89HSF\r\n\x1a\n", 1, self.suite, len(core), slot_len, 0, 0]
        for number, value in self.preamble:
            usual[number] = value
        return struct.pack(">8sHHIIIQ", *usual)

    def h(self, core: bytes) -> bytes:
        """H."""
        return hashlib.sha512(LABEL + b" core\0" + self.head(core, 0) + core).digest()

    def made_entries(self, h: bytes) -> list[tuple[int, bytes]]:
        """The entries: HPKE to everybody in `to`, or what `entries` makes."""
        if self.entries:
            return self.entries(h)
        return [(1, wrapped(self.suite, name, info(self.suite, 1, h), FILE_KEY)) for name in self.to]

    def slot(
        self, entries: list[tuple[int, bytes]], generation: int, preamble: bytes, h: bytes, slot_len: int
    ) -> bytes:
        """A slot with its tag."""
        body = struct.pack(">QHBBI", generation, len(entries), 0, 0, 0)
        body += b"".join(struct.pack(">HHI", kind, 0, len(blob)) + blob for kind, blob in entries)
        return self.tagged(body.ljust(slot_len - 64, b"\0"), preamble, h)

    def tagged(self, body: bytes, preamble: bytes, h: bytes) -> bytes:
        """A slot's bytes and the tag that they deserve."""
        mac = HMAC(expand(self.slot_file_key, "slot", h, 64), hashes.SHA512())
        mac.update(LABEL + b" slot\0" + preamble + h + body)
        return body + mac.finalize()


def info(suite: int, kind: int, h: bytes) -> bytes:
    """What a wrapped key is bound to."""
    return LABEL + b" wrap\0" + struct.pack(">HH", suite, kind) + h
