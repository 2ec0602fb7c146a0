"""FAB, the fast adaptive boundary attack, in its targeted form (Croce and Hein 2020, arXiv 1907.02044).

Each step goes to the plane on which, to first order, target and label draw level, and is pulled towards the
clean image; from the other side it steps back. With its defaults it is the one of AutoAttack's standard set.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from harden.attacks.base import MinimumNorm, Model, fooled, input_gradient
from harden.attacks.hyperplane import step_onto
from harden.attacks.norms import size_of, wide
from harden.errors import ConfigError
from harden.seeds import Stream
from harden.threat import ThreatModel

ALPHA_MAX, ETA, BETA = 0.1, 1.05, 0.9
"""Most pull towards the clean image; overshoot across the plane; how far back after success (section 3.2)."""

LEAVE_EVERY = 10
"""Steps between two looks at who may leave, the only host syncs."""

BISECTIONS = 5


@dataclass(frozen=True)
class FabT(MinimumNorm):
    """`steps` steps towards each of the `targets` likeliest wrong classes, from the clean image itself."""

    steps: int = 100
    targets: int = 9

    def __post_init__(self) -> None:
        if self.steps < 1 or self.targets < 1:
            raise ConfigError(f"attack.steps and attack.targets must be >= 1, got {self.steps} and {self.targets}")

    @property
    def label(self) -> str:
        """FAB-T, with steps other than 100 and targets other than 9."""
        steps = "" if self.steps == 100 else f"-{self.steps}"
        return f"FAB-T{steps}" + ("" if self.targets == 9 else f" ({self.targets} targets)")

    def closest(
        self, model: Model, x: Tensor, y: Tensor, threat: ThreatModel, *, rng: Stream, enough: float = 0.0
    ) -> Tensor:
        """As `MinimumNorm.closest`; 2 forward passes and 1 backward a step."""
        best = x.clone()
        if not len(x):
            return best
        with torch.no_grad():
            logits = model(x).float()
        distance = torch.where(fooled(logits, y), 0.0, torch.inf)
        order = logits.argsort(dim=1, descending=True, stable=True)
        wrong = order[order != y[:, None]].view(len(y), -1)
        for rank in range(min(self.targets, wrong.shape[1])):
            alive = (distance > enough).nonzero().squeeze(1)
            if not len(alive):
                break
            search = _Search(model, x[alive], y[alive], wrong[alive, rank], threat, enough)
            found, size = search.run(self.steps)
            better = size < distance[alive]
            best[alive[better]], distance[alive[better]] = found[better], size[better]
        return best if enough > 0 else _pulled_back(model, x, y, best)


class _Search:
    """The search towards one target: where each sample stands and the nearest adversarial point it has met."""

    def __init__(self, model: Model, x: Tensor, y: Tensor, target: Tensor, threat: ThreatModel, enough: float) -> None:
        self.model, self.threat, self.enough = model, threat, enough
        self.x, self.y, self.target, self.point = x, y, target, x
        self.place = torch.arange(len(x), device=x.device)
        self.best, self.size = x.clone(), torch.full((len(x),), torch.inf, device=x.device)

    def run(self, steps: int) -> tuple[Tensor, Tensor]:
        for step in range(steps):
            if step % LEAVE_EVERY == 0 and step:
                self._leave()
                if not len(self.place):
                    break
            self._step()
        return self.best, self.size

    def _leave(self) -> None:
        stay = (self.size[self.place] > self.enough).nonzero().squeeze(1)
        if len(stay) < len(self.place):
            self.x, self.y, self.target = self.x[stay], self.y[stay], self.target[stay]
            self.point, self.place = self.point[stay], self.place[stay]

    def _step(self) -> None:
        threat = self.threat
        gradient, logits = input_gradient(self.model, self.point, self._ahead)
        offset, normal, point, x = self._ahead(logits), gradient.flatten(1), self.point.flatten(1), self.x.flatten(1)
        at_x = offset + (normal * (x - point)).sum(dim=1)
        both = step_onto(
            torch.cat([point, x]), normal.repeat(2, 1), torch.cat([offset, at_x]), threat.norm, threat.low, threat.high
        )
        here, there = both.chunk(2)
        near, far = size_of(here, threat.norm).clamp_min(1e-8), size_of(there, threat.norm).clamp_min(1e-8)
        pull = (near / (near + far)).clamp(0, ALPHA_MAX)[:, None]
        moved = (point + ETA * here) * (1 - pull) + (x + ETA * there) * pull
        self._note(moved.clamp_(threat.low, threat.high).view_as(self.point))

    def _note(self, point: Tensor) -> None:
        """Keeps what is surely adversarial and nearer than before; steps back from whatever is across the boundary.

        A search that stepped back from sure points alone would creep up to the boundary and stay there: so close,
        the overshoot is lost in what rounding can undo.
        """
        with torch.no_grad():
            logits = self.model(point)
        across = logits.argmax(dim=1) != self.y
        size = size_of((point - self.x).flatten(1), self.threat.norm)
        size = torch.where(fooled(logits, self.y), size, torch.inf)
        before = self.size[self.place]
        mask = wide(size < before, point)
        self.best[self.place] = torch.where(mask, point, self.best[self.place])
        self.size[self.place] = torch.minimum(size, before)
        back = self.x + BETA * (point - self.x)
        self.point = torch.where(across.view_as(mask), back, point)

    def _ahead(self, logits: Tensor) -> Tensor:
        """How far the target's logit is ahead of the label's."""
        return (logits.gather(1, self.target[:, None]) - logits.gather(1, self.y[:, None])).squeeze(1)


def _pulled_back(model: Model, x: Tensor, y: Tensor, found: Tensor) -> Tensor:
    """The nearest adversarial point that bisection meets on the way from `found` back to `x` (the final search)."""
    low = torch.zeros(len(x), device=x.device)
    high = torch.ones_like(low)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        point = x + wide(middle, x) * (found - x)
        with torch.no_grad():
            broken = fooled(model(point), y)
        low, high = torch.where(broken, low, middle), torch.where(broken, middle, high)
    return torch.where(wide(high < 1, x), x + wide(high, x) * (found - x), found)
