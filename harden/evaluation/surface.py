"""The loss around one image, over the plane of an attack's direction and a random one.

A smooth slope means that gradients lead somewhere; a spiky or flat plane is a sign of masked gradients.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from harden.attacks import Attack, Model, frozen
from harden.attacks.losses import cross_entropy
from harden.evaluation.judge import exact
from harden.seeds import Stream
from harden.threat import ThreatModel


@dataclass(frozen=True)
class Surface:
    """`loss`[i, j] is the cross-entropy at x + along[j] * attack direction + across[i] * random direction."""

    along: Tensor
    across: Tensor
    loss: Tensor


def loss_surface(
    model: Model,
    x: Tensor,
    y: Tensor,
    attack: Attack,
    threat: ThreatModel,
    *,
    rng: Stream,
    points: int = 41,
    reach: float = 1.5,
) -> Surface:
    """The surface around one image, x: (1, *pixel), y: (1,), from 0 to `reach` eps along the attack.

    Both directions are as long as the attack's own perturbation; the box is kept, the ball is not.
    """
    along = torch.linspace(0, reach, points)
    across = torch.linspace(-reach, reach, points)
    with exact(), frozen(model), torch.no_grad():
        towards = attack(model, x, y, threat, rng=rng) - x
        sideways = torch.where(rng.child("surface").uniform(x) < 0.5, -1.0, 1.0)
        sideways = sideways * towards.norm() / sideways.norm()
        rows = [_row(model, x, y, towards, sideways, along, b, threat) for b in across]
    return Surface(along, across, torch.stack(rows))


def _row(
    model: Model,
    x: Tensor,
    y: Tensor,
    towards: Tensor,
    sideways: Tensor,
    along: Tensor,
    b: Tensor,
    threat: ThreatModel,
) -> Tensor:
    steps = along.to(x).view(-1, *[1] * (x.dim() - 1))
    images = (x + steps * towards + b.to(x) * sideways).clamp(threat.low, threat.high)
    return cross_entropy(model(images), y.expand(len(images))).cpu()
