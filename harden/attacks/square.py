"""Square, a random search over square patches (Andriushchenko et al. 2020, arXiv 1912.00049; l1: arXiv 2103.01208).

It asks for logits only, so that masked gradients do not hide anything from it. All random numbers are drawn per
sample, many queries at once, and a query touches the pixels of its patch alone.
"""

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from dataclasses import dataclass

import torch
from torch import Tensor

from harden import kernels
from harden.attacks.base import Attack, Model, slack
from harden.attacks.losses import margin
from harden.attacks.norms import size_of, wide
from harden.attacks.patches import corners, mosaic, pattern, window
from harden.attacks.ripple import Ripple, ripple
from harden.errors import ConfigError
from harden.seeds import Stream
from harden.threat import Norm, ThreatModel

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""The queries after which the patch's share of the image is halved (section 4, for 10,000 queries)."""

BLOCK = 100
"""Queries whose random numbers are drawn at once."""

LEAVE_EVERY = 20
"""Queries between two looks at who may leave."""


@dataclass(frozen=True)
class Square(Attack):
    """`queries` queries from one random start, the first patch covering a share `p` of the image.

    `whole` lets patches cover the last row and column too. AutoAttack's never do, for it draws the corner below
    h - s where it could be h - s; with `whole` false this one is AutoAttack's.
    """

    queries: int = 5000
    p: float = 0.8
    whole: bool = True

    def __post_init__(self) -> None:
        if self.queries < 1:
            raise ConfigError(f"attack.queries must be >= 1, got {self.queries}")
        if not 0 < self.p <= 1:
            raise ConfigError(f"attack.p must lie in (0, 1], a share of the image, got {self.p:g}")

    @property
    def label(self) -> str:
        """Square with its queries, as in `Square-5000`; marked where its patches reach further than AutoAttack's."""
        return f"Square-{self.queries}" + (" (whole)" if self.whole else "")

    def propose(self, model: Model, x: Tensor, y: Tensor, threat: ThreatModel, *, rng: Stream) -> Tensor:
        """The point of smallest margin that was met; x: (n, channels, height, width)."""
        if x.dim() != 4:
            raise ConfigError(f"Square needs images (n, channels, height, width), got {tuple(x.shape)}")
        if not len(x):
            return x
        kind = _Linf if threat.norm is Norm.linf else _Smooth
        return kind(model, x, y, threat, rng, self).run()

    def side(self, query: int, pixels: int) -> int:
        """The patch's side at a query, in pixels, for images of so many of them."""
        share = self.p / 2 ** bisect_right(HALVINGS, query - 1)
        return max(round(math.sqrt(share * pixels)), 1)


class _Run(ABC):
    """One run: the best point of each sample still at it, and of those that have left."""

    def __init__(self, model: Model, x: Tensor, y: Tensor, threat: ThreatModel, rng: Stream, knobs: Square) -> None:
        self.model, self.x, self.y, self.threat, self.rng, self.knobs = model, x, y, threat, rng, knobs
        self.place = torch.arange(len(x), device=x.device)
        self.point = self.start()
        self.result = self.point.clone()
        self.best = torch.full((len(x),), torch.inf, device=x.device)
        """How far the label is ahead at each point, (n,); -inf once the sample is broken."""
        self.block = x.new_empty(len(x), 0, self.draws)
        self.judge(self.point)

    @property
    @abstractmethod
    def draws(self) -> int:
        """Random numbers that a query takes for each sample."""

    @abstractmethod
    def start(self) -> Tensor:
        """The first point."""

    @abstractmethod
    def query(self, number: int) -> None:
        """Tries one patch, for which `prepare` has drawn."""

    def prepare(self, first: int) -> None:
        """Draws what the next BLOCK queries take, (n, BLOCK, draws) in [0, 1)."""
        self.block = self.rng.child("queries", first).uniform(self.x.new_empty(len(self.x), BLOCK, self.draws))

    def run(self) -> Tensor:
        """The best point of every sample."""
        for query in range(1, self.knobs.queries):
            if query % BLOCK == 1:
                self.prepare(query)
            if query % LEAVE_EVERY == 1 and not self._leave():
                return self.result
            self.query(query)
        self.result[self.place] = self.point
        return self.result

    def judge(self, point: Tensor, rows: Tensor | None = None) -> Tensor:
        """Which samples `point` improves, (n,), their margin noted; `rows`: of these samples alone.

        A sample once broken is left as it is; logits that are not finite improve nothing.
        """
        with torch.no_grad():
            logits = self.model(point)
        return self.note(self.lead(logits, rows), rows)

    def lead(self, logits: Tensor, rows: Tensor | None = None) -> Tensor:
        """How far the label is ahead, (n,), of all samples or of `rows`; -inf where the sample is broken."""
        logits, y = logits.float(), self.y if rows is None else self.y[rows]
        lead = -margin(logits, y)
        return lead.masked_fill_(lead < -slack(logits), -torch.inf)

    def note(self, lead: Tensor, rows: Tensor | None = None) -> Tensor:
        """Which samples the point of this lead improves, (n,)."""
        best = self.best if rows is None else self.best[rows]
        better, best = lead < best, torch.fmin(best, lead)
        if rows is None:
            self.best = best
        else:
            self.best[rows] = best
        return better

    def _leave(self) -> bool:
        """Takes the broken samples out of the batch; whether any is left."""
        stay = (self.best > -torch.inf).nonzero().squeeze(1)
        if len(stay) < len(self.place):
            self.result[self.place] = self.point
            self.keep(stay)
        return len(stay) > 0

    def keep(self, stay: Tensor) -> None:
        """Goes on with the samples at the positions `stay` alone."""
        self.x, self.y, self.point, self.best = self.x[stay], self.y[stay], self.point[stay], self.best[stay]
        self.place, self.block, self.rng = self.place[stay], self.block[stay], self.rng.take(stay)


