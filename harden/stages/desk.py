"""What the stages work on, and where they put what they find."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from harden.attacks import Attack, MinimumNorm, Model
from harden.data import Split
from harden.evaluation import Begin, Judged
from harden.evaluation.campaign import Campaign, Findings
from harden.evaluation.inference import judging_logits
from harden.evaluation.journal import Journal, joined
from harden.evaluation.nearest import KEY, nearest
from harden.evaluation.request import Asked
from harden.evaluation.suite import Suite
from harden.loading import Opened
from harden.seeds import Stream
from harden.threat import ThreatModel

News = Iterator[Begin | Judged | dict[str, Any]]
"""What a stage yields: progress, and parts of `evaluation.json`."""


def never() -> bool:
    """No wish to stop."""
    return False


@dataclass
class Desk:
    """An evaluation whose suite has been run. `columns`, `images`: what the stages add to the evidence."""

    asked: Asked
    subject: Opened
    threat: ThreatModel
    index: Tensor
    suite: Suite
    label: str
    findings: Findings
    journal: Journal
    rng: Stream
    another: Callable[[str], Opened]
    stop: Callable[[], bool] = never
    sources: Mapping[str, Model] = field(default_factory=dict)
    columns: dict[str, Tensor] = field(default_factory=dict)
    images: dict[str, Tensor] = field(default_factory=dict)
    transfer: tuple[str, float] | None = None
    made: dict[str, list[Tensor]] = field(default_factory=dict)

    @property
    def split(self) -> Split:
        """The test images."""
        return self.subject.test

    @property
    def size(self) -> int:
        """The batch size."""
        return self.asked.batch_size

    @cached_property
    def logits(self) -> Callable[[Tensor], Tensor]:
        """The model's answers, as a judge asks for them."""
        return judging_logits(self.subject.model, self.size, self.asked.eot)

    def spread(self, ids: Tensor, values: Tensor, empty: Any) -> Tensor:
        """`values` of the samples `ids` as a column, `empty` for the others."""
        column = torch.full((len(self.findings.ids),), empty, dtype=values.dtype)
        column[torch.searchsorted(self.findings.ids, ids)] = values
        return column

    def batches(self, ids: Tensor) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
        """Number, ids, images and labels, a batch after the other."""
        for number, few in enumerate(torch.split(ids.to(self.index.device), self.size)):
            batch = self.split.batch(few)
            yield number, few, batch.x, batch.y

    def standing(
        self, name: str, attacks: Mapping[str, Attack], threat: ThreatModel, ids: Tensor, model: Model | None = None
    ) -> Iterator[Begin | Judged]:
        """A campaign beside the main one; its flags become the column `name`: -1 not looked at, 1 robust, 0 broken.

        The images that broke a sample go into the evidence, as `<name>.ids` and `<name>.x_adv`.
        """
        campaign = Campaign(
            model or self.subject.model,
            self.split,
            ids.to(self.index.device),
            Suite(name, {f"{name}.{key}": attack for key, attack in attacks.items()}).averaged(self.asked.eot),
            threat,
            rng=self.rng.child(name),
            batch_size=self.size,
            sources=self.sources,
            eot=self.asked.eot,
            journal=self.journal,
            stop=self.stop,
        )
        yield from campaign
        found = campaign.findings
        if found is not None:
            self.columns[name] = self.spread(found.ids, found.robust.to(torch.int8), -1)
            parts = [one.part for one in found.tried]
            self.images[f"{name}.ids"] = torch.cat([part.ids[part.broken] for part in parts])
            self.images[f"{name}.x_adv"] = torch.cat([part.x_adv for part in parts])

    def closest(self, attack: MinimumNorm, ids: Tensor) -> Iterator[Judged]:
        """One minimum-norm run; the distances become the column `curve.distance`, the images go into the evidence."""
        parts = []
        for part in nearest(
            self.subject.model,
            self.split,
            ids.to(self.index.device),
            attack,
            self.threat,
            eot=self.asked.eot,
            rng=self.rng,
            batch_size=self.size,
            journal=self.journal,
            stop=self.stop,
        ):
            parts.append(part)
            yield Judged(len(part.ids))
        found = joined(parts, self.split.batch(self.index[:1]).x)
        self.columns[f"{KEY}.distance"] = self.spread(found.ids, found.distance, torch.nan)
        self.images |= {f"{KEY}.ids": found.ids[found.broken], f"{KEY}.x_adv": found.x_adv}

    def crafted(self, name: str, number: int, make: Callable[[], Tensor]) -> Tensor:
        """The images of a batch made by `make`, once; `archive` puts them into the evidence."""
        x_adv = self.journal.kept(name, number, lambda: {"x_adv": make().cpu()})["x_adv"]
        self.made.setdefault(name, []).append(x_adv)
        return x_adv.to(self.index.device)

    def archive(self) -> None:
        """Puts what was crafted into the evidence, as `<name>.x_adv`, one image a sample."""
        self.images |= {f"{name}.x_adv": torch.cat(parts) for name, parts in self.made.items()}
