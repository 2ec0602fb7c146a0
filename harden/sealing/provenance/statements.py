"""A signed statement about any files: an in-toto statement in a DSSE envelope beside them, in one spelling.

    {"_type":"https://in-toto.io/Statement/v1","predicateType":KIND,
     "subject":[{"name":FILE,"digest":{"sha256":SHA-256}}],"predicate":{...}}

For what is not sealed: records of rounds, reviews. Manifests of sealed files say more and are another kind.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harden.sealing.canonical import is_hex
from harden.sealing.errors import Damaged
from harden.sealing.heads import FRESH
from harden.sealing.provenance import document, envelope
from harden.sealing.provenance.statement import STATEMENT_TYPE
from harden.sealing.provider import Provider, provider
from harden.sealing.publish import write_new
from harden.sealing.signing import Signer
from harden.sealing.trust import Trust

SUFFIX = ".sig"


@dataclass(frozen=True)
class Attested:
    """What a statement says. files: SHA-256 in hex by name; signer: its id; said: the predicate."""

    files: Mapping[str, str]
    signer: str
    said: Mapping[str, Any]


def attest(
    output: Path, kind: str, files: Mapping[str, str], said: Mapping[str, Any], signer: Signer, *, overwrite: bool
) -> None:
    """Signs `said` of `files`, SHA-256 in hex by name, as `output`, with every scheme of the signer.

    `kind`: a URI for what is said. Raises ConfigError where `output` exists and is not to be replaced.
    """
    subject = [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(files.items())]
    statement = {"_type": STATEMENT_TYPE, "predicateType": kind, "subject": subject, "predicate": dict(said)}
    data = envelope.encode(envelope.sign(document.encode(statement), signer))
    write_new(output, data, overwrite=overwrite)


def attested(path: Path, kind: str, trust: Trust, by: Provider | None = None) -> Attested:
    """What `attest` signed, by a trusted signer and with every scheme. Raises Damaged, Untrusted, Unreadable."""
    return attested_in(document.read(path), str(path), kind, trust, by)


def attested_in(data: bytes, where: str, kind: str, trust: Trust, by: Provider | None = None) -> Attested:
    """As `attested`, of bytes that came from `where`."""
    found = envelope.decode(data, where)
    envelope.check(found, trust.key(found.signer, where), where, by or provider())
    said = document.decode(found.payload, where)
    if said.keys() != {"_type", "predicateType", "subject", "predicate"} or said["_type"] != STATEMENT_TYPE:
        raise Damaged(f"{where}: is no in-toto statement", FRESH)
    if said["predicateType"] != kind:
        raise Damaged(f"{where}: says {str(said['predicateType'])[:60]!r}, wanted {kind}", FRESH)
    return Attested(_files(said["subject"], where), found.signer, said["predicate"])


def _files(subject: Sequence[Any], where: str) -> dict[str, str]:
    try:
        files = {str(one["name"]): one["digest"]["sha256"] for one in subject}
    except (TypeError, KeyError) as error:
        raise Damaged(f"{where}: names no files", FRESH) from error
    if not all(is_hex(digest, 32) for digest in files.values()):
        raise Damaged(f"{where}: names a file without its SHA-256", FRESH)
    return files
