"""From a round back to the first: each manifest names the sealed file and the manifest of the round before.

A link holds where a trusted signer made it, its model is the same, its epoch lower, and it is the very statement that
the next round was signed over. Nobody can change a past round then, its own signer included, without every later
round being signed again. What a chain cannot show is that there is no later round: the trust store remembers that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harden.errors import ConfigError
from harden.sealing.checking import inspect
from harden.sealing.errors import BrokenChain, Damaged, Forked, Untrusted
from harden.sealing.provenance.manifests import believed, check_against, is_manifest, manifest_path
from harden.sealing.provenance.shelf import Found, Shelf, found_at, shelf_of
from harden.sealing.provenance.statement import Manifest
from harden.sealing.provider import Provider, provider
from harden.sealing.trust import Trust


@dataclass(frozen=True)
class Link:
    """A believed round. `sealed`: its file, if it lies beside the manifest; its head and hash list were compared."""

    path: Path
    manifest: Manifest
    sealed: Path | None


@dataclass(frozen=True)
class Walk:
    """What a walk needs at each step."""

    shelf: Shelf
    trust: Trust
    by: Provider


def walk(start: Path, trust: Trust, *, among: Sequence[Path] = (), by: Provider | None = None) -> list[Link]:
    """The rounds from the first to `start`: a sealed file, a manifest, or a folder with one chain.

    Earlier manifests are looked for in the same folder and `among` further ones. In a folder that is walked as a
    whole every manifest must hold; from a file, what strangers put beside it is passed over. Raises BrokenChain,
    Forked, Mismatch, UnknownSigner, BadSignature, RolledBack, naming the round; Damaged, Unreadable, ConfigError.
    """
    folder = start if start.is_dir() else start.parent
    trip = Walk(shelf_of([folder, *among]), trust, by or provider())
    tip = _tip(trip, start) if start.is_dir() else found_at(start if is_manifest(start) else manifest_path(start))
    chain = [_believe(trip, tip)]
    newest = chain[0].manifest
    trust.check(newest.signer, newest.facts.model_id, newest.seen, _name(tip))
    if not start.is_dir() and not is_manifest(start):
        check_against(newest, inspect(start))
    while chain[-1].manifest.facts.parent:
        chain.append(_parent(trip, chain))
    _check_forks(trip, chain)
    if start.is_dir():
        _check_complete(trip, chain)
    return chain[::-1]


def _parent(trip: Walk, chain: list[Link]) -> Link:
    """The round before the last of `chain`."""
    child = chain[-1].manifest
    where, wanted = f"{chain[-1].path}: {child.facts.model_id}, {child.round}", child.facts.parent
    if wanted in {link.manifest.h for link in chain}:
        raise BrokenChain(f"{where}: goes in a circle: its parent comes after it")
    found = trip.shelf.of(wanted)
    if not found:
        raise BrokenChain(
            f"{where}: the round before it is missing: no manifest of {wanted[:16]}...{trip.shelf.apology}",
            "put the manifests of all rounds into one folder",
        )
    pinned = [one for one in found if one.manifest.digest == child.parent_statement]
    if not pinned:
        raise BrokenChain(f"{where}: the round before it was changed: {_name(found[0])} is not what it was signed over")
    link = _first_believed(trip, pinned)
    _check_step(link, child, where)
    return link


def _check_step(link: Link, child: Manifest, where: str) -> None:
    before, facts = link.manifest.facts, child.facts
    if before.model_id != facts.model_id:
        raise BrokenChain(f"{where}: the round before it is of another model: {before.model_id} in {link.path}")
    if before.epoch >= facts.epoch:
        raise BrokenChain(f"{where}: its epoch does not rise: {link.path} before it is {link.manifest.round}")


def _first_believed(trip: Walk, copies: list[Found]) -> Link:
    """One statement may lie there more than once, signed well and badly: one good copy is enough."""
    for one in copies[:-1]:
        try:
            return _believe(trip, one)
        except (Damaged, Untrusted):
            continue
    return _believe(trip, copies[-1])


def _believe(trip: Walk, found: Found) -> Link:
    """The link, its signatures and the file beside it checked."""
    manifest = believed(found.envelope, trip.trust, trip.by, _name(found))
    sealed = found.sealed if found.sealed.is_file() else None
    if sealed is not None:
        check_against(manifest, inspect(sealed))
    return Link(found.path, manifest, sealed)


def _check_forks(trip: Walk, chain: list[Link]) -> None:
    """Nothing if no believable manifest at hand stands beside the chain."""
    model, on = chain[0].manifest.facts.model_id, {link.manifest.h for link in chain}
    epochs = {(link.manifest.signer, link.manifest.facts.epoch) for link in chain}
    signers = {link.manifest.signer for link in chain}
    continued = {link.manifest.facts.parent for link in chain} - {""}
    for found in trip.shelf.found:
        one = found.manifest
        is_beside = one.facts.model_id == model and one.h not in on
        is_twin = (one.signer, one.facts.epoch) in epochs or (not one.facts.parent and one.signer in signers)
        if is_beside and (one.facts.parent in continued or is_twin) and _holds(trip, found):
            raise _forked(found, chain)


def _check_complete(trip: Walk, chain: list[Link]) -> None:
    """Nothing if every manifest of a folder is part of the chain, or a copy of one that is."""
    on = {link.manifest.digest for link in chain}
    for found in trip.shelf.found:
        if found.manifest.digest not in on:
            raise _forked(found, chain)


def _forked(found: Found, chain: list[Link]) -> Forked:
    return Forked(
        f"{_name(found)}: stands beside {chain[0].path}, {chain[0].manifest.round}: both cannot be the same model",
        "two continue the same round, have the same epoch, or speak of the same file: find out which one is meant",
    )


def _holds(trip: Walk, found: Found) -> bool:
    try:
        believed(found.envelope, trip.trust, trip.by, _name(found))
    except (Damaged, Untrusted):
        return False
    return True


def _tip(trip: Walk, folder: Path) -> Found:
    """The last round in a folder whose manifests all hold."""
    trip.shelf.refuse_unreadable()
    for found in trip.shelf.found:
        _believe(trip, found)
    models = sorted({found.manifest.facts.model_id for found in trip.shelf.found})
    if len(models) != 1:
        raise ConfigError(f"{folder}: holds manifests of {len(models)} models, wanted one", "name one sealed file")
    parents = {found.manifest.facts.parent for found in trip.shelf.found}
    tips = [found for found in trip.shelf.found if found.manifest.h not in parents]
    if not tips:
        raise BrokenChain(f"{folder}: {models[0]} goes in a circle: each round is one before another")
    return max(tips, key=lambda found: found.manifest.facts.epoch)


def _name(found: Found) -> str:
    return f"{found.path}: {found.manifest.facts.model_id}, {found.manifest.round}"
