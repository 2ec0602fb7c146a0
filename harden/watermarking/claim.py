"""What an owner claims, signed. The payload and every key follow from it, so that nobody can choose them.

    claim id = SHA3-256("harden/watermark/v1 claim\\0" | body)        payload = its first L bits
    signed   = "harden/watermark/v1 statement\\0" | JSON of body, claim id, root of the leaves, digests of other keys

The body is canonical JSON: ASCII, sorted, no spaces, no floats. Signing and checking come from outside.
"""

import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from hashlib import sha3_256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harden.errors import Untrusted
from harden.files import canonical_json
from harden.watermarking.key import LABEL, Keys, WatermarkKey
from harden.watermarking.layout import Layout, layout_from
from harden.watermarking.mark import Mark
from harden.watermarking.merkle import root_of

FORMAT = "harden-claim/1"
VERSION = 1
CONTEXT = LABEL.rstrip()
"""The context of the ML-DSA half of every signature."""
ALTERED = "have its owner hand it out again; a claim that was changed says nothing"

Sign = Callable[[bytes], bytes]
"""A message -> its signature, all schemes."""
Check = Callable[[str, bytes, bytes, bytes], str]
"""(owner id, public keys, message, signature) -> "", or what is wrong: the keys are not the owner's, a half fails."""


@dataclass(frozen=True)
class Body:
    """The claim proper. Digests are SHA3-256 in hex; `sidecar_digest`, `recipient` and `parent` may be "".

    owner: the signer's id. recipient: the digest of a salt and a name. parent: the claim below or before.
    created: seconds since 1970 by the owner's clock. nonce: 16 bytes in hex, drawn once.
    """

    owner: str
    model_id: str
    base_digest: str
    sidecar_digest: str
    layout_digest: str
    round: str
    recipient: str
    parent: str
    profile: str
    bits: int
    leaves: int
    created: int
    nonce: str
    version: int = VERSION

    def encode(self) -> bytes:
        """The canonical JSON."""
        return canonical_json(asdict(self))

    @property
    def claim_id(self) -> str:
        """SHA3-256 in hex."""
        return sha3_256(LABEL + b"claim\0" + self.encode()).hexdigest()

    @property
    def payload(self) -> NDArray[np.uint8]:
        """The first `bits` bits of the claim id, highest first."""
        return np.unpackbits(np.frombuffer(bytes.fromhex(self.claim_id), dtype=np.uint8))[: self.bits]


@dataclass(frozen=True)
class Claim:
    """A body with what it leads to, and the signature over both.

    root, slots, trigger: of the leaves' keys, the key of the slots and that of the triggers, in hex. public,
    signature: of all schemes, in hex. timestamp: what shows that the claim is no younger: none, ledger or rfc3161.
    """

    body: Body
    layout: Layout
    root: str
    slots: str
    trigger: str
    public: str
    signature: str
    timestamp: str = "none"

    @property
    def id(self) -> str:
        """The claim id."""
        return self.body.claim_id

    @property
    def message(self) -> bytes:
        """What is signed."""
        return statement(self.body, root=self.root, slots=self.slots, trigger=self.trigger)

    def encode(self) -> bytes:
        """The file `claim.json`."""
        plain = {one.name: getattr(self, one.name) for one in fields(self)}
        plain |= {"format": FORMAT, "body": asdict(self.body), "layout": self.layout.plain(), "claim_id": self.id}
        return canonical_json(plain) + b"\n"


def fresh_nonce() -> str:
    """A nonce for a body. Drawn once: whoever draws until the payload pleases is grinding."""
    return secrets.token_hex(16)


def now() -> int:
    """Seconds since 1970."""
    return int(time.time())


def statement(body: Body, *, root: str, slots: str, trigger: str) -> bytes:
    """The bytes that are signed."""
    plain = {"body": asdict(body), "claim_id": body.claim_id, "root": root, "slots": slots, "trigger": trigger}
    return LABEL + b"statement\0" + canonical_json(plain)


def claim_of(body: Body, layout: Layout, key: WatermarkKey, *, public: bytes, sign: Sign) -> Claim:
    """The signed claim of this body."""
    keys = keys_of(body, key)
    told = {"root": root_of(keys.leaf).hex(), "slots": _digest(keys.slots), "trigger": _digest(keys.trigger)}
    signature = sign(statement(body, **told))
    return Claim(body, layout, **told, public=public.hex(), signature=signature.hex())


def keys_of(body: Body, key: WatermarkKey) -> Keys:
    """The keys that belong to a body."""
    return key.under(bytes.fromhex(body.claim_id), body.leaves)


def draw(key: WatermarkKey, claim: Claim) -> Mark:
    """The mark of a claim. Raises Untrusted where the key is not the one that the claim was made with."""
    keys = keys_of(claim.body, key)
    if root_of(keys.leaf).hex() != claim.root or _digest(keys.slots) != claim.slots:
        raise Untrusted("the claim was made with another owner's key", "name the key that embedded the mark")
    return Mark(claim.layout, claim.body.payload, dict(enumerate(keys.leaf)), keys.slots, claim.body.leaves)


def check(claim: Claim, by: Check, where: str) -> None:
    """Raises Untrusted, naming `where`, unless every half of the claim's signature is its owner's."""
    if not claim.signature:
        raise Untrusted(f"{where}: the claim is not signed", ALTERED)
    if wrong := by(claim.body.owner, bytes.fromhex(claim.public), claim.message, bytes.fromhex(claim.signature)):
        raise Untrusted(f"{where}: {wrong}", ALTERED)


def parse(data: bytes, where: str) -> Claim:
    """The claim in the bytes of `claim.json`, whose signature is still to be checked. Raises Untrusted."""
    try:
        plain = json.loads(data)
        if not isinstance(plain, dict) or canonical_json(plain) + b"\n" != data:
            raise ValueError("not in canonical form")
        if plain.pop("format", None) != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        claim_id, body, layout = plain.pop("claim_id"), body_from(plain.pop("body")), layout_from(plain.pop("layout"))
        claim = Claim(body, layout, **plain)
        _check_texts(plain)
        if claim_id != claim.id or layout.digest != body.layout_digest:
            raise ValueError("what it says does not belong together")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Untrusted(f"{where}: is no claim, or was altered: {error}", ALTERED) from error
    return claim


def body_from(plain: Any) -> Body:
    """The body whose fields these are; ValueError for anything else."""
    if not isinstance(plain, Mapping) or plain.keys() != {one.name for one in fields(Body)}:
        raise ValueError("its body does not have exactly the fields of a body")
    counts = {"bits": 256, "leaves": 16, "created": 2**53, "version": VERSION}
    for name, value in plain.items():
        most = counts.get(name)
        right = isinstance(value, str) if most is None else type(value) is int and 1 <= value <= most
        if not right:
            raise ValueError(f"its {name} is {value!r}")
    body = Body(**plain)
    if body.bits & (body.bits - 1) or body.leaves & (body.leaves - 1) or body.leaves > body.bits:
        raise ValueError(f"it has {body.bits} bits and {body.leaves} leaves")
    return body


def _check_texts(plain: Mapping[str, Any]) -> None:
    for name, value in plain.items():
        if not isinstance(value, str):
            raise ValueError(f"its {name} is no text")
        if name != "timestamp":
            bytes.fromhex(value)


def _digest(key: bytes) -> str:
    return sha3_256(key).hexdigest()
