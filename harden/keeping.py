"""A mark that is kept alive while a network is trained: a projection an epoch, and what is signed about it.

The first claim is made before the first step and has no sidecar: every later checkpoint has seen its keys. After the
last step a second, quiet mark is laid on top, whose parent is the first; the network just before it is its sidecar.
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from harden.data import DataSet
from harden.errors import ConfigError
from harden.files import write_bytes
from harden.models.container import encode
from harden.owners import BOOK, CLAIM, SIDECAR, Book, claim_at, owner_at
from harden.sealing.publish import PRIVATE, write_new
from harden.training import TrainRequest
from harden.training import folder as place
from harden.training.network import fresh_model
from harden.unlocking import Desk
from harden.watermarking import Body, Claim, Profile, claim_of, embedded, layout_of, plan, project
from harden.watermarking.claim import fresh_nonce, now
from harden.watermarking.digest import digest_of
from harden.watermarking.request import OwnerMark
from harden.watermarking.sidecar import sidecar_of

FINAL = "final"
"""The folder of the second claim, below that of the first."""


class Keeper:
    """The mark of a training. `begin` in a folder, `project` each epoch, `finish` once, then `write`."""

    def __init__(self, wish: OwnerMark, request: TrainRequest, data: DataSet) -> None:
        if not wish.key:
            raise ConfigError("watermark.key=... is missing", "it names the owner's .key file")
        self.wish, self.desk = wish, Desk(request)
        self.start = _state(fresh_model(request.recipe, data))
        self.layout = layout_of(self.start)
        knobs = {"profile": wish.profile, "level": wish.level, "bits": wish.bits, "headroom": wish.headroom}
        self.plan = plan(self.layout.count, **knobs)  # type: ignore[arg-type]
        self.quiet = plan(self.layout.count, profile=Profile.stealth)
        self.owner = owner_at(wish.key, self.desk)
        self.final: Claim | None = None
        self.sidecar: dict[str, Tensor] = {}

    def begin(self, folder: Path) -> None:
        """Makes the claim of a new run in `folder`, or reads that of one that is resumed."""
        path = folder / place.WATERMARK / CLAIM
        if path.is_file():
            self.claim = claim_at(path, self.desk.provider)
        else:
            self.claim = self._claim(self.start, self.plan.profile, "", "")
            write_bytes(path, self.claim.encode())
        self.mark = self.owner.mark(self.claim)

    def project(self, model: nn.Module) -> None:
        """Gives every bit of the mark its margin in the weights of `model`."""
        weights = _state(model)
        project(weights, self.mark, self.plan.margin)
        _put(model, weights)

    def finish(self, model: nn.Module) -> None:
        """The whole mark in the weights that were chosen, and the second one on top."""
        weights, _ = embedded(_state(model), self.mark, self.plan)
        self.sidecar = sidecar_of(weights, self.layout)
        self.final = self._claim(weights, Profile.stealth, digest_of(self.sidecar), self.claim.id)
        holding = [(self.mark, self.plan.margin)] if self.plan.margin else []
        both, _ = embedded(weights, self.owner.mark(self.final), self.quiet, holding=holding)
        _put(model, both)

    def write(self, folder: Path) -> list[Path]:
        """The second claim, its sidecar and the books; the claims' paths."""
        if self.final is None:
            return []
        first, second = folder / place.WATERMARK, folder / place.WATERMARK / FINAL
        write_bytes(second / CLAIM, self.final.encode())
        write_new(second / SIDECAR, encode(self.sidecar, {}), mode=PRIVATE, overwrite=True)
        for claim, where in ((self.claim, first), (self.final, second)):
            Book(claim.id).write(where / BOOK)
        return [first / CLAIM, second / CLAIM]

    def _claim(self, base: Mapping[str, Tensor], profile: Profile, sidecar: str, parent: str) -> Claim:
        made = self.quiet if parent else self.plan
        body = Body(
            owner=self.owner.id,
            model_id=self.wish.model_id,
            base_digest=digest_of(base),
            sidecar_digest=sidecar,
            layout_digest=self.layout.digest,
            round=self.wish.round,
            recipient="",
            parent=parent,
            profile=profile.value,
            bits=made.bits,
            leaves=made.leaves,
            created=now(),
            nonce=fresh_nonce(),
        )
        return claim_of(body, self.layout, self.owner.key, public=self.owner.public, sign=self.owner.sign)


def _state(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the tensors, on the CPU, contiguous."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}


def _put(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    model.load_state_dict(weights)
