"""Do the adversarial images of one model fool another? A matrix over all pairs of models."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from harden.attacks import Adaptive, Attack, Model
from harden.data import Batch, Split
from harden.evaluation.inference import judging_logits
from harden.evaluation.intervals import Accuracy, wilson
from harden.evaluation.judge import exact
from harden.evaluation.news import Judged
from harden.seeds import Stream
from harden.threat import ThreatModel

LUCK = 0.5
"""By how many points another model's images may fool a model more often than its own."""


@dataclass(frozen=True)
class Transfer:
    """accuracy[i][j]: of model j on the images made against model i; on the diagonal each faces its own."""

    models: tuple[str, ...]
    attack: str
    accuracy: tuple[tuple[Accuracy, ...], ...]

    def ahead(self, j: int) -> tuple[str, float]:
        """Which other model's images fool model j the most, and by how many points more often than its own do."""
        column = [row[j].value for row in self.accuracy]
        others = [
            (accuracy, name) for i, (accuracy, name) in enumerate(zip(column, self.models, strict=True)) if i != j
        ]
        lowest, name = min(others)
        return name, 100 * (column[j] - lowest)

    @property
    def finding(self) -> tuple[str, ...]:
        """The models that another's images fool clearly more often than their own: their gradients lead astray."""
        return tuple(name for j, name in enumerate(self.models) if self.ahead(j)[1] > LUCK)


class Matrix:
    """Iterate over it; then `result` holds the matrix.

    eot: passes that attack and judge average over. `crafted`: gets a batch's name and number and what makes its
    images, and gives them: it may have kept them.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        split: Split,
        index: Tensor,
        attack: Attack,
        threat: ThreatModel,
        *,
        rng: Stream,
        batch_size: int = 250,
        eot: int = 1,
        crafted: Callable[[str, int, Callable[[], Tensor]], Tensor] = lambda _name, _number, make: make(),
    ) -> None:
        self.models, self.split, self.index, self.attack, self.threat = models, split, index, attack, threat
        self.rng, self.batch_size, self.eot, self.crafted = rng, batch_size, eot, crafted
        self.result: Transfer | None = None

    def __iter__(self) -> Iterator[Judged]:
        right = torch.zeros(len(self.models), len(self.models), dtype=torch.int64)
        logits = [judging_logits(model, self.batch_size, self.eot) for model in self.models.values()]
        for i, model in enumerate(self.models.values()):
            for number, few in enumerate(torch.split(self.index, self.batch_size)):
                batch = self.split.batch(few)
                x_adv = self.crafted(f"transfer.{i}", number, lambda: self._attacked(model, batch))  # noqa: B023  called at once
                x_adv = self.threat.project(torch.where(torch.isfinite(x_adv), x_adv, batch.x), batch.x)
                for j, answers in enumerate(logits):
                    clean, attacked = (answers(x).argmax(dim=1) == batch.y for x in (batch.x, x_adv))
                    right[i, j] += (clean & attacked).sum().cpu()
                yield Judged(len(few))
        rows = tuple(tuple(wilson(int(count), len(self.index)) for count in row) for row in right)
        self.result = Transfer(tuple(self.models), self.attack.label, rows)

    def _attacked(self, model: Model, batch: Batch) -> Tensor:
        attack = self.attack if self.eot == 1 else Adaptive(base=self.attack, samples=self.eot)
        with exact():
            return attack(model, batch.x, batch.y, self.threat, rng=self.rng.at(batch.index))
