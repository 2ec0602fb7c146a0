"""The weights as other formats hold them: rounded floats, few-bit integers with a scale a channel, folded norms."""

from collections.abc import Collection

import torch
from torch import Tensor

from harden.watermarking.edits.kernels import kernels_of
from harden.watermarking.wiring.channels import Port, Span, Weights, Wiring
from harden.watermarking.wiring.slices import scaled


def rounded(weights: Weights, dtype: torch.dtype) -> dict[str, Tensor]:
    """Every floating tensor as `dtype` holds it, in the type that it had."""
    return {name: t.to(dtype).to(t.dtype) if t.is_floating_point() else t for name, t in weights.items()}


def quantised(weights: Weights, bits: int) -> dict[str, Tensor]:
    """Kernels on the `bits`-bit grid of each output channel: symmetric, 2^(bits-1) - 1 steps to the largest weight."""
    names = kernels_of(weights)
    return {name: _on_grid(t, bits) if name in names else t for name, t in weights.items()}


def _on_grid(tensor: Tensor, bits: int) -> Tensor:
    codes, scale = integers(tensor, bits)
    return (codes.double() * scale.double()).to(tensor.dtype)


def integers(tensor: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """int8 codes and the float32 scale of each output channel, shape (out, 1, ...); code times scale is the weight."""
    top = 2 ** (bits - 1) - 1
    largest = tensor.abs().flatten(1).amax(dim=1).float()
    scale = (torch.where(largest > 0, largest, 1.0) / top).view(-1, *[1] * (tensor.dim() - 1))
    return (tensor / scale).round().clamp(-top, top).to(torch.int8), scale


def folded(weights: Weights, wiring: Wiring) -> dict[str, Tensor]:
    """Every batch norm that stands alone behind layers has gone into their kernels; the network computes the same.

    The norm's tensors stay, so that the network still loads: scale 1, mean 0, variance 1 - eps; its shift takes up
    what is left.
    """
    out = dict(weights)
    for span in (span for axis in wiring.hidden for span in axis.spans):
        if span.writers and len(span.norms) == 1 and not span.readers:
            _fold(out, span)
    return out


def _fold(out: dict[str, Tensor], span: Span) -> None:
    norm = span.norms[0]
    names = [f"{norm.prefix}.{one}" for one in ("weight", "bias", "running_mean", "running_var")]
    if not all(name in out for name in names):
        return
    gamma, beta, mean, var = (out[name].double() for name in names)
    factor = gamma / torch.sqrt(var + norm.eps)
    for port in span.writers:
        out[port.name] = scaled(out[port.name], Port(port.name, 0), factor)
    news = (torch.ones_like(gamma), beta - mean * factor, torch.zeros_like(mean), torch.ones_like(var) - norm.eps)
    out.update({name: new.to(out[name].dtype) for name, new in zip(names, news, strict=True)})


def relabelled(weights: Weights, *, transpose: Collection[str] = ()) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The weights under another framework's names, linear kernels in `transpose` turned, and the map old=new back."""
    names = {name: f"model/layer_{number:03}/{name.rpartition('.')[2]}" for number, name in enumerate(weights)}
    turned = {names[name]: t.T.contiguous() if name in transpose else t for name, t in weights.items()}
    return turned, {new: old for old, new in names.items()}
