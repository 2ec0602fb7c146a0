"""The torch engine's losses of logits, with their gradients."""

import torch
from torch import Tensor

TINY = 1e-12  # keeps ratios of logits finite where all are equal


@torch.no_grad()
def margin(logits: Tensor, y: Tensor, *, value: Tensor, gradient: Tensor) -> Tensor:
    fits, label, other = _rivals(logits, y)
    _slope(gradient.zero_(), other, label, torch.ones_like(value))
    torch.sub(_at(logits, other), _at(logits, label), out=value)
    return _blanked(value, gradient, fits)


@torch.no_grad()
def dlr(logits: Tensor, y: Tensor, *, value: Tensor, gradient: Tensor) -> Tensor:
    fits, label, other = _rivals(logits, y)
    ranked, rank = logits.sort(dim=1, descending=True, stable=True)
    each = 1 / (ranked[:, 0] - ranked[:, 2] + TINY)
    torch.mul(_at(logits, other) - _at(logits, label), each, out=value)
    _slope(gradient.zero_(), other, label, each)
    _slope(gradient, rank[:, 2], rank[:, 0], value * each)
    return _blanked(value, gradient, fits)


@torch.no_grad()
def targeted_dlr(logits: Tensor, y: Tensor, target: Tensor, *, value: Tensor, gradient: Tensor) -> Tensor:
    fits, label, _ = _rivals(logits, y)
    fits = fits & (target >= 0) & (target < logits.shape[1])
    aim = target.where(fits, 0)
    ranked, rank = logits.sort(dim=1, descending=True, stable=True)
    each = 1 / (ranked[:, 0] - 0.5 * (ranked[:, 2] + ranked[:, 3]) + TINY)
    torch.mul(_at(logits, aim) - _at(logits, label), each, out=value)
    _slope(gradient.zero_(), aim, label, each)
    half = 0.5 * value * each
    _slope(gradient, rank[:, 2], rank[:, 0], half)
    _slope(gradient, rank[:, 3], rank[:, 0], half)
    return _blanked(value, gradient, fits)


def _rivals(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Whether a row has a label and finite logits; the label, 0 where not; the class of the largest other logit."""
    fits = (y >= 0) & (y < logits.shape[1]) & logits.isfinite().all(dim=1)
    label = y.where(fits, 0)
    return fits, label, logits.scatter(1, label[:, None], -torch.inf).argmax(dim=1)


def _at(logits: Tensor, place: Tensor) -> Tensor:
    return logits.gather(1, place[:, None]).squeeze(1)


def _slope(gradient: Tensor, up: Tensor, down: Tensor, each: Tensor) -> None:
    """Adds `each` at `up` and takes it away at `down`."""
    gradient.scatter_add_(1, up[:, None], each[:, None]).scatter_add_(1, down[:, None], -each[:, None])


def _blanked(value: Tensor, gradient: Tensor, fits: Tensor) -> Tensor:
    """NaN and a gradient of zeros where there is no such label, or a logit is not finite."""
    gradient.masked_fill_(~fits[:, None], 0)
    return value.masked_fill_(~fits, torch.nan)
