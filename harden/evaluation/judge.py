"""The judge: attacks propose, the judge projects, runs the model again and counts.

Everything here runs in float32 with autocast and TF32 off and the model in eval mode. The denominator is
always all samples: one that is wrong when clean is broken at distance 0.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from harden.attacks import Attack, Model, frozen
from harden.data import Batch, Split
from harden.errors import DataError, WeightsError
from harden.evaluation.intervals import Accuracy, wilson
from harden.seeds import Stream
from harden.threat import ThreatModel


@dataclass(frozen=True)
class Outcome:
    """What became of each sample; `clean` and `robust`: (n,) bool, `excess`: how far past eps the worst was."""

    clean: Tensor
    robust: Tensor
    excess: float

    @property
    def clean_accuracy(self) -> Accuracy:
        """The share of samples right without an attack."""
        return wilson(int(self.clean.sum()), len(self.clean))

    @property
    def robust_accuracy(self) -> Accuracy:
        """The share of samples right without and with the attack."""
        return wilson(int(self.robust.sum()), len(self.robust))


def judging(
    model: Model,
    split: Split,
    index: Tensor,
    attack: Attack,
    threat: ThreatModel,
    *,
    rng: Stream,
    batch_size: int = 250,
) -> Iterator[Outcome]:
    """The outcomes of `attack` on the samples `index` of `split`, batch after batch, in that order.

    Only samples that are right when clean are attacked. Raises WeightsError where logits are not finite.
    """
    if not len(index):
        raise DataError("there is no image to judge")
    for few in torch.split(index, batch_size):
        with exact(), frozen(model):
            outcome = _judge_batch(model, split.batch(few), attack, threat, rng)
        yield outcome


def judge(
    model: Model,
    split: Split,
    index: Tensor,
    attack: Attack,
    threat: ThreatModel,
    *,
    rng: Stream,
    batch_size: int = 250,
) -> Outcome:
    """All of `judging` in one outcome."""
    return joined(list(judging(model, split, index, attack, threat, rng=rng, batch_size=batch_size)))


def joined(parts: Sequence[Outcome]) -> Outcome:
    """The outcome over all samples of `parts`, in order."""
    clean, robust = torch.cat([p.clean for p in parts]), torch.cat([p.robust for p in parts])
    return Outcome(clean, robust, max(p.excess for p in parts))


def verdict(model: Model, x: Tensor, y: Tensor, x_adv: Tensor, threat: ThreatModel) -> tuple[Tensor, float]:
    """Whether the model withstands each candidate, (n,) bool, and by how much the worst one overstepped eps.

    Candidates are judged after projection; pixels of theirs that are not finite count as unchanged.
    """
    x_adv = torch.where(torch.isfinite(x_adv), x_adv, x)
    excess = threat.distance(x_adv, x).max().item() - threat.radius
    return right(model, threat.project(x_adv, x), y), max(excess, 0.0)


def right(model: Model, x: Tensor, y: Tensor) -> Tensor:
    """Whether the model predicts `y` on `x`, (n,) bool."""
    with torch.no_grad():
        logits = model(x).float()
    if not torch.isfinite(logits).all():
        raise WeightsError("the model's logits are not finite", "the weights hold NaN or overflow on this data")
    return logits.argmax(dim=1) == y


@contextmanager
def exact() -> Iterator[None]:
    """Inside, float32 means float32: no autocast, no TF32 in matrix products or convolutions."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def _judge_batch(model: Model, batch: Batch, attack: Attack, threat: ThreatModel, rng: Stream) -> Outcome:
    clean = right(model, batch.x, batch.y)
    robust, excess = clean.clone(), 0.0
    hit = clean.nonzero().squeeze(1)
    if len(hit):
        x, y, ids = batch.x[hit], batch.y[hit], batch.index[hit]
        x_adv = attack(model, x, y, threat, rng=rng.at(ids))
        robust[hit], excess = verdict(model, x, y, x_adv, threat)
    return Outcome(clean.cpu(), robust.cpu(), excess)
