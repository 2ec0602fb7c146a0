"""Manifests as files: `<name>.manifest.json` beside a sealed file, written whole, read strictly, compared with it."""

from pathlib import Path

from harden.errors import ConfigError
from harden.sealing.checking import Report
from harden.sealing.core import Facts
from harden.sealing.errors import Damaged, Mismatch
from harden.sealing.heads import FRESH, Head, opened, read_head, read_marked
from harden.sealing.payload import Payload
from harden.sealing.provenance import document, envelope, statement
from harden.sealing.provenance.envelope import Envelope
from harden.sealing.provenance.statement import Evidence, Manifest
from harden.sealing.provider import Provider, provider
from harden.sealing.publish import check_free, write_new
from harden.sealing.signing import Signer
from harden.sealing.trust import Trust

SUFFIX = ".manifest.json"


def manifest_path(sealed: Path) -> Path:
    """Where the manifest of a sealed file lies."""
    return sealed.with_name(sealed.name + SUFFIX)


def kept_path(path: Path, manifest: Manifest) -> Path:
    """Where the manifest at `path` is kept when its file is replaced: a walk finds it under any name."""
    return path.with_name(f"{path.name.removesuffix(SUFFIX)}.epoch-{manifest.facts.epoch}{SUFFIX}")


def is_manifest(path: Path) -> bool:
    """Whether `path` is called as manifests are."""
    return path.name.endswith(SUFFIX) and path.name != SUFFIX


def write_manifest(
    sealed: Path,
    evidence: Evidence,
    signer: Signer,
    *,
    parent: Manifest | None = None,
    output: Path | None = None,
    overwrite: bool = False,
) -> Manifest:
    """Signs what the sealed file says of itself, and `evidence`, as `output` or beside it; what was signed.

    `parent`: the manifest of the round before, believed by the caller. Every byte of the file's payload is compared
    with its hash list first. Raises ConfigError where `parent` is not that of the file or `output` exists, Damaged.
    """
    output = output or manifest_path(sealed)
    check_free(output, overwrite=overwrite)  # before the expensive part
    head, root = _whole(sealed)
    made = manifest_of(head, root, evidence, signer.key.id, parent=parent)
    publish(made, signer, output, overwrite=overwrite)
    return made


def publish(manifest: Manifest, signer: Signer, output: Path, *, overwrite: bool = False) -> None:
    """Signs the manifest, and writes it as `output`. Raises ConfigError where that exists, or it is too long."""
    data = envelope.encode(envelope.sign(manifest.encode(), signer))
    if len(data) > document.LONGEST:
        raise ConfigError(f"the manifest takes {len(data)} bytes, at most {document.LONGEST} fit", "say less")
    write_new(output, data, overwrite=overwrite)


def manifest_of(
    head: Head, root: bytes, evidence: Evidence, signer: str, *, parent: Manifest | None = None
) -> Manifest:
    """The manifest of the file with this head and root; ConfigError where `parent` is not the round before."""
    facts, name = head.core.facts, Path(head.where).name
    if parent is None and facts.parent:
        raise ConfigError(
            f"{head.where}: continues the file {facts.parent[:16]}..., whose manifest is missing",
            "write the manifest of the round before first, and name it",
        )
    if parent is not None:
        check_parent(head.where, facts, parent)
    pinned = parent.digest if parent else ""
    return Manifest(name, facts, head.bound.hex(), root.hex(), signer, pinned, evidence)


def check_parent(where: str, facts: Facts, parent: Manifest) -> None:
    """Nothing if a file with these facts can continue the round of `parent`; else ConfigError, beginning `where`."""
    if facts.parent != parent.h:
        raise ConfigError(f"{where}: continues another file than {parent.file}, {parent.round}")
    if facts.model_id != parent.facts.model_id:
        raise ConfigError(f"{where}: is of model {facts.model_id}, the round before of {parent.facts.model_id}")
    if facts.epoch <= parent.facts.epoch:
        raise ConfigError(f"{where}: epoch {facts.epoch} does not come after that of {parent.round}")


def read_manifest(path: Path, trust: Trust, by: Provider | None = None) -> Manifest:
    """The manifest at `path`, signed by a trusted signer with every scheme. Raises Damaged, Untrusted, Unreadable."""
    found = envelope.decode(document.read(path), str(path))
    return believed(found, trust, by or provider(), str(path))


def peek(path: Path) -> tuple[Envelope, Manifest]:
    """What the file at `path` says, structurally sound and not believed. Raises Damaged, Unreadable."""
    found = envelope.decode(document.read(path), str(path))
    return found, statement.decode(found.payload, str(path))


def believed(found: Envelope, trust: Trust, by: Provider, where: str) -> Manifest:
    """What the envelope holds, after its signatures were checked against a trusted key."""
    key = trust.key(found.signer, where)
    envelope.check(found, key, where, by)
    manifest = statement.decode(found.payload, where)
    if manifest.signer != key.id:
        raise Damaged(f"{where}: names another signer than the one that signed it", FRESH)
    return manifest


def check_against(manifest: Manifest, report: Report) -> None:
    """Nothing if the manifest is one of the file that `inspect` or `verify` reported; else Mismatch.

    The name of the file may be another: it can be renamed, and says nothing.
    """
    head, root = report.head, report.marked.root
    said = (manifest.h, manifest.root, manifest.facts)
    there = (head.bound.hex(), root.hex(), head.core.facts)
    wrong = [name for name, one, other in zip(("H", "root", "facts"), said, there, strict=True) if one != other]
    if wrong:
        raise Mismatch(
            f"{head.where}: is not the file of its manifest ({manifest.facts.model_id}, {manifest.round}):"
            f" other {' and '.join(wrong)}",
            "file and manifest belong together: get both from one place",
        )


def _whole(sealed: Path) -> tuple[Head, bytes]:
    """Head and root of a file whose payload is what its hash list says."""
    with opened(sealed) as handle:
        head = read_head(handle, str(sealed))
        marked = read_marked(handle, head)
        digest = head.preamble.suite.digest
        Payload(handle, head.layout, head.core.plaintext_bytes, marked.leaves, digest, head.where).check_leaves()
    return head, marked.root
