"""The core: the public facts of a sealed file, bound to its key and its signature."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harden.errors import ConfigError
from harden.sealing import canonical
from harden.sealing.canonical import is_count, is_hex, is_plain
from harden.sealing.errors import Damaged

LONGEST = 65_536
"""Bytes of the longest core."""

LARGEST_PLAINTEXT = 2**41
"""Bytes below which a plaintext lies, so that the hash list (64 MiB for SHA-256) fits into memory."""

ENTRIES, ENTRY = 32, 1024
"""How many metadata entries there may be, and characters in one value."""

FORMATS = ("safetensors", "bytes")


@dataclass(frozen=True)
class Facts:
    """What whoever seals says of the file: all of it public, all of it bound.

    `model_id`, `epoch`: the counter of the trust store. `parent`: H of the epoch before in hex, or nothing.
    `metadata`: further facts, such as round, watermark (digest of the claim) and bom (of the bill of materials).
    """

    model_id: str
    epoch: int = 1
    parent: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, (fits, wanted) in _FACTS.items():
            if not fits(value := getattr(self, name)):
                raise ConfigError(f"{name} must be {wanted}, got {_short(value)}")


@dataclass(frozen=True)
class Core:
    """The facts and what sealing adds to them. `signer` is the id in hex, or nothing for an unsigned file."""

    facts: Facts
    created: int
    file_id: str
    format: str
    plaintext_bytes: int
    signer: str

    def encode(self) -> bytes:
        """Canonical JSON with every field; ConfigError where it is longer than a core may be."""
        facts = self.facts
        text = canonical.encode(
            {
                "created": self.created,
                "epoch": facts.epoch,
                "file_id": self.file_id,
                "format": self.format,
                "metadata": dict(facts.metadata),
                "model_id": facts.model_id,
                "parent": facts.parent,
                "plaintext_bytes": self.plaintext_bytes,
                "signer": self.signer,
            }
        )
        if len(text) > LONGEST:
            raise ConfigError(f"the metadata takes {len(text)} bytes, at most {LONGEST} fit", "say less")
        return text


def decode(data: bytes, where: str) -> Core:
    """The core that `Core.encode` wrote; Damaged, naming `where`, for all other bytes."""
    try:
        raw = canonical.decode(data)
    except ValueError as error:
        raise _damaged(where, "is not canonical JSON") from error
    if raw.keys() != _FIELDS.keys():
        raise _damaged(where, "does not have exactly the fields of version 1")
    for name, (fits, wanted) in _FIELDS.items():
        if not fits(raw[name]):
            raise _damaged(where, f"has a wrong {name}, wanted {wanted}")
    facts = Facts(**{name: raw.pop(name) for name in _FACTS})
    return Core(facts, **raw)


def _damaged(where: str, what: str) -> Damaged:
    return Damaged(f"{where}: the core {what}", "the file was changed: get a fresh copy")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_metadata(value: Any) -> bool:
    if not isinstance(value, Mapping) or len(value) > ENTRIES:
        return False
    keys_fit = all(is_plain(key) and 1 <= len(key) <= ENTRY for key in value)
    return keys_fit and all(is_plain(one) and len(one) <= ENTRY for one in value.values())


_FACTS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "model_id": (
        lambda value: is_plain(value) and 1 <= len(value) <= ENTRY,
        f"1 to {ENTRY} printable ASCII characters without quote and backslash",
    ),
    "epoch": (lambda value: is_count(value) and value >= 1, "a whole number from 1"),
    "parent": (lambda value: value == "" or is_hex(value, 64), "64 bytes in hex, or nothing"),
    "metadata": (_is_metadata, f"at most {ENTRIES} names and texts of {ENTRY} printable ASCII characters"),
}

_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    **_FACTS,
    "created": (is_count, "seconds since 1970"),
    "file_id": (lambda value: is_hex(value, 16), "16 bytes in hex"),
    "format": (lambda value: value in FORMATS, " or ".join(FORMATS)),
    "plaintext_bytes": (
        lambda value: is_count(value) and value < LARGEST_PLAINTEXT,
        f"a whole number below {LARGEST_PLAINTEXT}",
    ),
    "signer": (lambda value: value == "" or is_hex(value, 32), "32 bytes in hex, or nothing"),
}
