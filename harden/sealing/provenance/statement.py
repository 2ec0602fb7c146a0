"""What a manifest says, as an in-toto Statement v1 whose predicate is that of model signing v1.0.

    {"_type":"https://in-toto.io/Statement/v1","predicateType":"https://model_signing/signature/v1.0",
     "subject":[{"name":MODEL_ID,"digest":{"sha256":SHA-256(raw digest)}}],
     "predicate":{"harden":{...},"serialization":{"allow_symlinks":false,"hash_type":"sha256","method":"files"},
                  "resources":[{"name":FILE,"algorithm":"harden-seal-v1","digest":SHA-256(H || root)}]}}

Readers of model signing v1.0 pass over `harden`, where all else stands. A SHA-256 of the plaintext would let strangers
recognise the weights, one of the sealed file would be another after each rewrap: hence `harden-seal-v1`.
github.com/in-toto/attestation/tree/main/spec/v1, github.com/sigstore/model-transparency.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from harden.errors import ConfigError
from harden.sealing.canonical import is_hex
from harden.sealing.core import Facts
from harden.sealing.errors import Damaged
from harden.sealing.heads import FRESH
from harden.sealing.provenance import document
from harden.sealing.signing import ID
from harden.sealing.suites import SUITES
from harden.sealing.trust import Seen

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
SERIALIZATION = {"allow_symlinks": False, "hash_type": "sha256", "method": "files"}
ALGORITHM = "harden-seal-v1"
FORMAT = "harden-manifest/1"
MOST_DATA = 64
COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?(-dirty)?", re.ASCII)


@dataclass(frozen=True)
class Evidence:
    """How a model came about, in the words of whoever signs. Digests are SHA-256 in hex; what is "" is not said.

    `data`: a digest for each data set by name. `code`: the commit, ending in -dirty where files differed.
    `configuration`, `summary`: digests of a run's config.yaml and summary.json. `recipe`: that of its recipe.
    `run`: its name in the ledger. `weights`: digest of the plain weights file, by which strangers can recognise it.
    """

    data: Mapping[str, str] = field(default_factory=dict)
    code: str = ""
    configuration: str = ""
    recipe: str = ""
    summary: str = ""
    run: str = ""
    weights: str = ""

    def __post_init__(self) -> None:
        for name, (fits, wanted) in _EVIDENCE.items():
            value = getattr(self, name)
            if value != "" and not fits(value):
                raise ConfigError(f"{name} must be {wanted}, got {str(value)[:60]!r}")

    def said(self) -> dict[str, Any]:
        """The fields that are not empty."""
        return {name: value for name, value in (vars(self) | {"data": dict(self.data)}).items() if value}


@dataclass(frozen=True)
class Manifest:
    """What is said of one sealed file. `h`, `root`: H and the root of its hash list in hex; `facts`: those bound to it.

    `file`: what it was called. `parent_statement`: `digest` of the manifest of the round before, so that no earlier
    manifest can be written anew by its own signer either; "" for the first round. `signer`: who says all this.
    """

    file: str
    facts: Facts
    h: str
    root: str
    signer: str
    parent_statement: str = ""
    evidence: Evidence = field(default_factory=Evidence)

    def __post_init__(self) -> None:
        for name, (fits, wanted) in _FIELDS.items():
            if not fits(getattr(self, name)):
                raise ConfigError(f"{name} must be {wanted}, got {str(getattr(self, name))[:60]!r}")
        if bool(self.parent_statement) != bool(self.facts.parent):
            raise ConfigError("a round names the sealed file and the manifest of the round before, or neither")
        if self.h == self.facts.parent:
            raise ConfigError("a round names itself as the round before")

    @property
    def seal_digest(self) -> bytes:
        """harden-seal-v1: SHA-256(H || root)."""
        return sha256(bytes.fromhex(self.h) + bytes.fromhex(self.root)).digest()

    @property
    def digest(self) -> str:
        """SHA-256 of the statement in hex, the same however often it is signed."""
        return sha256(self.encode()).hexdigest()

    @property
    def seen(self) -> Seen:
        """What a trust store would remember of the file."""
        return Seen(self.facts.epoch, self.h, self.root)

    @property
    def round(self) -> str:
        """How people call it."""
        name = self.facts.metadata.get("round")
        return f"epoch {self.facts.epoch}" + (f" (round {name})" if name else "")

    def statement(self) -> dict[str, Any]:
        """The in-toto statement as plain data."""
        resource = {"name": self.file, "algorithm": ALGORITHM, "digest": self.seal_digest.hex()}
        subject = {"name": self.facts.model_id, "digest": {"sha256": sha256(self.seal_digest).hexdigest()}}
        predicate = {"serialization": SERIALIZATION, "resources": [resource], "harden": self._ours()}
        return {
            "_type": STATEMENT_TYPE,
            "subject": [subject],
            "predicateType": PREDICATE_TYPE,
            "predicate": predicate,
        }

    def encode(self) -> bytes:
        """The statement in its one spelling."""
        return document.encode(self.statement())

    def _ours(self) -> dict[str, Any]:
        facts = {**vars(self.facts), "metadata": dict(self.facts.metadata)}
        ours = {"format": FORMAT, "h": self.h, "root": self.root, "signer": self.signer}
        return {**facts, **ours, "parent_statement": self.parent_statement, "evidence": self.evidence.said()}


def decode(data: bytes, where: str) -> Manifest:
    """The manifest that `Manifest.encode` wrote. Raises Damaged for all other bytes.

    Only what cannot be computed is read; the statement that follows from it must be the bytes at hand.
    """
    raw = document.decode(data, where)
    try:
        ours = dict(raw["predicate"]["harden"])
        if (version := ours.pop("format")) != FORMAT:
            raise ValueError(f"its format is {str(version)[:60]!r}, wanted {FORMAT}")
        facts = Facts(**{name: ours.pop(name) for name in ("model_id", "epoch", "parent", "metadata")})
        evidence = Evidence(**ours.pop("evidence"))
        manifest = Manifest(raw["predicate"]["resources"][0]["name"], facts, evidence=evidence, **ours)
    except (ConfigError, ValueError, TypeError, LookupError) as error:
        raise Damaged(f"{where}: is not a statement of {FORMAT}: {error}", FRESH) from error
    if manifest.encode() != data:
        raise Damaged(f"{where}: its digests are not those of what it says", FRESH)
    return manifest


def _is_digest(value: Any) -> bool:
    return is_hex(value, 32)


def _is_data(value: Any) -> bool:
    fits = isinstance(value, Mapping) and len(value) <= MOST_DATA
    return fits and all(document.is_text(name) and _is_digest(one) for name, one in value.items())


_DIGEST = (_is_digest, "SHA-256 in hex")
_Check = tuple[Callable[[Any], bool], str]

_EVIDENCE: dict[str, _Check] = {
    "data": (_is_data, f"at most {MOST_DATA} names with SHA-256 in hex"),
    "code": (lambda value: isinstance(value, str) and bool(COMMIT.fullmatch(value)), "a commit's id in hex"),
    "configuration": _DIGEST,
    "recipe": _DIGEST,
    "summary": _DIGEST,
    "run": (document.is_text, "printable text"),
    "weights": _DIGEST,
}

_FIELDS: dict[str, _Check] = {
    "file": (lambda value: document.is_text(value) and "/" not in value, "the name of a file in printable characters"),
    "h": (lambda value: is_hex(value, 64), "64 bytes in hex"),
    "root": (lambda value: any(is_hex(value, one.digest_size) for one in SUITES.values()), "a digest in hex"),
    "signer": (lambda value: is_hex(value, ID), "32 bytes in hex"),
    "parent_statement": (lambda value: value == "" or _is_digest(value), "SHA-256 in hex, or nothing"),
}