class _Linf(_Run):
    """Vertical stripes to begin with; then patches of one sign a channel, 2 eps high.

    What a query changes is written into the points themselves, and taken back where it does not help.
    """

    ripple: Ripple | None = None
    """What follows patches through the layers, once they are small enough."""

    can_follow = True

    @property
    def draws(self) -> int:
        return 2 + self.x.shape[1]

    def start(self) -> Tensor:
        stripes = self.rng.child("start").uniform(self.x[:, :, :1, :])
        signs = torch.where(stripes < 0.5, -1.0, 1.0)
        return (self.x + self.threat.radius * signs).clamp(self.threat.low, self.threat.high).contiguous()

    def prepare(self, first: int) -> None:
        super().prepare(first)
        sides = [self.patch(number) for number in range(first, first + BLOCK)]
        self.corner = corners(self.block[:, :, :2], sides, self.x, whole=self.knobs.whole).T.contiguous()
        self._follow_from_here(max(sides), self.knobs.queries - first)
        signs = torch.where(self.block[:, :, 2:] < 0.5, -1.0, 1.0).transpose(0, 1).contiguous()
        self.leap = 2 * self.threat.radius * signs

    def patch(self, number: int) -> int:
        """The side of a query's patch."""
        height, width = self.x.shape[2:]
        return min(self.knobs.side(number, height * width), height, width)

    def query(self, number: int) -> None:
        at, side, threat = (number - 1) % BLOCK, self.patch(number), self.threat
        corner, old = self.corner[at], self.x.new_empty(*self.x.shape[:2], side, side)
        limits = {"eps": threat.radius, "low": threat.low, "high": threat.high}
        changed = kernels.paste(self.point, self.x, corner, self.leap[at], side=side, old=old, **limits)
        if self.ripple is None:
            better = self._judge_changed(changed)
        else:
            better = self._judge_followed(self.ripple.follow(self.point, old, corner, changed), changed)
            self.ripple.settle(better)
        kernels.take_back(self.point, corner, better, side=side, old=old)

    def _follow_from_here(self, side: int, queries: int) -> None:
        """For the next BLOCK of `queries`, follows patches of up to `side` pixels through the layers where that pays.

        All layers are computed anew, lest rounding adds up. A model whose answers were not those is asked from now on.
        """
        if self.ripple is not None and not self.ripple.refresh(self.point):
            self.ripple, self.can_follow = None, False
        elif self.ripple is None and self.can_follow:
            self.ripple = ripple(self.model, self.point, side, queries)
        if self.ripple is not None:
            lead = self.lead(self.ripple.logits)
            self.best = torch.where(self.best.isfinite() & lead.isfinite(), lead, self.best)

    def _judge_followed(self, logits: Tensor, changed: Tensor) -> Tensor:
        """`judge`, from the logits that were followed; the model itself says whether a sample is broken."""
        lead = self.lead(logits)
        rows = ((lead == -torch.inf) & (self.best > -torch.inf)).nonzero().squeeze(1)
        if len(rows):
            with torch.no_grad():
                logits[rows] = self.model(self.point[rows]).float()
            lead = self.lead(logits)
        return self.note(lead) & changed

    def _judge_changed(self, changed: Tensor) -> Tensor:
        """`judge`, but that a patch which changes nothing, for the ball and the box leave no room, costs no query.

        On MNIST that is every second one. On a GPU it would cost a host sync to know, so there all are judged.
        """
        rows = changed.nonzero().squeeze(1) if changed.device.type == "cpu" else None
        if rows is None or len(rows) == len(changed):
            return self.judge(self.point)
        better = torch.zeros_like(changed)
        if len(rows):
            better[rows] = self.judge(self.point[rows], rows)
        return better

    def keep(self, stay: Tensor) -> None:
        super().keep(stay)
        self.corner, self.leap = self.corner[:, stay], self.leap[:, stay]
        if self.ripple is not None:
            self.ripple.take(stay)


