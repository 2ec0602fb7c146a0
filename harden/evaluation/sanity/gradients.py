"""Whether the model's gradients are there, and say what the model does."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from harden.attacks import frozen, input_gradient
from harden.attacks.losses import cross_entropy, margin
from harden.evaluation.inference import Steady
from harden.evaluation.sanity.rows import Row, Subject, Verdict, counted, row

SAMPLES, DIRECTIONS, STEP = 64, 8, 1e-2

AGREE = 0.05
"""How far a slope may lie from the gradient's."""

KINKS = 0.1
"""Which share of slopes may lie further. Over a step of 0.01 in l2, honest ReLU networks on 8 x 8 and 28 x 28
pixels stay below 3 %; those whose activations jump (k-WTA) show 24 % and more."""


def gradients_are_there(subject: Subject) -> Row:
    """6: no correct sample has an all-zero gradient, and inference takes no gradient of its own."""
    zero = torch.zeros_like(subject.clean)
    with frozen(subject.model):
        for loss in (cross_entropy, margin):
            gradient, _ = input_gradient(subject.model, subject.x, lambda z, loss=loss: loss(z, subject.y))  # type: ignore[misc]
            zero |= (gradient == 0).flatten(1).all(dim=1) & subject.clean
        with _watched() as calls, torch.no_grad():
            subject.model(subject.x[:8])
    figure = f"{counted(zero)} have a zero gradient; {len(calls)} calls of autograd in the forward pass"
    reason = "where the gradient is zero no white-box attack starts; a defence that optimises needs an adaptive attack"
    return row(6, "gradients", not bool(zero.any()) and not calls, figure, reason)


def gradients_are_true(subject: Subject) -> Row:
    """7: in float64, the slope of the margin along random directions is what the gradient says, within 5 %."""
    if not isinstance(subject.model, nn.Module):
        return Row(7, "finite differences", Verdict.not_applicable, "", "the model is a plain function")
    with frozen(subject.model):
        model = copy.deepcopy(subject.model).double()
    model = model if subject.eot == 1 else Steady(model, subject.eot)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    off = _disagreement(model, subject.x[:SAMPLES].double(), subject.y[:SAMPLES], subject)
    share = float((off > AGREE).double().mean())
    figure = f"{share:.1%} of {off.numel()} slopes are off by more than 5 %"
    reason = "a gradient that does not tell how the output changes leads attacks astray"
    return row(7, "finite differences", share <= KINKS, figure, reason)


def _disagreement(model: nn.Module, x: Tensor, y: Tensor, subject: Subject) -> Tensor:
    """The relative error of each slope, (samples, directions)."""
    gradient, _ = input_gradient(model, x, lambda z: _lead(z, y))
    errors = []
    for number in range(DIRECTIONS):
        direction = subject.rng.at(subject.ids[: len(x)]).child("slope", number).normal(x.float()).double()
        direction = direction / direction.flatten(1).norm(dim=1).view(-1, *[1] * (x.dim() - 1))
        with torch.no_grad():
            ahead, behind = (_lead(model(x + sign * STEP * direction), y) for sign in (1, -1))
        measured = (ahead - behind) / (2 * STEP)
        told = (gradient * direction).flatten(1).sum(dim=1)
        scale = gradient.flatten(1).norm(dim=1) / x[0].numel() ** 0.5
        errors.append((measured - told).abs() / (told.abs() + scale).clamp_min(1e-12))
    return torch.stack(errors, dim=1)


def _lead(logits: Tensor, y: Tensor) -> Tensor:
    """The label's logit less the mean of the others: smooth where the largest of them changes. In float64."""
    own = logits.gather(1, y[:, None]).squeeze(1)
    return own - (logits.sum(dim=1) - own) / (logits.shape[1] - 1)


@contextmanager
def _watched() -> Iterator[list[str]]:
    """Inside, calls of autograd are noted."""
    calls: list[str] = []
    grad, backward = torch.autograd.grad, torch.Tensor.backward

    def noted_grad(*args: Any, **kwargs: Any) -> Any:
        calls.append("grad")
        return grad(*args, **kwargs)

    def noted_backward(*args: Any, **kwargs: Any) -> Any:
        calls.append("backward")
        return backward(*args, **kwargs)  # type: ignore[no-untyped-call]

    torch.autograd.grad, torch.Tensor.backward = noted_grad, noted_backward  # type: ignore[method-assign]
    try:
        yield calls
    finally:
        torch.autograd.grad, torch.Tensor.backward = grad, backward  # type: ignore[method-assign]
