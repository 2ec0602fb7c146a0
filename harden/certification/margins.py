"""Which samples no perturbation of a linf ball can break: a lower bound of robust accuracy."""

import copy
from enum import Enum

import torch
from torch import Tensor, nn

from harden.certification import crown, intervals, rounding
from harden.certification.intervals import between, through
from harden.certification.layers import Affine, Layer, chain
from harden.errors import ConfigError
from harden.threat import Norm, ThreatModel


class Method(Enum):
    """How bounds are carried through the network."""

    ibp = "ibp"
    crown_ibp = "crown_ibp"  # never looser than ibp: the better of the two is taken


def margins(model: nn.Module, x: Tensor, y: Tensor, threat: ThreatModel, *, method: Method = Method.ibp) -> Tensor:
    """Lower bounds of logit y minus logit j over ball and box, for every class j, (n, classes); 0 at j = y.

    x: (n, *pixel) in the box; y: (n,). In the model's own precision and differentiable. linf only. Raises
    ConfigError for another norm or a layer that bounds cannot be carried through.
    """
    if threat.norm is not Norm.linf:
        raise ConfigError(f"interval bounds speak of linf, the threat is in {threat.norm.value}", "say certify=smooth")
    return bounds(chain(model), x, y, threat, method)


def bounds(layers: list[Layer], x: Tensor, y: Tensor, threat: ThreatModel, method: Method) -> Tensor:
    """`margins` over a chain."""
    met = through(layers, between(*_ball(x, threat)))
    last = layers[-1]
    if not isinstance(last, Affine):
        raise ConfigError("bounds need a network that ends in an affine layer")
    loose = intervals.lead(last, met[-2], y)
    return loose if method is Method.ibp else torch.maximum(loose, crown.lead(layers, met, y))


@torch.no_grad()
def certified(
    model: nn.Module, x: Tensor, y: Tensor, threat: ThreatModel, *, method: Method = Method.crown_ibp
) -> Tensor:
    """Whether the float32 model provably predicts y on the whole of ball and box, (n,) bool.

    Computed in float64, with the float32 network's rounding and the rounding of the ball's edge allowed for.
    """
    if threat.norm is not Norm.linf:
        raise ConfigError(f"interval bounds speak of linf, the threat is in {threat.norm.value}", "say certify=smooth")
    layers = chain(copy.deepcopy(model).double().eval())
    wide = x.double()
    met = through(layers, between(*_ball(wide, threat)))
    off = rounding.error(layers, met)
    lead = bounds(layers, wide, y, threat, method)
    slack = (off + off.gather(1, y[:, None])) * (1 + 1e-6)
    rivals = torch.ones_like(lead, dtype=torch.bool).scatter(1, y[:, None], False)
    return ((lead > slack) | ~rivals).all(dim=1)


def _ball(x: Tensor, threat: ThreatModel) -> tuple[Tensor, Tensor]:
    """The ends of the ball in the box; in float64 a little further out, as float32 rounds x + eps."""
    more = 2.0**-22 if x.dtype == torch.float64 else 0.0
    radius = threat.radius * (1 + more) + more
    return (x - radius).clamp_min(threat.low), (x + radius).clamp_max(threat.high)