class _Smooth(_Run):
    """l2 and l1: a mosaic of smooth patches to begin with; then one patch takes the budget of another."""

    @property
    def draws(self) -> int:
        return 5 + self.x.shape[1]

    def start(self) -> Tensor:
        tiles = self.rng.child("start").uniform(self.x.new_empty(len(self.x), self.x.shape[1], 5, 5))
        return self._inside(mosaic(torch.where(tiles < 0.5, -1.0, 1.0), self.x))

    def prepare(self, first: int) -> None:
        super().prepare(first)
        sides, whole = [self.patch(number) for number in range(first, first + BLOCK)], self.knobs.whole
        self.first = corners(self.block[:, :, :2], sides, self.x, whole=whole)
        self.second = corners(self.block[:, :, 2:4], sides, self.x, whole=whole)

    def patch(self, number: int) -> int:
        """The side of a query's patch: odd, at least 3."""
        height, width = self.x.shape[2:]
        side = max(self.knobs.side(number, height * width), 3)
        return min(side + (side % 2 == 0), height, width)

    def query(self, number: int) -> None:
        at, side = (number - 1) % BLOCK, self.patch(number)
        first, second = window(self.first[:, at], side, self.x), window(self.second[:, at], side, self.x)
        delta, draw = (self.point - self.x).flatten(2), self.block[:, at]
        moved = self._moved(delta, first, second, self._fresh(draw[:, 4:], side))
        point = self._inside(moved.view_as(self.x))
        better = self.judge(point)
        self.point = torch.where(wide(better, point), point, self.point)

    def keep(self, stay: Tensor) -> None:
        super().keep(stay)
        self.first, self.second = self.first[stay], self.second[stay]

    def _fresh(self, draw: Tensor, side: int) -> Tensor:
        """A smooth patch, upright or turned, of one sign a channel, (n, channels, side * side)."""
        upright = pattern(side).to(self.x)
        turned = torch.where(wide(draw[:, 0] < 0.5, upright[None]), upright, upright.T)
        signs = torch.where(draw[:, 1:] < 0.5, -1.0, 1.0)
        return signs[:, :, None] * turned.flatten(1)[:, None]

    def _moved(self, delta: Tensor, first: Tensor, second: Tensor, fresh: Tensor) -> Tensor:
        """`delta` with the budget of both windows, and what was unused, in the first (algorithm 3)."""
        old = delta.gather(2, first)
        rest = delta.scatter(2, second, 0.0).scatter_(2, first, 0.0)
        fresh = fresh + old / self._size(old).clamp_min(1e-12)
        channels = delta.shape[1]
        power = 2 if self.threat.norm is Norm.l2 else 1
        both = (self._size(delta) ** power - self._size(rest) ** power).clamp_min(0)
        whole = size_of(delta.flatten(1), self.threat.norm)[:, None, None]
        unused = (self.threat.radius**power - whole**power).clamp_min(0) / channels
        budget = (both + unused) ** (1 / power)
        return rest.scatter_(2, first, fresh / self._size(fresh).clamp_min(1e-12) * budget)

    def _size(self, delta: Tensor) -> Tensor:
        """The size of each channel, (n, channels, 1)."""
        size: Tensor = torch.linalg.vector_norm(delta, ord=2 if self.threat.norm is Norm.l2 else 1, dim=2, keepdim=True)
        return size

    def _inside(self, delta: Tensor) -> Tensor:
        """The point at `delta` from the clean image: l2 scaled to eps and cut by the box, l1 projected onto both."""
        if self.threat.norm is Norm.l1:
            return self.threat.project(self.x + delta, self.x)
        size = wide(size_of(delta.flatten(1), Norm.l2), delta).clamp_min(1e-12)
        return (self.x + delta / size * self.threat.radius).clamp(self.threat.low, self.threat.high)
