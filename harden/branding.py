"""Embedding a mark, as the door runs it: keys, weights, claim, bytes read back, accuracy, files, record."""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from harden.errors import ConfigError, HardenError, Untrusted, WatermarkError
from harden.evaluation.paired import Paired
from harden.files import write_bytes
from harden.marking import EmbedRequest
from harden.models import digest_of_weights, is_sealed
from harden.models.container import decode, encode
from harden.owners import (
    BOOK,
    CLAIM,
    RECEIPT,
    SIDECAR,
    WEIGHTS,
    Book,
    Owner,
    claim_at,
    fresh_salt,
    owner_at,
)
from harden.sealing.publish import PRIVATE, write_new
from harden.unlocking import Desk
from harden.watermarking import Body, Claim, Embedded, Layout, Mark, Plan, claim_of, embedded, layout_of, plan, verify
from harden.watermarking import receipt as receipts
from harden.watermarking.claim import fresh_nonce, now
from harden.watermarking.digest import digest_of
from harden.watermarking.embed import measure
from harden.watermarking.receipt import Receipt
from harden.watermarking.sidecar import sidecar_of
from harden.watermarking.verify import Verdict
from harden.weighing import Loaded, loaded, scale_for

logger = logging.getLogger(__name__)

STORED = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
"""The types that a receipt tells the evidence for."""


@dataclass(frozen=True)
class Branded:
    """A mark that was embedded and checked on the very bytes that are written."""

    claim: Claim
    plan: Plan
    done: Embedded
    verdict: Verdict
    receipt: Receipt
    change: dict[str, Paired] | None
    layout: Layout
    folder: Path


class LostAccuracy(HardenError):
    """The mark would cost more accuracy than was allowed; an answer, told as the door's no."""

    exit_code = 3


def brand(request: EmbedRequest) -> Branded:
    """Embeds the mark and writes the folder, whole or not at all. Raises what the parts raise, LostAccuracy."""
    folder = Path(str(request.output))
    if os.path.lexists(folder):
        raise ConfigError(f"output={folder}: exists already", "choose another folder")
    desk = Desk(request)
    owner = owner_at(str(request.owner), desk)
    parent = claim_at(Path(request.parent), desk.provider) if request.parent else None
    below = owner.mark(parent) if parent else None
    base = loaded(Path(str(request.weights)))
    _refuse_marked(base, owner, desk, below)
    if parent and below and request.recipient:
        _check_parent(base, below, parent)
    return _Brander(request, owner, base, parent, below).write(folder)


