"""Signatures over the ciphertext: every scheme of the suite must verify, ML-DSA and Ed25519 alike.

    signed = label | u16 suite | H | u64 payload length | u64 leaves | root | signer id

A GCM tag says that somebody with the file key made a chunk, and every recipient has it; a signature says who.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha512

from harden.sealing.derive import SIGNING_CONTEXT, label
from harden.sealing.layout import Layout
from harden.sealing.provider import Provider, Signing
from harden.sealing.suites import Scheme, Suite

ID = 32


@dataclass(frozen=True)
class SignerKey:
    """The public keys of a signer, in the order of the suite's schemes."""

    suite: Suite
    public: bytes

    @property
    def id(self) -> str:
        """The signer's id, 32 bytes in hex: a digest of the public keys."""
        return sha512(label("signer") + self.public).digest()[:ID].hex()

    def parts(self) -> Iterator[tuple[Scheme, bytes]]:
        """Each scheme with its public key."""
        yield from _split(self.suite, self.public, "public")


@dataclass(frozen=True)
class Signer:
    """Somebody who can sign: the public keys, and one function a scheme."""

    key: SignerKey
    signings: tuple[Signing, ...] = field(repr=False)

    def sign(self, message: bytes, context: bytes = SIGNING_CONTEXT) -> bytes:
        """The signatures of all schemes, one after the other."""
        return b"".join(sign(message, context) for sign in self.signings)


def signer_of(suite: Suite, seeds: bytes, provider: Provider) -> Signer:
    """The signer with these seeds, `suite.signer_seed` bytes."""
    parts = list(_split(suite, seeds, "seed"))
    public = b"".join(provider.public_of_scheme(scheme, seed) for scheme, seed in parts)
    return Signer(SignerKey(suite, public), tuple(provider.signing(scheme, seed) for scheme, seed in parts))


def message_of(suite: Suite, bound: bytes, layout: Layout, root: bytes, signer: str) -> bytes:
    """What is signed: `bound` is H, `root` that of the hash list, `signer` the id in hex."""
    head = label("signature") + struct.pack(">H", suite.number) + bound
    return head + struct.pack(">QQ", layout.payload_len, layout.leaves) + root + bytes.fromhex(signer)


def failing(
    key: SignerKey, message: bytes, signature: bytes, provider: Provider, context: bytes = SIGNING_CONTEXT
) -> list[str]:
    """The schemes whose half of the signature does not verify; none of them: the signature is good."""
    parts = zip(key.parts(), _split(key.suite, signature, "signature"), strict=True)
    return [
        scheme.name
        for (scheme, public), (_, part) in parts
        if not provider.verifies(scheme, public, message, part, context)
    ]


def _split(suite: Suite, data: bytes, what: str) -> Iterator[tuple[Scheme, bytes]]:
    """`data` cut into the public keys, seeds or signatures of the suite's schemes; ValueError for another length."""
    sizes = [getattr(scheme, what) for scheme in suite.schemes]
    if len(data) != sum(sizes):
        raise ValueError(f"a {what} of suite {suite.name} has {sum(sizes)} bytes, got {len(data)}")
    at = 0
    for scheme, size in zip(suite.schemes, sizes, strict=True):
        yield scheme, data[at : at + size]
        at += size
