"""A suite of attacks on the same images: what each one broke, and what all together left standing.

Robust is a sample that is right when clean and withstood every attack. The judge decides: candidates are
projected into ball and box and the model is run on them again, in float32, at one batch size.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from harden.attacks import Attack, Model, shared, shares_for
from harden.data import Split
from harden.errors import ConfigError, DataError, Interrupted
from harden.evaluation.inference import judging_logits, refuse_probabilities
from harden.evaluation.intervals import Accuracy, wilson
from harden.evaluation.journal import Journal, Part, joined
from harden.evaluation.judge import exact
from harden.evaluation.news import Begin, Judged
from harden.evaluation.suite import Suite
from harden.seeds import Stream
from harden.threat import Norm, ThreatModel


@dataclass(frozen=True)
class Tried:
    """What one attack of the suite did. `part` speaks of the samples that it was let loose on."""

    key: str
    label: str
    part: Part
    after: Accuracy
    """Accuracy once this attack and all before it have had their turn."""


@dataclass(frozen=True)
class Findings:
    """What came of each sample. ids: (n,) int64, rising; y: (n,); predicted: (n,) on clean images."""

    ids: Tensor
    y: Tensor
    predicted: Tensor
    tried: tuple[Tried, ...]

    @property
    def clean(self) -> Tensor:
        """Whether the sample is right without an attack, (n,) bool."""
        return self.predicted == self.y

    @property
    def robust(self) -> Tensor:
        """Whether it is right under every attack too, (n,) bool."""
        robust = self.clean.clone()
        for one in self.tried:
            robust[torch.isin(self.ids, one.part.ids[one.part.broken])] = False
        return robust

    @property
    def clean_accuracy(self) -> Accuracy:
        """The share of samples that are right without an attack."""
        return wilson(int(self.clean.sum()), len(self.ids))

    @property
    def worst_case(self) -> Accuracy:
        """The share of samples that are right under every attack."""
        return wilson(int(self.robust.sum()), len(self.ids))


class Campaign:
    """Iterate over it; then `findings` holds what came out.

    `cascade`: an attack is let loose on what those before it left, as in AutoAttack; else on every sample that
    is right when clean, so that attacks can be compared. The worst case is the same but for attacks' luck.
    `sources`: other models by name, for attacks that are made on them. `eot`: passes that the judge averages over,
    where the model answers at random.

    Raises ConfigError for a threat that holds more than the pixel box, WeightsError for a model whose answers
    are probabilities or not finite, Interrupted when `stop` says so.
    """

    def __init__(
        self,
        model: Model,
        split: Split,
        index: Tensor,
        suite: Suite,
        threat: ThreatModel,
        *,
        rng: Stream,
        batch_size: int = 250,
        sources: Mapping[str, Model] | None = None,
        eot: int = 1,
        cascade: bool = True,
        journal: Journal | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        if not len(index):
            raise DataError("there is no image to attack")
        check_radius(threat, split.x[0].numel())
        self.model, self.split, self.index, self.suite, self.threat = model, split, index, suite, threat
        self.rng, self.batch_size, self.cascade, self.stop = rng, batch_size, cascade, stop
        self.sources = sources or {}
        self.journal = journal or Journal(None, "")
        self.logits = judging_logits(model, batch_size, eot)
        self.findings: Findings | None = None

    def __iter__(self) -> Iterator[Begin | Judged]:
        predicted, y = self._clean()
        ids, robust = self.index.cpu(), (predicted == y)
        right, tried = ids[robust], []
        for key, attack in self.suite.attacks.items():
            left = ids[robust] if self.cascade else right
            yield Begin(key, attack.label, len(left))
            parts = []
            for part in self._unleash(key, attack, left):
                parts.append(part)
                yield Judged(len(part.ids))
            part = joined(parts, self.split.batch(self.index[:1]).x)
            robust &= ~torch.isin(ids, part.ids[part.broken])
            tried.append(Tried(key, attack.label, part, wilson(int(robust.sum()), len(ids))))
        self.findings = Findings(ids, y, predicted, tuple(tried))

    def _clean(self) -> tuple[Tensor, Tensor]:
        """The predictions on clean images and the labels, (n,) each, on the CPU."""
        predicted, labels = [], []
        for few in torch.split(self.index, self.batch_size):
            batch = self.split.batch(few)
            logits = self.logits(batch.x)
            refuse_probabilities(logits)
            predicted.append(logits.argmax(dim=1).cpu())
            labels.append(batch.y.cpu())
        return torch.cat(predicted), torch.cat(labels)

    def _unleash(self, key: str, attack: Attack, ids: Tensor) -> Iterator[Part]:
        for number, few in enumerate(torch.split(ids, self.batch_size)):
            if len(few):
                yield self.journal.part(key, number, lambda few=few: self._attack(key, attack, few))  # type: ignore[misc]
            if self.stop():
                raise Interrupted("stopped on request")

    def _stream(self, key: str) -> Stream:
        """Each attack draws from a stream of its own; one alone from the judge's, as at the end of a training."""
        return self.rng if len(self.suite.attacks) == 1 else self.rng.child(key)

    def _attack(self, key: str, attack: Attack, ids: Tensor) -> Part:
        batch, began = self.split.batch(ids.to(self.index.device)), time.monotonic()
        rng = self._stream(key).at(batch.index)
        attacked = self.sources[attack.made_on] if attack.made_on else self.model
        shares = shares_for(attack, attacked, len(ids), batch.x.device)
        with exact():
            found = shared(
                lambda model, few: attack(model, batch.x[few], batch.y[few], self.threat, rng=rng.take(few)),
                attacked,
                len(ids),
                shares,
            )
        candidates = torch.where(torch.isfinite(found.x_adv), found.x_adv, batch.x)
        excess = self.threat.distance(candidates, batch.x).max().item() - self.threat.radius
        inside = self.threat.project(candidates, batch.x)
        broken = self.logits(inside).argmax(dim=1) != batch.y
        distance = torch.where(broken, self.threat.distance(inside, batch.x), torch.nan)
        return Part(
            ids,
            broken.cpu(),
            distance.cpu(),
            inside[broken].cpu(),
            found.forwards,
            found.backwards,
            max(excess, 0.0),
            round(time.monotonic() - began, 3),
        )


def whole(threat: ThreatModel, pixels: int) -> float:
    """The radius from which on the ball around any image of so many pixels holds the box."""
    side = threat.high - threat.low
    return float({Norm.linf: side, Norm.l2: side * pixels**0.5, Norm.l1: side * pixels}[threat.norm])


def check_radius(threat: ThreatModel, pixels: int) -> None:
    """Raises ConfigError where the ball around any image holds the whole pixel box."""
    most = whole(threat, pixels)
    if threat.radius > most:
        raise ConfigError(
            f"threat.eps={threat.eps} lies outside the pixel box: no two images of {pixels} pixels are further "
            f"apart than {most:g} in {threat.norm.value}",
            "say a smaller threat.eps, in units of pixels that run from 0 to 1",
        )
