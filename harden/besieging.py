"""The removal suite on a user's own marked network, as the door runs it."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from harden.attacks import Pgd
from harden.errors import ConfigError, HardenError, WatermarkError
from harden.evaluation import judge
from harden.inquiry import sidecar_at
from harden.loading import Opened, opened
from harden.marking import AttackRequest
from harden.models.container import decode
from harden.owners import claim_at, owner_at
from harden.retraining import Thief
from harden.seeds import stream
from harden.training.results import threat_of
from harden.unlocking import Desk
from harden.watermarking import Claim, Mark, Profile, Weights, verify
from harden.watermarking.align.align import align
from harden.watermarking.edits.catalogue import SUITES
from harden.watermarking.edits.forging import Forged, aligned_to_marked, keys_searched, payload_searched
from harden.watermarking.edits.steps import Ground
from harden.watermarking.edits.strangers import leaf_in, overwriter
from harden.watermarking.edits.suite import Reading, Row, besieged
from harden.watermarking.size import plan
from harden.watermarking.wiring import Wiring, wired
from harden.watermarking.wiring.widths import dressed

logger = logging.getLogger(__name__)

BATCH = 250
KEYS = 1_000_000
"""Keys that a forger searches in the full suite."""


@dataclass(frozen=True)
class Siege:
    """A marked network and what is tried on it; iterate over `rows`, then over `forgeries`."""

    request: AttackRequest
    weights: dict[str, Tensor]
    claim: Claim
    mark: Mark
    sidecar: Mapping[str, Tensor] | None
    subject: Opened | None
    ground: Ground
    models: tuple[nn.Module, ...]

    def rows(self) -> Iterator[Row]:
        """The marked weights as they are, then every attempt."""
        score = self._score if self.subject and self.request.score.images else None
        attempts = SUITES[self.request.attacks.value]
        only = self.request.only
        chosen = [one for one in attempts if not only or one.family in only or one.name in only]
        if not chosen:
            raise ConfigError(
                f"there is no attempt or family {', '.join(only)} in attacks={self.request.attacks.value}"
            )
        yield from besieged(
            self.weights, chosen, ground=self.ground, verify=self._verify, score=score, rng=stream(0, "siege")
        )

    def forgeries(self) -> Iterator[Forged]:
        """What forgers reach; nothing but in the full suite."""
        if self.request.attacks.value != "full" or self.request.only:
            return
        layout, rng = self.mark.layout, stream(0, "forging")
        innocent = {**self.weights, **(self.sidecar or {})}
        tries = min(KEYS, max(1000, 20_000_000_000 // layout.count))
        yield keys_searched(innocent, layout, tries, rng=rng)
        made = plan(layout.count, profile=Profile(self.claim.body.profile), bits=self.claim.body.bits)
        yield payload_searched(innocent, layout, made, rng=rng)
        if self.ground.sibling is not None:
            yield aligned_to_marked(self.ground.sibling, self.weights, self.mark)

    def _verify(self, weights: Weights) -> Reading:
        """The readings as the suite wants them; a network of which nothing is the claim's has none."""
        try:
            verdict = verify(weights, self.mark, sidecar=self.sidecar, align=align if self.sidecar else None)
        except WatermarkError:
            nan = float("nan")
            return Reading(0.0, 0.0, nan, nan, self.mark.bits, self.mark.bits, "no layer of the claim")
        blind = max((one for one in verdict.readings if one.mode.endswith("blind")), key=lambda one: one.z)
        informed = [one for one in verdict.readings if one is not verdict.readings[0]]
        best = min(informed, key=lambda one: one.log10_p) if informed else None
        correction = math.log10(verdict.tries.count)
        return Reading(
            z=verdict.blind.z,
            log10_p=min(0.0, verdict.blind.log10_p + correction),
            z_residual=best.z if best else float("nan"),
            log10_p_residual=min(0.0, best.log10_p + correction) if best else float("nan"),
            errors=blind.errors,
            bits=blind.bits,
            mode=verdict.reading.mode,
        )

    def _score(self, weights: Weights) -> tuple[float, float]:
        """Clean and robust accuracy on the first test images; zero for logits that are not finite."""
        if self.subject is None:
            raise ValueError("there is nothing to score on")
        model = next(one for one in self.models if one.state_dict().keys() == weights.keys())
        count = min(self.request.score.images, len(self.subject.data.test))
        try:
            outcome = judge(
                dressed(model, weights),
                self.subject.test,
                torch.arange(count),
                Pgd(steps=self.request.score.steps),
                threat_of(self.subject.card),
                rng=stream(0, "siege"),
                batch_size=BATCH,
            )
        except HardenError:
            return 0.0, 0.0
        return outcome.clean_accuracy.value, outcome.robust_accuracy.value


def siege_of(request: AttackRequest) -> Siege:
    """Everything that the request names, checked; raises as its parts do, ConfigError where the mark is not there."""
    desk, path = Desk(request), Path(str(request.weights))
    claim = claim_at(Path(str(request.claim)), desk.provider)
    mark = owner_at(str(request.owner), desk).mark(claim)
    weights = decode(path)[0]
    sidecar = sidecar_at(request.sidecar, claim) if request.sidecar else None
    if not verify(weights, mark).holds and (sidecar is None or not verify(weights, mark, sidecar=sidecar).holds):
        raise ConfigError(f"{path}: does not carry the mark of this claim", "name the marked weights")
    subject = _subject(request, path)
    ground, models = _ground(request, weights, claim, mark, sidecar, subject)
    return Siege(request, weights, claim, mark, sidecar, subject, ground, models)


def _subject(request: AttackRequest, path: Path) -> Opened | None:
    """The network and its data, where they are at hand."""
    try:
        return opened(path, device="cpu", batch_size=BATCH, data=request.data)
    except HardenError as error:
        if request.data is not None:
            raise
        logger.warning("no data, hence no accuracy and no training: %s", error.message)
        return None


def _ground(
    request: AttackRequest,
    weights: dict[str, Tensor],
    claim: Claim,
    mark: Mark,
    sidecar: Mapping[str, Tensor] | None,
    subject: Opened | None,
) -> tuple[Ground, tuple[nn.Module, ...]]:
    profile = Profile(claim.body.profile)
    ground = Ground(
        wiring=_optional(lambda: wired(subject.model)) if subject else None,
        overwrite=overwriter(profile, rng=stream(0, "siege", "strangers")),
        sibling=decode(Path(request.sibling))[0] if request.sibling else None,
        copies=[decode(Path(one))[0] for one in request.copies],
        shown=leaf_in(weights, mark.only(0)) if mark.leaves > 1 else None,
        sidecar=_unscaled(sidecar, weights) if sidecar else None,
    )
    if subject is None:
        return ground, ()
    thief = Thief(
        *(subject.model, subject.card, subject.data, threat_of(subject.card)),
        rate=request.rate,
        images=request.images,
        rng=stream(0, "siege", "thief"),
    )
    return replace(ground, tune=thief.tuned), (subject.model, thief.stranger)


def _optional(build: Callable[[], Wiring]) -> Wiring | None:
    try:
        return build()
    except ConfigError:
        return None


def _unscaled(sidecar: Mapping[str, Tensor], weights: Weights) -> dict[str, Tensor]:
    """The sidecar's layers at the size of the marked ones; the file keeps them at a power of two of it."""
    return {
        name: tensor.float()
        * (weights[name].float().flatten() @ tensor.float().flatten() / tensor.float().square().sum())
        for name, tensor in sidecar.items()
    }
