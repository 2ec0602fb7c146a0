"""A desk at which nothing is attacked: what was archived is judged again."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from harden.attacks import Attack, MinimumNorm, Model
from harden.errors import Untrusted
from harden.evaluation import Begin, Judged
from harden.evaluation.inference import judging_logits
from harden.evaluation.nearest import KEY
from harden.evaluation.verify import inside, nearest_again
from harden.stages.desk import Desk
from harden.threat import ThreatModel


@dataclass
class Archive(Desk):
    """`archived`: the images of the evidence, by name. KeyError where a stage's are not among them."""

    archived: Mapping[str, Tensor] = field(default_factory=dict)

    def standing(
        self, name: str, attacks: Mapping[str, Attack], threat: ThreatModel, ids: Tensor, model: Model | None = None
    ) -> Iterator[Begin | Judged]:
        """As the desk's, from the archived images: broken is what lies in ball and box and is misclassified now."""
        logits = judging_logits(model or self.subject.model, self.size, self.asked.eot)
        robust = torch.cat([(logits(x).argmax(1) == y).cpu() for _, _, x, y in self.batches(ids)])
        told, x_adv = self.archived[f"{name}.ids"], self.archived[f"{name}.x_adv"]
        for few, some in zip(torch.split(told, self.size), torch.split(x_adv, self.size), strict=True):
            if len(few):
                batch = self.split.batch(few.to(self.index.device))
                x = some.to(batch.x)
                broken = inside(x, batch.x, threat) & (logits(x).argmax(dim=1) != batch.y)
                robust &= ~torch.isin(ids, few[broken.cpu()])
        self.columns[name] = self.spread(ids, robust.to(torch.int8), -1)
        yield Judged(len(ids))

    def closest(self, attack: MinimumNorm, ids: Tensor) -> Iterator[Judged]:
        """As the desk's, from the archived images."""
        columns = {"ids": self.findings.ids}
        distance = nearest_again(self.logits, self.split, columns, self.archived, self.threat, self.size)
        self.columns[f"{KEY}.distance"] = distance
        yield Judged(len(ids))

    def crafted(self, name: str, number: int, make: Callable[[], Tensor]) -> Tensor:
        """The archived images of a batch."""
        few = slice(number * self.size, (number + 1) * self.size)
        x_adv = self.archived[f"{name}.x_adv"][few]
        if len(x_adv) != len(self.index[few]):
            raise Untrusted(f"the evidence holds too few images called {name}", "evaluate again")
        return x_adv.to(self.index.device)
