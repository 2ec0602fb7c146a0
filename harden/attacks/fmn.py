"""FMN, the fast minimum-norm attack (Pintor et al. 2021, arXiv 2102.12827).

A ball around each image grows while its best point is still classified right and shrinks once it is not; inside,
normalised gradient steps on the margin, both annealed by a cosine.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from harden.attacks.base import MinimumNorm, Model, fooled, input_gradient
from harden.attacks.losses import margin
from harden.attacks.norms import size_of, wide
from harden.errors import ConfigError
from harden.seeds import Stream
from harden.threat import Norm, ThreatModel

LEAVE_EVERY = 10

DUAL = {Norm.linf: 1, Norm.l2: 2, Norm.l1: torch.inf}


@dataclass(frozen=True)
class Fmn(MinimumNorm):
    """`steps` steps of length `step` falling to a hundredth, the ball changing by `gamma` falling likewise.

    `step` is a share of the box: of its side for linf, its diagonal for l2, half its perimeter for l1.
    """

    steps: int = 200
    step: float = 0.0  # 0: what suits the norm
    gamma: float = 0.05

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"attack.steps must be >= 1, got {self.steps}")
        if self.step < 0 or not 0 < self.gamma < 1:
            raise ConfigError(
                f"attack.step must be >= 0 and attack.gamma in (0, 1), got {self.step:g} and {self.gamma:g}"
            )

    @property
    def label(self) -> str:
        """FMN with its steps, as in `FMN-200`."""
        return f"FMN-{self.steps}"

    def closest(
        self, model: Model, x: Tensor, y: Tensor, threat: ThreatModel, *, rng: Stream, enough: float = 0.0
    ) -> Tensor:
        """As `MinimumNorm.closest`; 1 forward and 1 backward pass a step."""
        best = x.clone()
        if not len(x):
            return best
        norm, place = threat.norm, torch.arange(len(x), device=x.device)
        nearest = torch.full((len(x),), torch.inf, device=x.device)
        delta, ball = torch.zeros_like(x), torch.full((len(x),), torch.inf, device=x.device)
        met = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        first = (self.step or FIRST_STEP[norm]) * x[0].numel() ** LENGTH[norm] * (threat.high - threat.low)
        for step in range(self.steps):
            if enough and step % LEAVE_EVERY == 0:
                stay = (nearest[place] > enough).nonzero().squeeze(1)
                if len(stay) < len(place):
                    x, y, place, delta, ball, met = x[stay], y[stay], place[stay], delta[stay], ball[stay], met[stay]
                if not len(place):
                    break
            share = 0.5 * (1 + math.cos(math.pi * step / self.steps))
            gradient, logits = input_gradient(model, x + delta, lambda z, label=y: margin(z, label))  # type: ignore[misc]
            size, wrong = size_of(delta.flatten(1), norm), fooled(logits, y)
            closer = wrong & (size < nearest[place])
            best[place] = torch.where(wide(closer, x), x + delta, best[place])
            nearest[place] = torch.where(closer, size, nearest[place])
            ball = _resized(
                ball, size, nearest[place], margin(logits, y), gradient, wrong, met, norm, self.gamma * share
            )
            met = met | wrong
            length = first * (0.01 + 0.99 * share)
            delta = _onto_ball(delta + length * _ascent(gradient, norm), ball, norm)
            delta = (x + delta).clamp(threat.low, threat.high) - x
        if len(place):
            _last_look(model, x, y, delta, place, best, nearest, norm)
        return best


FIRST_STEP = {Norm.linf: 0.3, Norm.l2: 0.05, Norm.l1: 0.02}
LENGTH = {Norm.linf: 0.0, Norm.l2: 0.5, Norm.l1: 1.0}
"""The power of the number of pixels that the box's reach in this norm grows with."""


def _resized(
    ball: Tensor,
    size: Tensor,
    nearest: Tensor,
    lead: Tensor,
    gradient: Tensor,
    wrong: Tensor,
    met: Tensor,
    norm: Norm,
    gamma: float,
) -> Tensor:
    """The next radius: inward from an adversarial point; outward from others, to the linearised boundary at first."""
    slope = torch.linalg.vector_norm(gradient.flatten(1), ord=DUAL[norm], dim=1).clamp_min(1e-12)
    guess = (size + lead.detach().abs() / slope) * (1 + gamma)  # a little beyond, else it is never crossed
    inward = torch.minimum(size * (1 - gamma), nearest * (1 - gamma))
    base = torch.where(ball.isinf(), size, ball)
    grown = base * (1 + gamma)
    outward = torch.where(met, grown, torch.maximum(guess, grown))
    return torch.where(wrong, torch.minimum(inward, base), outward)


def _ascent(gradient: Tensor, norm: Norm) -> Tensor:
    """The gradient at l2 length 1; for linf its signs."""
    if norm is Norm.linf:
        return gradient.sign()
    return gradient / wide(size_of(gradient.flatten(1), Norm.l2), gradient).clamp_min(1e-12)


def _onto_ball(delta: Tensor, ball: Tensor, norm: Norm) -> Tensor:
    """The point of each sample's own ball nearest to its delta."""
    radius = wide(ball, delta)
    if norm is Norm.linf:
        return torch.maximum(torch.minimum(delta, radius), -radius)
    if norm is Norm.l2:
        return delta * (radius / wide(size_of(delta.flatten(1), norm), delta).clamp_min(1e-12)).clamp_max(1)
    return _onto_l1(delta.flatten(1), ball).view_as(delta)


def _onto_l1(delta: Tensor, ball: Tensor) -> Tensor:
    """Duchi et al. 2008 (ICML, figure 1): the soft threshold at which the l1 size is the radius."""
    size = delta.abs()
    ranked = size.sort(dim=1, descending=True).values
    total = ranked.cumsum(dim=1) - ball[:, None]
    count = torch.arange(1, size.shape[1] + 1, device=size.device, dtype=size.dtype)
    last = (ranked * count > total).sum(dim=1, keepdim=True).clamp_min(1) - 1
    threshold = (total.gather(1, last) / (last + 1)).clamp_min(0)
    inside = (size.sum(dim=1) <= ball)[:, None]
    return torch.where(inside, delta, delta.sign() * (size - threshold).clamp_min(0))


def _last_look(
    model: Model, x: Tensor, y: Tensor, delta: Tensor, place: Tensor, best: Tensor, nearest: Tensor, norm: Norm
) -> None:
    with torch.no_grad():
        wrong = fooled(model(x + delta), y)
    size = size_of(delta.flatten(1), norm)
    closer = wrong & (size < nearest[place])
    best[place[closer]] = (x + delta)[closer]
