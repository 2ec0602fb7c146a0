"""DSSE 1.0: a payload with its type, signed as a whole. github.com/secure-systems-lab/dsse, protocol.md.

    {"payload":"<base64>","payloadType":"application/vnd.in-toto+json",
     "signatures":[{"keyid":"<signer>/ML-DSA-65","sig":"<base64>"},{"keyid":"<signer>/Ed25519","sig":"<base64>"}]}

Where we are stricter than DSSE: it is content with any one good signature, this reader wants that of every scheme of
the signer's suite, in its order, and no other; it takes two base64 alphabets, any spaces and unknown fields, this
reader takes one spelling. ML-DSA signs under the empty context. What others write is not read here, what is written
here can be read by others.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Any

from harden.sealing.canonical import is_hex
from harden.sealing.errors import BadSignature, Damaged
from harden.sealing.heads import FRESH
from harden.sealing.provenance import document
from harden.sealing.provider import Provider
from harden.sealing.signing import ID, Signer, SignerKey, failing

PAYLOAD_TYPE = "application/vnd.in-toto+json"
CONTEXT = b""
"""The context string of ML-DSA: readers of DSSE know none."""

MOST = 4
"""Signatures that an envelope may hold."""


@dataclass(frozen=True)
class Envelope:
    """A payload and its signatures by key id, in their order. Nothing is believed before `check`."""

    payload: bytes
    signatures: tuple[tuple[str, bytes], ...]

    @property
    def signer(self) -> str:
        """The signer's id as the first key id has it: a hint, as all key ids of DSSE are."""
        return self.signatures[0][0].partition("/")[0]


def encoded(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding, PAE: what is signed."""
    name = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def sign(payload: bytes, signer: Signer) -> Envelope:
    """The payload, signed with every scheme of the signer."""
    message = encoded(PAYLOAD_TYPE, payload)
    made = (sign_one(message, CONTEXT) for sign_one in signer.signings)
    return Envelope(payload, tuple(zip(key_ids(signer.key), made, strict=True)))


def key_ids(key: SignerKey) -> list[str]:
    """The key ids of a signer's signatures."""
    return [f"{key.id}/{scheme.name}" for scheme in key.suite.schemes]


def encode(envelope: Envelope) -> bytes:
    """The envelope as JSON, the only bytes that `decode` reads."""
    signatures = [{"keyid": name, "sig": _base64(signature)} for name, signature in envelope.signatures]
    fields = {"payload": _base64(envelope.payload), "payloadType": PAYLOAD_TYPE, "signatures": signatures}
    return document.encode(fields) + b"\n"


def decode(data: bytes, where: str) -> Envelope:
    """The envelope that `encode` wrote, structurally sound and not yet believed. Raises Damaged."""
    if len(data) > document.LONGEST or not data.endswith(b"\n"):
        raise Damaged(f"{where}: is cut off, or no manifest", FRESH)
    raw = document.decode(data[:-1], where)
    if raw.keys() != {"payload", "payloadType", "signatures"}:
        raise Damaged(f"{where}: does not have exactly the fields of a DSSE envelope", FRESH)
    if raw["payloadType"] != PAYLOAD_TYPE:
        raise Damaged(f"{where}: holds {str(raw['payloadType'])[:60]!r}, wanted {PAYLOAD_TYPE}")
    signatures = raw["signatures"]
    if not isinstance(signatures, list) or not 1 <= len(signatures) <= MOST:
        raise Damaged(f"{where}: does not have 1 to {MOST} signatures", "a manifest without one says nothing")
    return Envelope(_bytes(raw["payload"], where), tuple(_signature(one, where) for one in signatures))


def check(envelope: Envelope, key: SignerKey, where: str, provider: Provider) -> None:
    """Nothing if every scheme of the signer signed this payload; else BadSignature."""
    found, wanted = [name for name, _ in envelope.signatures], key_ids(key)
    if found != wanted:
        kinds = ", ".join(name.partition("/")[2] or name for name in found)
        every = " and ".join(scheme.name for scheme in key.suite.schemes)
        raise BadSignature(f"{where}: is signed with {kinds}, wanted {every}, of one signer and in this order")
    signature = b"".join(one for _, one in envelope.signatures)
    lengths = [len(one) for _, one in envelope.signatures]
    if lengths != [scheme.signature for scheme in key.suite.schemes]:
        raise BadSignature(f"{where}: a signature has a wrong length: {', '.join(map(str, lengths))} bytes", FRESH)
    if wrong := failing(key, encoded(PAYLOAD_TYPE, envelope.payload), signature, provider, CONTEXT):
        raise BadSignature(f"{where}: the signature is not one of this manifest: {' and '.join(wrong)} said no", FRESH)


def _signature(raw: Any, where: str) -> tuple[str, bytes]:
    if not isinstance(raw, dict) or raw.keys() != {"keyid", "sig"}:
        raise Damaged(f"{where}: a signature does not have exactly a keyid and a sig", FRESH)
    name = raw["keyid"]
    if not document.is_text(name) or not is_hex(name.partition("/")[0], ID):
        raise Damaged(f"{where}: a signature names no signer", FRESH)
    return name, _bytes(raw["sig"], where)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: Any, where: str) -> bytes:
    """What the base64 stands for; the bits that it has too many must be zero, so that each text is another one."""
    try:
        data = base64.b64decode(text, validate=True) if isinstance(text, str) else None
    except (binascii.Error, ValueError) as error:
        raise Damaged(f"{where}: holds wrong base64", FRESH) from error
    if data is None or _base64(data) != text:
        raise Damaged(f"{where}: holds wrong base64", FRESH)
    return data
