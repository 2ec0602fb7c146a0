"""Randomised smoothing: an l2 certificate for the vote of a network over Gaussian noise (Cohen et al. 2019,
arXiv 1902.02918). It speaks of the smoothed classifier, not of the network itself.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from scipy.stats import beta, norm
from torch import Tensor

from harden.seeds import Stream

ABSTAINED = -1


class Smoothed(NamedTuple):
    """predicted: (n,) int64, -1 where the vote was too close; radius: (n,) float64, certified in l2, 0 there."""

    predicted: Tensor
    radius: Tensor


@torch.no_grad()
def smoothed(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    sigma: float,
    n0: int,
    n: int,
    alpha: float,
    rng: Stream,
    batch_size: int = 1000,
) -> Smoothed:
    """The smoothed classifier's answer for each image and the l2 radius in which it holds with confidence 1 - alpha.

    The class is chosen by `n0` votes and certified by `n` others (section 3.2.2, algorithm 1). x: (k, *pixel);
    sigma in pixel units; noisy images leave the box, as in the paper. Draws depend on `rng`, the sample's id and
    the number of the draw, not on how many images are looked at at once.
    """
    classes = model(x[:1]).shape[1]
    chosen = votes(model, x, sigma=sigma, count=n0, rng=rng.child("select"), classes=classes, batch_size=batch_size)
    best = chosen.argmax(dim=1)
    counted = votes(model, x, sigma=sigma, count=n, rng=rng.child("certify"), classes=classes, batch_size=batch_size)
    wins = counted.gather(1, best[:, None]).squeeze(1)
    share = lower_bound(wins, n, alpha)
    radius = torch.where(share > 0.5, sigma * torch.from_numpy(norm.ppf(share.numpy())), 0.0)
    return Smoothed(torch.where(share > 0.5, best.cpu(), ABSTAINED), radius)


@torch.no_grad()
def votes(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    sigma: float,
    count: int,
    rng: Stream,
    classes: int,
    batch_size: int,
) -> Tensor:
    """How many of `count` noisy copies of each image the model puts into each class, (k, classes) int64."""
    out = torch.zeros(len(x), classes, dtype=torch.int64, device=x.device)
    at_once = max(batch_size // max(len(x), 1), 1)
    for first in range(0, count, at_once):
        draws = range(first, min(first + at_once, count))
        noisy = torch.cat([x + sigma * rng.normal(x, draw=number) for number in draws])
        answers = (
            torch.cat([model(part) for part in torch.split(noisy, batch_size)]).argmax(dim=1).view(len(draws), len(x))
        )
        out += torch.nn.functional.one_hot(answers, classes).sum(dim=0)
    return out


def lower_bound(wins: Tensor, n: int, alpha: float) -> Tensor:
    """The lower Clopper-Pearson bound (1934, Biometrika 26) of a share of which `wins` of `n` were seen, float64."""
    k = wins.cpu().double().numpy()
    share = torch.from_numpy(beta.ppf(alpha, k, n - k + 1))
    return torch.where(wins.cpu() == 0, torch.zeros_like(share), share)
