"""The three losses, against their definitions written out in float64 and against autograd."""

import math

import pytest
import torch
from torch.nn import functional as F

from harden.attacks import Loss, input_gradient
from harden.attacks.losses import cross_entropy, kl_divergence, margin

Z = torch.tensor([[2.0, 0.5, -1.0], [0.0, 3.0, 2.5], [1.0, 1.0, 1.0]])
Y = torch.tensor([0, 2, 1])


def test_cross_entropy_is_the_log_of_the_softmax_at_the_label() -> None:
    by_hand = [math.log(sum(math.exp(v) for v in row)) - row[label] for row, label in zip(Z.tolist(), Y, strict=True)]
    torch.testing.assert_close(cross_entropy(Z, Y), torch.tensor(by_hand), rtol=1e-6, atol=1e-6)


def test_the_margin_is_the_best_wrong_logit_over_the_labels() -> None:
    torch.testing.assert_close(margin(Z, Y), torch.tensor([-1.5, 0.5, 0.0]), rtol=0, atol=0)


def test_the_margin_keeps_its_gradient_where_softmax_saturates() -> None:
    z = torch.tensor([[200.0, 0.0]], requires_grad=True)
    label = torch.tensor([0])
    (steep,) = torch.autograd.grad(margin(z, label).sum(), z)
    (flat,) = torch.autograd.grad(cross_entropy(z, label).sum(), z)
    assert steep.tolist() == [[-1.0, 1.0]]
    assert flat.abs().max() == 0


def test_kl_is_torchs_with_the_reference_as_the_true_distribution() -> None:
    reference = Z.flip(0)
    wanted = F.kl_div(Z.log_softmax(1), reference.softmax(1), reduction="none").sum(1)
    torch.testing.assert_close(kl_divergence(Z, reference), wanted)
    assert not torch.allclose(kl_divergence(Z, reference), kl_divergence(reference, Z))


def test_kl_of_equal_logits_is_zero_with_zero_gradient() -> None:
    z = Z.clone().requires_grad_(True)
    value = kl_divergence(z, Z)
    (gradient,) = torch.autograd.grad(value.sum(), z)
    torch.testing.assert_close(value, torch.zeros(3), rtol=0, atol=1e-7)
    torch.testing.assert_close(gradient, torch.zeros(3, 3), rtol=0, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_losses_are_computed_in_float32_whatever_the_logits_are(dtype: torch.dtype) -> None:
    z = Z.to(dtype)
    assert {cross_entropy(z, Y).dtype, margin(z, Y).dtype, kl_divergence(z, z).dtype} == {torch.float32}


def test_the_enum_calls_the_function_of_its_name() -> None:
    torch.testing.assert_close(Loss.ce(Z, Y), cross_entropy(Z, Y), rtol=0, atol=0)
    torch.testing.assert_close(Loss.margin(Z, Y), margin(Z, Y), rtol=0, atol=0)


def test_the_input_gradient_agrees_with_finite_differences() -> None:
    weights = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def model(x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x @ weights)

    def value(x: torch.Tensor) -> torch.Tensor:
        return model(x).square().sum(1)

    x = torch.rand(2, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradient, logits = input_gradient(model, x, lambda z: z.square().sum(1))
    nudge = 1e-6 * torch.eye(4, dtype=torch.float64)
    differences = torch.stack([(value(x + e) - value(x - e)) / 2e-6 for e in nudge], dim=1)
    torch.testing.assert_close(gradient, differences, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(logits, model(x), rtol=0, atol=0)
    assert not logits.requires_grad
    assert not x.requires_grad
