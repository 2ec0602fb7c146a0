"""Edits that cost the attacker nothing, as the network computes the same: scales, order and signs of its channels.

Yan et al. 2023, "Rethinking White-Box Watermarks on Deep Learning Models under Neural Structural Obfuscation", and
"Invariant neuron transforms", KDD 2023. Every one is exact up to float rounding.
"""

import math

import torch
from torch import Tensor

from harden.seeds import Stream
from harden.watermarking.wiring.channels import Axis, Port, Span, Weights, Wiring
from harden.watermarking.wiring.slices import chosen, scaled


def rescaled(
    weights: Weights, wiring: Wiring, *, rng: Stream, low: float = 1e-3, high: float = 1e3
) -> dict[str, Tensor]:
    """Every channel times a factor of its own, log-uniform in [low, high], wherever the network does not notice."""
    out = dict(weights)
    for axis, number, span in _spans(wiring):
        if span.homogeneous and _has_scale(span, out):
            draw = torch.rand(axis.width(out), generator=rng.child("scale", axis.name, number).generator())
            _scale(out, span, torch.exp(math.log(low) + draw.double() * math.log(high / low)))
    return out


def flipped(weights: Weights, wiring: Wiring, *, rng: Stream) -> dict[str, Tensor]:
    """Half of the channels with the other sign, wherever the functions in between are odd."""
    out = dict(weights)
    for axis, number, span in _spans(wiring):
        if span.odd and _has_scale(span, out):
            draw = torch.rand(axis.width(out), generator=rng.child("sign", axis.name, number).generator())
            _scale(out, span, torch.where(draw < 0.5, -1.0, 1.0).double())
    return out


def permuted(weights: Weights, wiring: Wiring, *, rng: Stream) -> dict[str, Tensor]:
    """The channels of every hidden axis in another order."""
    out = dict(weights)
    for axis in wiring.hidden:
        order = torch.randperm(axis.width(out), generator=rng.child("order", axis.name).generator())
        reorder(out, axis, order)
    return out


def reorder(out: dict[str, Tensor], axis: Axis, index: Tensor) -> None:
    """Puts the channels `index` of an axis, in that order, into every tensor that has it."""
    for port in (*axis.makers(out), *axis.readers):
        out[port.name] = chosen(out[port.name], port, index)


def _spans(wiring: Wiring) -> list[tuple[Axis, int, Span]]:
    return [(axis, number, span) for axis in wiring.hidden for number, span in enumerate(axis.spans)]


def _has_scale(span: Span, weights: Weights) -> bool:
    """Whether all norms around have the tensors that would take up a factor."""
    norms = {*span.norms, *span.behind}
    return all(f"{norm.prefix}.weight" in weights for norm in norms) and bool(span.writers or span.behind)


def _scale(out: dict[str, Tensor], span: Span, factor: Tensor) -> None:
    """Scales the channels of a span; norms undo it, eps included, and readers take it back."""
    for port in span.writers:
        out[port.name] = scaled(out[port.name], port, factor)
    for norm in span.behind:
        for name in (f"{norm.prefix}.weight", f"{norm.prefix}.bias"):
            out[name] = scaled(out[name], Port(name, 0), factor)
    for norm in span.norms:
        mean, var, gamma = (f"{norm.prefix}.{one}" for one in ("running_mean", "running_var", "weight"))
        out[mean] = scaled(out[mean], Port(mean, 0), factor)
        out[var] = ((out[var].double() + norm.eps) * factor**2 - norm.eps).to(out[var].dtype)
        out[gamma] = scaled(out[gamma], Port(gamma, 0), factor.sign())
    for port in span.readers:
        out[port.name] = scaled(out[port.name], port, 1 / factor)
