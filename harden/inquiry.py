"""Looking for marks, as the door does it: suspect, claim, keys, verdict."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from harden.errors import ConfigError, HardenError, Untrusted
from harden.marking import DiscloseRequest, TraceRequest, VerifyMarkRequest
from harden.models.container import decode
from harden.owners import BOOK, CLAIM, Owner, book_beside, checker, claim_at, owner_at, public_at, read_small
from harden.sealing.publish import PRIVATE, write_new
from harden.unlocking import Desk
from harden.watermarking import Claim, Mark, Suspicion, Tries, Verdict, trace, verify
from harden.watermarking import claim as claims
from harden.watermarking.digest import digest_of
from harden.watermarking.disclosure import Disclosure, disclose
from harden.watermarking.disclosure import parse as parse_leaf
from harden.weighing import loaded, renamed


@dataclass(frozen=True)
class Found:
    """A suspect, the claim that was asked about, and the verdict. `shown`: leaves that were left out."""

    path: Path
    weights: dict[str, Tensor]
    claim: Claim
    mark: Mark
    verdict: Verdict
    shown: tuple[int, ...]


def inquire(request: VerifyMarkRequest) -> Found:
    """The verdict on the suspect. Raises Untrusted for a claim, leaf or sidecar that cannot be believed."""
    desk = Desk(request)
    claim, mark, shown = _by_leaf(request, desk) if request.leaf else _by_key(request, desk)
    path = Path(str(request.weights))
    weights = loaded(path).tensors
    if request.map:
        weights = renamed(weights, Path(request.map))
    sidecar = _sidecar(request.sidecar, claim) if request.sidecar else None
    verdict = verify(weights, mark, sidecar=sidecar, tries=Tries(leaves=1))
    return Found(path, weights, claim, mark, verdict, shown)


def _by_key(request: VerifyMarkRequest, desk: Desk) -> tuple[Claim, Mark, tuple[int, ...]]:
    """The claim and all of its leaves but those that the owner's book says were shown."""
    path = Path(str(request.claim))
    claim = claim_at(path, desk.provider)
    mark = owner_at(str(request.owner), desk).mark(claim)
    shown = book_beside(path, claim).shown
    kept = [one for one in range(mark.leaves) if one not in shown]
    if not kept:
        raise HardenError(
            f"{path}: every leaf of this claim was shown", "each can be verified by itself: leaf=leaf.json"
        )
    return claim, mark.only(*kept), shown


def _by_leaf(request: VerifyMarkRequest, desk: Desk) -> tuple[Claim, Mark, tuple[int, ...]]:
    path = Path(str(request.leaf))
    accept = partial(claims.check, by=checker(desk.provider), where=str(path))
    found = parse_leaf(read_small(path), str(path), accept)
    if request.owner and (wanted := public_at(request.owner, desk)) != found.claim.body.owner:
        raise Untrusted(f"{path}: is of owner {found.claim.body.owner}, wanted {wanted}")
    return found.claim, found.mark, ()


def _sidecar(path: str, claim: Claim) -> dict[str, Tensor]:
    """The unmarked weights, which must be the very ones of the claim: others could have seen the mark."""
    tensors, _ = decode(Path(path))
    if not claim.body.sidecar_digest or digest_of(tensors) != claim.body.sidecar_digest:
        raise Untrusted(
            f"{path}: is not the sidecar of this claim",
            "weights that were chosen after the keys may hold the mark themselves, and make an innocent look marked",
        )
    return tensors


@dataclass(frozen=True)
class Leak:
    """Who is named: suspicions, strongest first, each with the name that the owner's book gives it."""

    suspicions: tuple[tuple[str, Suspicion], ...]

    @property
    def named(self) -> list[str]:
        """The recipients that stand above the threshold."""
        return [name for name, one in self.suspicions if one.named]


def pursue(request: TraceRequest) -> Leak:
    """Looks for every recipient's mark in a leaked copy."""
    desk = Desk(request)
    owner = owner_at(str(request.owner), desk)
    names, marks = _recipients(Path(str(request.claims)), owner, desk)
    weights, base = (loaded(Path(str(path))).tensors for path in (request.weights, request.base))
    found = trace(weights, base, marks)
    return Leak(tuple((names[one.claim_id], one) for one in found))


def _recipients(folder: Path, owner: Owner, desk: Desk) -> tuple[dict[str, str], dict[str, Mark]]:
    """Names and marks by claim id, of the recipients' claims in the folder and below."""
    names, marks = {}, {}
    for path in sorted(folder.rglob(CLAIM)):
        claim = claim_at(path, desk.provider)
        if not claim.body.recipient or claim.body.owner != owner.id:
            continue
        book = book_beside(path, claim)
        right = book.digest == claim.body.recipient
        names[claim.id] = book.recipient if right else f"unnamed, claim {claim.id[:16]}"
        marks[claim.id] = owner.mark(claim)
    if not marks:
        raise ConfigError(
            f"{folder}: holds no claim of a recipient of this owner", "action=embed recipient=NAME makes one"
        )
    return names, marks


def reveal(request: DiscloseRequest) -> Disclosure:
    """Writes a leaf for a third party, and notes in the owner's book that it was shown."""
    desk, path = Desk(request), Path(str(request.claim))
    claim = claim_at(path, desk.provider)
    owner = owner_at(str(request.owner), desk)
    owner.mark(claim)
    book = book_beside(path, claim)
    left = [one for one in range(claim.body.leaves) if one not in book.shown]
    if request.leaf is None and not left:
        raise ConfigError(f"{path}: every one of its {claim.body.leaves} leaves was shown", "leaf=0 shows one again")
    found = disclose(owner.key, claim, left[0] if request.leaf is None else request.leaf)
    write_new(Path(str(request.output)), found.encode(), mode=PRIVATE)
    book.with_shown(found.number).write(path.parent / BOOK)
    return found
