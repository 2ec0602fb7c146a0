"""Pointwise, a decision-based attack that changes few pixels (Schott et al. 2019, arXiv 1805.09190, appendix A).

It asks for the predicted class alone. From an image under so much salt-and-pepper noise that it is misclassified,
pixels go back to what they were as long as the class stays wrong. Differs: many pixels at once to begin with, and
pixels that cannot go back go half the way, several times, which is what counts in l1.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from harden.attacks.base import MinimumNorm, Model, fooled
from harden.attacks.norms import wide
from harden.errors import ConfigError
from harden.seeds import Stream
from harden.threat import Norm, ThreatModel

AMOUNTS = 20
"""Amounts of noise that are tried, each a share of the pixels, up to all of them."""

DRAWS = 10
"""Draws of noise that are tried where no amount of the ones before breaks an image, from mostly high to mostly low."""

SHRINK = 4
"""By how much a group of pixels that go back together gets smaller from pass to pass, down to one pixel."""

FIRST_GROUPS = 16
"""Into how many groups the pixels fall in the first pass."""


@dataclass(frozen=True)
class Pointwise(MinimumNorm):
    """`passes` passes over single pixels that go all the way back, then `halvings` over pixels that go half of it."""

    passes: int = 2
    halvings: int = 4

    def __post_init__(self) -> None:
        if self.passes < 1 or self.halvings < 0:
            raise ConfigError(
                f"attack.passes must be >= 1 and attack.halvings >= 0, got {self.passes} and {self.halvings}"
            )

    @property
    def label(self) -> str:
        """Pointwise, with passes and halvings where they are not the default."""
        usual = (self.passes, self.halvings) == (2, 4)
        return "Pointwise" if usual else f"Pointwise-{self.passes}-{self.halvings}"

    def check(self, threat: ThreatModel) -> None:
        """Raises ConfigError for a threat in another norm than l1."""
        if threat.norm is not Norm.l1:
            raise ConfigError(f"Pointwise searches in l1 only, the threat is in {threat.norm.value}", "say threat=l1")

    def closest(
        self, model: Model, x: Tensor, y: Tensor, threat: ThreatModel, *, rng: Stream, enough: float = 0.0
    ) -> Tensor:
        """As `MinimumNorm.closest`; forward passes only, a few for each pixel. ConfigError for another norm than l1."""
        self.check(threat)
        if not len(x):
            return x
        point, met = _noisy(model, x, y, threat, rng.child("noise"))
        order, rows = rng.child("order").uniform(x).flatten(1).argsort(dim=1), met.nonzero().squeeze(1)
        for size, share in self._passes(order.shape[1]):
            if not len(rows):
                break
            found, clean, labels = point[rows].flatten(1), x[rows].flatten(1), y[rows]

            def wrong(candidates: Tensor, some: Tensor, labels: Tensor = labels) -> Tensor:
                with torch.no_grad():
                    return fooled(model(candidates.view(-1, *x.shape[1:])), labels[some])

            _pass(found, clean, order[rows], size, share, wrong)
            point[rows] = found.view(-1, *x.shape[1:])
            rows = rows[(found - clean).abs().sum(dim=1) > enough]  # one look a pass at who may leave
        return point

    def _passes(self, pixels: int) -> Iterator[tuple[int, float]]:
        """The size of groups, and what is left of a pixel's change, of each pass."""
        size = max(pixels // FIRST_GROUPS, 1)
        while size > 1:
            yield size, 0.0
            size = max(size // SHRINK, 1)
        yield from [(1, 0.0)] * self.passes
        yield from [(1, 0.5)] * self.halvings


def _noisy(model: Model, x: Tensor, y: Tensor, threat: ThreatModel, rng: Stream) -> tuple[Tensor, Tensor]:
    """Each image under the least noise of the first draw that has it misclassified, and whether any has, (n,)."""
    point, met = x.clone(), torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for draw in range(DRAWS):
        place, kind = rng.child("place", draw).uniform(x), rng.child("kind", draw).uniform(x)
        extreme = torch.where(kind < (draw + 0.5) / DRAWS, threat.low, threat.high).to(x)
        for number in range(1, AMOUNTS + 1):
            noisy = torch.where(place < number / AMOUNTS, extreme, x)
            with torch.no_grad():
                first = fooled(model(noisy), y) & ~met
            point = torch.where(wide(first, x), noisy, point)
            met |= first
        if bool(met.all()):
            break
    return point, met


def _pass(
    found: Tensor, clean: Tensor, order: Tensor, size: int, share: float, wrong: Callable[[Tensor, Tensor], Tensor]
) -> None:
    """Lets groups of `size` pixels, in each sample's order, fall to `share` of their change where that stays wrong.

    found, changed in place, and clean: (n, pixels); order: (n, pixels) int64.
    """
    for first in range(0, order.shape[1], size):
        group = order[:, first : first + size]
        before, goal = found.gather(1, group), clean.gather(1, group)
        some = _changed(before, goal)
        if len(some):
            after = goal + share * (before - goal)
            candidates = found[some].scatter(1, group[some], after[some])
            better = wrong(candidates, some)
            found[some] = torch.where(better[:, None], candidates, found[some])


def _changed(before: Tensor, goal: Tensor) -> Tensor:
    """The samples that have something to give back; on a GPU all, for to know it the host would have to wait."""
    if before.device.type != "cpu":
        return torch.arange(len(before), device=before.device)
    return (before != goal).any(dim=1).nonzero().squeeze(1)
