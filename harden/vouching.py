"""The signed manifest beside a sealed file: all that can be wrong with it is found before there is a file."""

import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from harden.errors import ConfigError
from harden.sealing import Facts, Identity, Provider, Sealed, Signer, Trust, inspect, trust_of
from harden.sealing.heads import opened
from harden.sealing.opening import unlocked
from harden.sealing.provenance import (
    Evidence,
    Manifest,
    check_against,
    check_parent,
    digest_of,
    gather,
    is_manifest,
    kept_path,
    manifest_of,
    manifest_path,
    publish,
    read_manifest,
)
from harden.sealing.provenance.gathering import SUMMARY
from harden.sealing.publish import check_free, write_new
from harden.sealing.request_files import Vouching
from harden.sealing.trust import OneSigner

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parent:
    """The round before: its manifest, believed, and where that lies."""

    path: Path
    manifest: Manifest


@dataclass(frozen=True)
class Voucher:
    """A manifest that is written once its file is there."""

    signer: Signer
    evidence: Evidence
    parent: Parent | None
    output: Path
    overwrite: bool

    def write(self, made: Sealed) -> Manifest:
        """Signs and writes it; a manifest of the round before that it replaces is kept under another name."""
        before = self.parent.manifest if self.parent else None
        manifest = manifest_of(made.head, made.root, self.evidence, self.signer.key.id, parent=before)
        if self.parent and (kept := self.kept) and not kept.exists():
            write_new(kept, self.parent.path.read_bytes())
        publish(manifest, self.signer, self.output, overwrite=self.overwrite)
        return manifest

    @property
    def kept(self) -> Path | None:
        """Where the manifest of the round before goes, if this one takes its place."""
        if not self.parent or not _is_same(self.parent.path, self.output):
            return None
        return kept_path(self.output, self.parent.manifest)


def voucher(
    request: Vouching,
    sealed: Path,
    signer: Signer | None,
    evidence: Callable[[], Evidence],
    parent: Parent | None,
    *,
    before: Path | None,
    overwrite: bool,
) -> Voucher | None:
    """What writes the manifest of the file that `sealed` will be; None where none is wanted, or can be.

    `before`: the file of the round before, whose manifest `parent` is. Raises ConfigError where one is in the way.
    """
    output = manifest_path(sealed)
    if before and _is_same(before, sealed) and parent is None:
        logger.warning("%s: replaces the round before, of which no manifest is kept: walks end here", sealed)
    if signer is None or request.manifest is False or (before and parent is None):
        if os.path.lexists(output):
            raise ConfigError(
                f"{output}: is there already, and would not be of this file", "remove it, or name another"
            )
        return None
    if not sealed.name.isprintable():
        raise ConfigError("a manifest names its file in printable characters", "output=... with another name")
    check_free(output, overwrite=overwrite)
    return Voucher(signer, evidence(), parent, output, overwrite)


def parent_of(
    request: Vouching,
    before: Path,
    signer: Signer | None,
    trust: Trust | None,
    by: Provider,
    facts: Facts | None = None,
) -> Parent | None:
    """The round before, as the manifest of the sealed file `before`, or the manifest `before`, has it.

    None, with a warning, where it has none. `facts`: those of the file that continues it. Raises ConfigError where
    they do not go together, or there is none though one was asked for; as `read_manifest` does; Mismatch.
    """
    path = before if is_manifest(before) else manifest_path(before)
    if signer is None or request.manifest is False:
        return None
    if not path.exists():
        if request.manifest:
            raise ConfigError(
                f"{path}: is not there, and a manifest names that of the round before",
                f"write it first: python -m harden.seal action=vouch sealed={before} signer=...",
            )
        logger.warning("%s: is not there: so no manifest is written, and no walk gets past this round", path)
        return None
    manifest = read_manifest(path, trust or OneSigner(signer.key), by)
    if path != before:
        check_against(manifest, inspect(before))
    if facts is not None:
        check_parent(str(before), facts, manifest)
    return Parent(path, manifest)


def trust_or_own(path: str | None, signer: Signer, *, allow_rollback: bool = False) -> Trust:
    """Whom a request believes of the round before: whom it names, or its own signer."""
    return trust_of(Path(path), allow_rollback=allow_rollback) if path else OneSigner(signer.key)


def evidence_in(request: Vouching) -> Evidence:
    """What the run says that the request names; that it made the weights is the signer's word."""
    return gather(Path(request.run), code=request.code) if request.run else Evidence(code=request.code or "")


def evidence_of(request: Vouching, weights: Path) -> Evidence:
    """What is known of a plain weights file: what the run in `request.run` says, or the one in its own folder."""
    folder = Path(request.run) if request.run else weights.parent
    if not request.run and not (folder / SUMMARY).is_file():
        return _told(request, Evidence(code=request.code or ""), digest_of(weights) if request.tell_weights else "")
    digest = digest_of(weights)
    try:
        found = gather(folder, weights=digest, code=request.code)
    except ConfigError as error:
        if request.run:
            raise
        logger.info("nothing is said of a run: %s", error.message)
        found = Evidence(code=request.code or "")
    return _told(request, found, digest)


def evidence_again(
    request: Vouching, sealed: Path, before: Parent | None, identity: Identity, trust: Trust | None, by: Provider
) -> Evidence:
    """What is known of a sealed file's content: what its manifest says still holds when it is sealed anew."""
    found = before.manifest.evidence if before else Evidence()
    digest = _digest_within(sealed, identity, trust, by) if request.run or request.tell_weights else ""
    if request.run:
        found = gather(Path(request.run), weights=digest, code=request.code)
    elif request.code:
        found = replace(found, code=request.code)
    return _told(request, found, digest)


def _told(request: Vouching, evidence: Evidence, digest: str) -> Evidence:
    return replace(evidence, weights=digest if request.tell_weights else "")


def _digest_within(sealed: Path, identity: Identity, trust: Trust | None, by: Provider) -> str:
    digest = hashlib.sha256()
    with opened(sealed) as handle:
        for piece in unlocked(handle, str(sealed), identity, trust, by).payload.pieces():
            digest.update(piece)
    return digest.hexdigest()


def _is_same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()
