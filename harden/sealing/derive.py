"""Every label of the format, and what is derived under it. HKDF-Expand: RFC 5869 with SHA-512.

There is no extract step: a file key is 32 uniformly random bytes, which is what a pseudorandom key must be.
"""

import struct
from hashlib import sha512

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from harden.sealing.layout import Preamble
from harden.sealing.suites import Suite

PREFIX = b"harden/seal/v1"
SIGNING_CONTEXT = PREFIX
"""The context string of ML-DSA signatures."""


def label(name: str) -> bytes:
    """The label of a use: no two are prefixes of each other, as each ends with a zero byte."""
    return PREFIX + b" " + name.encode("ascii") + b"\0"


def binding(preamble: Preamble, core: bytes) -> bytes:
    """H, 64 bytes: the digest of preamble and core that keys, tags and signature depend on.

    The length of the slots is left out, so that a copy with room for more recipients keeps its signature.
    """
    return sha512(label("core") + preamble.encode(slot_len=0) + core).digest()


def slot_key(file_key: bytes | memoryview, bound: bytes) -> bytes:
    """The key, 64 bytes, of the tags of both slots."""
    return expand(file_key, label("slot") + bound, 64)


def payload_key(file_key: bytes | memoryview, bound: bytes) -> bytes:
    """The key, 32 bytes, of the payload."""
    return expand(file_key, label("payload") + bound, 32)


def slot_tag(key: bytes, preamble: Preamble, bound: bytes, slot: bytes) -> bytes:
    """The tag, 64 bytes, of a slot without its tag."""
    mac = HMAC(key, hashes.SHA512())
    mac.update(label("slot") + preamble.encode() + bound + slot)
    return mac.finalize()


def wrap_info(suite: Suite, kind: int, bound: bytes) -> bytes:
    """What a wrapped file key is bound to: the suite, the type of the entry, and H."""
    return label("wrap") + struct.pack(">HH", suite.number, kind) + bound


def expand(key: bytes | memoryview, info: bytes, length: int) -> bytes:
    """HKDF-Expand with SHA-512."""
    return HKDFExpand(hashes.SHA512(), length, info).derive(key)