class _Brander:
    """An embedding whose keys and weights fit."""

    def __init__(
        self, request: EmbedRequest, owner: Owner, base: Loaded, parent: Claim | None, below: Mark | None
    ) -> None:
        self.request, self.owner, self.base = request, owner, base
        self.parent, self.below = parent, below
        self.layout = layout_of(base.tensors, skip=request.skip)
        self.plan = plan(
            self.layout.count,
            profile=request.profile,
            level=request.level,
            bits=request.bits,
            headroom=request.headroom,
            leaves=request.leaves,
        )
        self.sidecar = sidecar_of(base.tensors, self.layout)

    def write(self, folder: Path) -> Branded:
        salt = fresh_salt() if self.request.recipient else ""
        book = Book("", self.request.recipient or "", salt)
        claim = self._claim(book)
        mark = self.owner.mark(claim)
        logger.info("embedding %d bits in %d weights, alpha %.3f", self.plan.bits, self.layout.count, self.plan.alpha)
        weights, done = embedded(self.base.tensors, mark, self.plan, holding=self._holding())
        scale = scale_for(self.request, self.base)
        change = scale.change(scale.weigh(weights)) if scale else None
        if change:
            self._gate(change)
        with _whole(folder) as part:
            stored = self._store(weights, part / WEIGHTS)
            verdict = self._checked(stored, mark, done)
            receipt = self._receipt(claim, mark, stored, done, change, part / WEIGHTS)
            write_bytes(part / CLAIM, claim.encode())
            write_bytes(part / RECEIPT, receipts.encode(receipt, self.owner.public, self.owner.sign))
            write_new(part / SIDECAR, encode(self.sidecar, {}), mode=PRIVATE)
            Book(claim.id, book.recipient, book.salt).write(part / BOOK)
        return Branded(claim, self.plan, done, verdict, receipt, change, self.layout, folder)

    def _holding(self) -> list[tuple[Mark, float]]:
        """A recipient's mark may not weaken the owner's below it."""
        if self.below is None or not self.request.recipient:
            return []
        _, slots = measure(self.base.tensors, self.below)
        return [(self.below, max(0.0, float(slots.margins.min())))]

    def _claim(self, book: Book) -> Claim:
        request = self.request
        body = Body(
            owner=self.owner.id,
            model_id=request.model_id,
            base_digest=digest_of(self.base.tensors),
            sidecar_digest=digest_of(self.sidecar),
            layout_digest=self.layout.digest,
            round=request.round,
            recipient=book.digest,
            parent=self.parent.id if self.parent else "",
            profile=self.plan.profile.value,
            bits=self.plan.bits,
            leaves=self.plan.leaves,
            created=now(),
            nonce=fresh_nonce(),
        )
        return claim_of(body, self.layout, self.owner.key, public=self.owner.public, sign=self.owner.sign)

    def _gate(self, change: dict[str, Paired]) -> None:
        for name, one in change.items():
            if one.difference > self.request.score.tolerance and one.p < 0.05:
                raise LostAccuracy(
                    f"the mark would cost {100 * one.difference:.1f} points of {name} accuracy on {one.n} images "
                    f"(McNemar p {one.p:.2g}), allowed are {100 * self.request.score.tolerance:.1f}; nothing written",
                    "train with watermark=owner, use a larger network, or say score.tolerance=",
                )

    def _store(self, weights: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
        """Writes the file and gives back what stands in it."""
        contiguous = {name: tensor.contiguous() for name, tensor in weights.items()}
        data = encode(contiguous, self.base.metadata)
        if is_sealed(self.base.path):
            write_new(path, data, mode=PRIVATE)
        else:
            write_bytes(path, data)
        return decode(path)[0]

    def _checked(self, stored: dict[str, Tensor], mark: Mark, done: Embedded) -> Verdict:
        """The verdict on the bytes as stored; WatermarkError where a margin was lost on the way."""
        _, slots = measure(stored, mark)
        margin = float(slots.margins.min())
        verdict = verify(stored, mark, sidecar=self.sidecar)
        if self.plan.margin and (margin < self.plan.margin or verdict.blind.errors):
            raise WatermarkError(
                f"the mark did not survive being stored: a bit has margin {margin:.3f}, wanted {self.plan.margin:.3f}"
            )
        if not verdict.holds:
            raise WatermarkError(f"the mark cannot be found where it was written: log10 p is {verdict.log10_p:.1f}")
        return verdict

    def _receipt(
        self,
        claim: Claim,
        mark: Mark,
        stored: dict[str, Tensor],
        done: Embedded,
        change: dict[str, Paired] | None,
        path: Path,
    ) -> Receipt:
        named = {layer.name for layer in self.layout.layers}
        evidence = {}
        for name, dtype in STORED.items():
            cast = {key: value.to(dtype) if key in named else value for key, value in stored.items()}
            evidence[name] = f"{verify(cast, mark).log10_p:.1f}"
        return Receipt(
            claim.id,
            digest_of_weights(path),
            digest_of(stored),
            alpha=f"{done.alpha:.4f}",
            margin=f"{done.margin:.3f}",
            log10_p=evidence,
            visibility=f"{self.plan.visibility:.4f}",
            detectable=f"{self.plan.detectable:.3f}",
            accuracy=_accuracy(change),
        )


def _accuracy(change: dict[str, Paired] | None) -> dict[str, str]:
    """Clean and robust accuracy before and after, and on how many images."""
    told = {}
    for name, one in (change or {}).items():
        told |= {"images": str(one.n), f"{name}_before": f"{(one.both + one.only_first) / one.n:.4f}"}
        told |= {f"{name}_after": f"{(one.both + one.only_second) / one.n:.4f}", f"{name}_p": f"{one.p:.3g}"}
    return told


def _check_parent(base: Loaded, below: Mark, parent: Claim) -> None:
    if not verify(base.tensors, below).holds:
        raise Untrusted(
            f"{base.path}: does not carry the mark of the parent claim {parent.id[:16]}",
            "weights= must be the owner's marked weights, parent= their claim",
        )


def _refuse_marked(base: Loaded, owner: Owner, desk: Desk, below: Mark | None) -> None:
    """ConfigError where the claim beside the weights is in them already, unless it is named as the parent."""
    beside = base.path.parent / CLAIM
    if not beside.is_file():
        return
    claim = claim_at(beside, desk.provider)
    if claim.body.owner != owner.id or (below is not None and below.slots == owner.mark(claim).slots):
        return
    try:
        found = verify(base.tensors, owner.mark(claim)).holds
    except WatermarkError:
        return
    if found:
        raise ConfigError(
            f"{base.path}: is already marked, by the claim beside it", f"to mark it once more: parent={beside}"
        )


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A folder that appears under its name when the block ends well, and leaves nothing behind otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        yield part
        part.chmod(0o755)  # mkdtemp makes 0700; secret files in it are 0600 themselves
        part.rename(path)
    except OSError as error:
        raise HardenError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
