"""What the attacker may do, as one value: a ball of radius eps around each image, cut by the pixel box.

Distances are in pixel units (0..1 unless the box says otherwise). eps is kept as the user wrote it ("8/255")
and never rounded: two spellings are two threat models in every table and file name.
"""

from dataclasses import dataclass, replace
from enum import Enum
from fractions import Fraction

import torch
from torch import Tensor

from harden import kernels
from harden.errors import ConfigError
from harden.seeds import Stream

LARGEST = 1e30
"""Radii from here on would overflow float32 on the way."""

L1_SHARE = 0.05
"""Share of the pixels that an l1 step moves: one alone, the steepest direction proper, learns too slowly
(Tramer and Boneh 2019, arXiv 1904.13000, take 1 % of far larger images)."""


class Norm(Enum):
    """How the size of a perturbation is measured."""

    linf = "linf"
    l2 = "l2"
    l1 = "l1"


@dataclass(frozen=True)
class ThreatModel:
    """A ball in `norm` of radius `eps` (pixel units, a decimal or a fraction) inside the box [low, high]."""

    norm: Norm = Norm.linf
    eps: str = "0.1"
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ConfigError(f"threat.low must be below threat.high, got {self.low} and {self.high}")
        radius = self.radius  # refuses what is no radius, whatever the norm
        if self.norm is Norm.linf and radius > self.high - self.low:
            raise ConfigError(
                f"threat.eps must lie within the pixel box {self.low:g}..{self.high:g}, got '{self.eps}'",
                "pixels run from 0 to 1 here: write 8/255, not 8",
            )

    @property
    def radius(self) -> float:
        """eps as a number."""
        return _parse(self.eps)

    @property
    def label(self) -> str:
        """Norm and eps as tables print them."""
        return f"{self.norm.value} eps {self.eps}"

    def scaled(self, share: float) -> "ThreatModel":
        """This threat with its radius times `share` (for a ramp); share 1 is this very threat."""
        return self if share >= 1 else replace(self, eps=repr(self.radius * share))

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """The point nearest to `x_adv` that lies in the ball around `x` and in the box; x, x_adv: (n, *pixel).

        Ball and box at once, for every norm: cutting by one after the other would give away, for l2 and l1, what
        the box cuts off (for l1 see Croce and Hein 2021, arXiv 2103.01208).
        """
        project = {
            Norm.linf: kernels.project_linf,
            Norm.l2: kernels.project_l2,
            Norm.l1: kernels.project_l1,
        }[self.norm]
        return project(x_adv, x, eps=self.radius, low=self.low, high=self.high, out=torch.empty_like(x))

    def step(self, x_adv: Tensor, gradient: Tensor, x: Tensor, *, size: float, out: Tensor) -> Tensor:
        """`x_adv` after one step of length `size` in steepest ascent of this norm, projected, in `out`."""
        ball = {"eps": self.radius, "low": self.low, "high": self.high}
        if self.norm is Norm.l1:
            return kernels.step_l1(x_adv, gradient, x, step=size, share=L1_SHARE, out=out, **ball)
        step = kernels.step_linf if self.norm is Norm.linf else kernels.step_l2
        return step(x_adv, gradient, x, step=size, out=out, **ball)

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """The size of each sample's perturbation in this norm, (n,) float64."""
        order = {Norm.linf: torch.inf, Norm.l2: 2, Norm.l1: 1}[self.norm]
        size: Tensor = torch.linalg.vector_norm((x_adv.double() - x.double()).flatten(1), ord=order, dim=1)
        return size

    def random_start(self, x: Tensor, rng: Stream) -> Tensor:
        """A point drawn uniformly from the ball around each sample, then cut by the box.

        Depends on `rng` and the sample's id alone, not on the batch it stands in.
        """
        draw = {Norm.linf: _cube, Norm.l2: _sphere, Norm.l1: _cross_polytope}[self.norm]
        return (x + self.radius * draw(x, rng)).clamp_(self.low, self.high)


def _parse(eps: str) -> float:
    """The radius as a number; ConfigError unless it is finite and >= 0.

    A decimal goes through float, which rounds alike: Fraction would write out all the digits of 1e999999999.
    """
    try:
        radius = float(Fraction(eps)) if "/" in eps else float(eps)
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise ConfigError(f"threat.eps must be a number, got {eps!r}", "write 0.1 or 8/255") from error
    if not 0 <= radius < LARGEST:
        raise ConfigError(f"threat.eps must be finite and >= 0, got {eps!r}")
    return radius


def _cube(x: Tensor, rng: Stream) -> Tensor:
    return rng.uniform(x, -1.0, 1.0)


def _sphere(x: Tensor, rng: Stream) -> Tensor:
    """Uniform in the unit l2 ball: a normalised Gaussian at radius U^(1/d)."""
    direction = rng.normal(x).flatten(1)
    length = rng.child("length").uniform(direction[:, :1]) ** (1 / direction.shape[1])
    norm: Tensor = direction.norm(dim=1, keepdim=True)
    return (direction * (length / norm.clamp_min(1e-12))).view_as(x)


def _cross_polytope(x: Tensor, rng: Stream) -> Tensor:
    """Uniform in the unit l1 ball: signed exponentials over their sum and one more (Dirichlet)."""
    size = -torch.log1p(-rng.uniform(x)).flatten(1)
    more = -torch.log1p(-rng.child("more").uniform(size[:, :1]))
    sign = torch.where(rng.child("sign").uniform(size) < 0.5, -1.0, 1.0)
    return (sign * size / (size.sum(dim=1, keepdim=True) + more)).view_as(x)
