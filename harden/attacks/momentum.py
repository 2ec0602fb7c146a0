"""Iterated FGSM with momentum, and two of its forms that carry over to other models better.

MI-FGSM (Dong et al. 2018, arXiv 1710.06081), DI-FGSM (Xie et al. 2019, arXiv 1803.06978: a random resizing before
each pass) and TI-FGSM (Dong et al. 2019, arXiv 1904.02884: the gradient smoothed, as if over shifted images).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from harden.attacks.base import Attack, Model, fooled, input_gradient
from harden.attacks.losses import cross_entropy
from harden.attacks.norms import wide
from harden.attacks.pgd import Keep
from harden.errors import ConfigError
from harden.seeds import Stream
from harden.threat import ThreatModel

LEAVE_EVERY = 5
"""Steps between two looks at who may leave, the only host syncs."""


@dataclass(frozen=True)
class MiFgsm(Attack):
    """`steps` steps of eps / steps along the sum of normalised gradients, older ones weighted by `decay`.

    keep: the first misclassified iterate, or the last one whatever it is, which carries over better.
    """

    steps: int = 10
    decay: float = 1.0
    keep: Keep = Keep.best

    def __post_init__(self) -> None:
        if self.steps < 1 or self.decay < 0:
            raise ConfigError(f"attack.steps must be >= 1 and attack.decay >= 0, got {self.steps} and {self.decay:g}")

    @property
    def label(self) -> str:
        """MI-FGSM with its steps."""
        return self._spelled("MI-FGSM")

    def propose(self, model: Model, x: Tensor, y: Tensor, threat: ThreatModel, *, rng: Stream) -> Tensor:
        """What `keep` says, the last iterate where none was misclassified; `steps` passes forward and back."""
        if not len(x):
            return x
        result, place = x.clone(), torch.arange(len(x), device=x.device)
        x_adv, momentum = x, torch.zeros_like(x)
        done = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        for step in range(self.steps):
            if self.keep is Keep.best and step % LEAVE_EVERY == LEAVE_EVERY - 1 and bool(done.any()):
                stay = (~done).nonzero().squeeze(1)
                x, y, x_adv, momentum, place, done = (one[stay] for one in (x, y, x_adv, momentum, place, done))
                rng = rng.take(stay)
                if not len(place):
                    return result
            seen = self.altered(model, rng.child("step", step))
            gradient, logits = input_gradient(seen, x_adv, lambda z, y=y: cross_entropy(z, y))  # type: ignore[misc]
            if self.keep is Keep.best:
                first = fooled(logits, y) & ~done
                result[place] = torch.where(wide(first, x), x_adv, result[place])
                done = done | first
            gradient = self.smoothed(gradient)
            momentum = self.decay * momentum + gradient / wide(gradient.flatten(1).abs().mean(1), x).clamp_min(1e-12)
            size = threat.radius / self.steps
            x_adv = threat.step(x_adv, momentum, x, size=size, out=torch.empty_like(x))
        result[place] = torch.where(wide(done, x), result[place], x_adv)
        return result

    def _spelled(self, name: str) -> str:
        return f"{name}-{self.steps}" + (" (last)" if self.keep is Keep.last else "")

    def altered(self, model: Model, rng: Stream) -> Model:
        """The model as one pass sees it."""
        return model

    def smoothed(self, gradient: Tensor) -> Tensor:
        """The gradient as the momentum takes it up."""
        return gradient


@dataclass(frozen=True)
class DiFgsm(MiFgsm):
    """MI-FGSM whose passes see each image shrunk and padded at random, with probability `probability`."""

    probability: float = 0.7
    shrink: float = 0.9  # the smallest size, a share of the side

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.probability <= 1 or not 0 < self.shrink <= 1:
            raise ConfigError(
                "attack.probability must lie in [0, 1] and attack.shrink in (0, 1], "
                f"got {self.probability:g} and {self.shrink:g}"
            )

    @property
    def label(self) -> str:
        """DI-FGSM with its steps."""
        return self._spelled("DI-FGSM")

    def altered(self, model: Model, rng: Stream) -> Model:
        """The model behind a random affine map of each image."""
        return lambda x: model(self._resized(x, rng))

    def _resized(self, x: Tensor, rng: Stream) -> Tensor:
        """Each image at a size and place of its own, drawn per sample, by one bilinear sampling of all."""
        draw = rng.uniform(x.detach().new_empty(len(x), 4))
        scale = torch.where(draw[:, 0] < self.probability, self.shrink + (1 - self.shrink) * draw[:, 1], 1.0)
        shift = (draw[:, 2:] * 2 - 1) * (1 / scale - 1)[:, None]
        zero = torch.zeros_like(scale)
        rows = [torch.stack([1 / scale, zero, shift[:, 0]], 1), torch.stack([zero, 1 / scale, shift[:, 1]], 1)]
        grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)


@dataclass(frozen=True)
class TiFgsm(MiFgsm):
    """MI-FGSM on gradients smoothed by a Gaussian kernel of side `kernel`."""

    kernel: int = 5
    sigma: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel < 1 or self.kernel % 2 == 0 or not self.sigma > 0:
            raise ConfigError(
                f"attack.kernel must be odd and >= 1, attack.sigma > 0, got {self.kernel} and {self.sigma:g}"
            )

    @property
    def label(self) -> str:
        """TI-FGSM with its steps."""
        return self._spelled("TI-FGSM")

    def smoothed(self, gradient: Tensor) -> Tensor:
        """The gradient under the kernel, channel by channel."""
        at = torch.arange(self.kernel, dtype=gradient.dtype, device=gradient.device) - self.kernel // 2
        line = torch.exp(-(at**2) / (2 * self.sigma**2))
        line = line / line.sum()
        channels = gradient.shape[1]
        weight = (line[:, None] * line).expand(channels, 1, -1, -1)
        return F.conv2d(gradient, weight, padding=self.kernel // 2, groups=channels)
