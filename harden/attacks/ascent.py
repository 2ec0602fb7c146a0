"""Projected gradient ascent, the loop that the gradient attacks and TRADES share."""

from collections.abc import Callable

import torch
from torch import Tensor

from harden.attacks.base import Model, input_gradient
from harden.threat import ThreatModel

Objective = Callable[[Tensor], Tensor]
"""Logits (n, classes) -> the value to climb, (n,)."""


def last_iterate(
    model: Model,
    x: Tensor,
    start: Tensor,
    objective: Objective,
    threat: ThreatModel,
    *,
    steps: int,
    size: float,
) -> Tensor:
    """The point after `steps` projected steps of length `size` from `start`; 2 passes a step, no host sync."""
    x_adv = start
    out = torch.empty_like(x)
    for _ in range(steps):
        gradient, _ = input_gradient(model, x_adv, objective)
        x_adv = threat.step(x_adv, gradient, x, size=size, out=out)
    return x_adv


def best_iterate(
    model: Model,
    x: Tensor,
    start: Tensor,
    objective: Objective,
    score: Objective,
    threat: ThreatModel,
    *,
    steps: int,
    size: float,
) -> tuple[Tensor, Tensor]:
    """The iterate of highest `score`, the start and the last one included, and that score, (n,).

    One forward pass more than `last_iterate`, so that the last iterate is judged too.
    """
    x_adv, best = start, start.clone()
    top = torch.full((len(x),), -torch.inf, device=x.device)
    out = torch.empty_like(x)
    for _ in range(steps):
        gradient, logits = input_gradient(model, x_adv, objective)
        _keep(best, top, x_adv, score(logits))
        x_adv = threat.step(x_adv, gradient, x, size=size, out=out)
    with torch.no_grad():
        _keep(best, top, x_adv, score(model(x_adv)))
    return best, top


def _keep(best: Tensor, top: Tensor, x_adv: Tensor, score: Tensor) -> None:
    score = score.nan_to_num(nan=torch.inf)  # a network that answers NaN must not pass for one that withstands
    better = score > top
    torch.where(better, score, top, out=top)
    mask = better.view(-1, *[1] * (best.dim() - 1))
    torch.where(mask, x_adv, best, out=best)
