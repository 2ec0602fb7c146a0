"""What a sealed file says of itself, as lines for people."""

import time
from collections.abc import Sequence
from pathlib import Path

from harden.sealing import Report, Sealed
from harden.sealing.age import Imported
from harden.sealing.heads import Head
from harden.sealing.provenance import Link, Manifest


def sealed_sheet(made: Sealed, recipients: int) -> str:
    """What was made."""
    core = made.head.core
    signed = f"signed by {core.signer}" if core.signer else "not signed"
    return _lines(
        ("sealed", f"{made.head.where}: {made.head.layout.size} bytes, for {recipients}, {signed}"),
        ("model", f"{core.facts.model_id}, epoch {core.facts.epoch}"),
        ("digest", made.head.bound.hex()),
    )


def manifest_sheet(path: Path, manifest: Manifest) -> str:
    """What a manifest says, by whom."""
    after = f", after the round {manifest.parent_statement[:16]}..." if manifest.parent_statement else ""
    return _lines(("manifest", f"{path}: {manifest.round}{after}; says {_said(manifest)}"))


def chain_sheet(links: Sequence[Link]) -> str:
    """The rounds, from the first, that were walked."""
    return _lines(*(("round", _link(link)) for link in links))


def imported_sheet(path: Path, found: Imported, manifest: Manifest | None) -> str:
    """What came out of an age file, and who vouches for it."""
    facts, origin = manifest and manifest.facts, "of unknown origin"
    if manifest and facts:
        origin = f"as {manifest.signer} vouches for: model {facts.model_id}, {manifest.round}"
    rows = [("imported", f"{path}: {found.plaintext_bytes} bytes, {origin}"), ("sha256", found.sha256)]
    if "X25519" in found.recipients:
        rows.append(("note", "it was encrypted for a classical key too, which a quantum computer would open"))
    return _lines(*rows)


def facts_sheet(report: Report) -> str:
    """The facts of a file, whether they were checked or not."""
    head = report.head
    core, facts = head.core, head.core.facts
    rows = [
        ("file", f"{head.where}: version 1, suite {head.preamble.suite.name}, {head.layout.size} bytes"),
        ("model", f"{facts.model_id}, epoch {facts.epoch}"),
        *([("parent", facts.parent)] if facts.parent else []),
        *((name, text) for name, text in facts.metadata.items()),
        ("content", f"{core.format}, {core.plaintext_bytes} bytes"),
        ("created", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(core.created)) + " by its maker's clock"),
        ("opens for", _recipients(report)),
        ("signer", core.signer or "none"),
        ("digest", _digest(head)),
    ]
    return _lines(*rows)


def _recipients(report: Report) -> str:
    count = len(report.slots.newest.entries)
    return f"{count} recipient{'s' * (count != 1)}; which, the file does not say"


def _digest(head: Head) -> str:
    return head.bound.hex()


def _link(link: Link) -> str:
    manifest = link.manifest
    file = "head and hash list of its file were compared" if link.sealed else "its file is not here"
    return f"{manifest.round}: {link.path.name}, {file}; signed by {manifest.signer}; says {_said(manifest)}"


def _said(manifest: Manifest) -> str:
    """What its evidence says, digests cut short."""
    evidence = manifest.evidence
    found = [f"data {name} {digest[:16]}..." for name, digest in sorted(evidence.data.items())]
    found += [f"code {evidence.code}"] * bool(evidence.code)
    digests = {name: getattr(evidence, name) for name in ("configuration", "recipe", "summary", "weights")}
    found += [f"{name} {digest[:16]}..." for name, digest in digests.items() if digest]
    found += [f"run {evidence.run}"] * bool(evidence.run)
    return ", ".join(found) or "nothing of how it came about"


def _lines(*rows: tuple[str, str]) -> str:
    return "".join(f"{name:<9} {text}\n" for name, text in rows)
