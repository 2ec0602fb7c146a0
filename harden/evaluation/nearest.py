"""The smallest perturbation found for each sample: one run, from which the accuracy at any radius follows."""

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from harden.attacks import MinimumNorm, Model, frozen, shared, shares_for
from harden.data import Split
from harden.errors import Interrupted
from harden.evaluation.inference import Steady, judging_logits
from harden.evaluation.journal import Journal, Part
from harden.evaluation.judge import exact
from harden.seeds import Stream
from harden.threat import ThreatModel

KEY = "curve"


def nearest(
    model: Model,
    split: Split,
    ids: Tensor,
    attack: MinimumNorm,
    threat: ThreatModel,
    *,
    eot: int = 1,
    rng: Stream,
    batch_size: int,
    journal: Journal,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Part]:
    """What `attack` found for the samples `ids`, which should be right when clean, batch after batch.

    The threat gives norm and box; its eps plays no part. Judged as every attack is; broken means that a
    misclassified image was found at all. Raises Interrupted when `stop` says so.
    """
    logits, searched = judging_logits(model, batch_size, eot), model if eot == 1 else Steady(model, eot)

    def search(few: Tensor) -> Part:
        batch, began = split.batch(few), time.monotonic()
        drawn = rng.child(KEY).at(batch.index)

        def closest(model: Model, some: slice) -> Tensor:
            with frozen(model):
                return attack.closest(model, batch.x[some], batch.y[some], threat, rng=drawn.take(some))

        with exact():
            done = shared(closest, searched, len(few), shares_for(attack, searched, len(few), batch.x.device))
        found = torch.where(torch.isfinite(done.x_adv), done.x_adv, batch.x).clamp(threat.low, threat.high)
        broken = logits(found).argmax(dim=1) != batch.y
        distance = torch.where(broken, threat.distance(found, batch.x), torch.nan)
        passes = done.forwards, done.backwards
        seconds = round(time.monotonic() - began, 3)
        return Part(few.cpu(), broken.cpu(), distance.cpu(), found[broken].cpu(), *passes, 0.0, seconds)

    for number, few in enumerate(torch.split(ids, batch_size)):
        if len(few):
            yield journal.part(KEY, number, lambda few=few: search(few))  # type: ignore[misc]
        if stop():
            raise Interrupted("stopped on request")
