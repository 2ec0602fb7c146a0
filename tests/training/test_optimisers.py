"""Which parameters decay, and that both optimisers take the step of their formula."""

import math

import pytest
import torch
from torch import nn

from harden.errors import ConfigError
from harden.training import AdamW, Sgd
from harden.training.optimisers import Optimiser

both = pytest.mark.parametrize("optim", [AdamW(lr=0.1, weight_decay=0.5), Sgd(lr=0.1, weight_decay=0.5)])


def network() -> nn.Sequential:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))
    model[3].bias.requires_grad_(False)
    return model


@both
def test_only_matrices_and_filters_decay_and_frozen_parameters_are_left_out(optim: Optimiser) -> None:
    model = network()
    decayed, plain = optim.over(model).param_groups
    assert [id(p) for p in decayed["params"]] == [id(model[0].weight), id(model[3].weight)]
    assert [id(p) for p in plain["params"]] == [id(model[0].bias), id(model[1].weight), id(model[1].bias)]
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.5, 0.0)
    assert {decayed["lr"], plain["lr"]} == {0.1}


@both
def test_without_a_gradient_of_the_loss_only_the_decay_moves_weights(optim: Optimiser) -> None:
    model = network()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    before = {name: value.clone() for name, value in model.named_parameters()}
    optim.over(model).step()
    for name, value in model.named_parameters():
        if value.requires_grad and value.dim() > 1:
            assert (value.abs() < before[name].abs()).all()
        else:
            torch.testing.assert_close(value.data, before[name].data, rtol=0, atol=0)


def test_sgd_takes_nesterovs_steps() -> None:
    parameter, gradients = torch.tensor([[1.0]], requires_grad=True), [0.5, -0.25, 1.0]
    model = nn.Module()
    model.weight = nn.Parameter(parameter.detach().clone())
    optimiser = Sgd(lr=0.1, weight_decay=0.0, momentum=0.9).over(model)
    value, velocity = 1.0, 0.0
    for gradient in gradients:
        model.weight.grad = torch.tensor([[gradient]])
        optimiser.step()
        velocity = 0.9 * velocity + gradient
        value -= 0.1 * (gradient + 0.9 * velocity)
    assert model.weight.item() == pytest.approx(value, rel=1e-6)


def test_adamw_takes_the_papers_steps() -> None:
    model = nn.Module()
    model.weight = nn.Parameter(torch.tensor([[1.0]]))
    optimiser = AdamW(lr=0.1, weight_decay=0.2, beta1=0.8, beta2=0.9).over(model)
    value, first, second = 1.0, 0.0, 0.0
    for step, gradient in enumerate([0.5, -0.25, 1.0], 1):
        model.weight.grad = torch.tensor([[gradient]])
        optimiser.step()
        first, second = 0.8 * first + 0.2 * gradient, 0.9 * second + 0.1 * gradient**2
        move = first / (1 - 0.8**step) / (math.sqrt(second / (1 - 0.9**step)) + 1e-8)
        value = value * (1 - 0.1 * 0.2) - 0.1 * move
    assert model.weight.item() == pytest.approx(value, rel=1e-5)


def test_sgd_without_momentum_can_be_had() -> None:
    assert Sgd(momentum=0.0).over(network()).param_groups[0]["nesterov"] is False


@pytest.mark.parametrize("kind", [AdamW, Sgd])
@pytest.mark.parametrize(
    "wrong", [{"lr": 0.0}, {"lr": math.nan}, {"lr": math.inf}, {"weight_decay": -1.0}, {"weight_decay": math.nan}]
)
def test_rates_out_of_range_are_refused(kind: type[Optimiser], wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"^optim\.lr must be > 0"):
        kind(**wrong)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [(AdamW, "beta1", 1.0), (AdamW, "beta2", -0.1), (Sgd, "momentum", -0.5), (Sgd, "momentum", math.nan)],
)
def test_moments_out_of_range_are_refused(kind: type[Optimiser], name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"^optim\.{name} must lie in \[0, 1\), got {value:g}$"):
        kind(**{name: value})
