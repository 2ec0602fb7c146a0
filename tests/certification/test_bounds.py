"""Interval and CROWN-IBP bounds: exact where the truth is known, never broken by a search, never by an attack."""

import copy
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from harden.attacks import Loss, Pgd
from harden.certification import Method, certified, intervals, margins, rounding
from harden.certification.layers import chain
from harden.errors import ConfigError
from harden.models import Classifier
from harden.seeds import seeded, stream
from harden.threat import Norm, ThreatModel

METHODS = list(Method)
BOX = {"mean": [0.3], "std": [0.4]}


def fresh(*layers: nn.Module, seed: int = 0) -> Classifier:
    with seeded(stream(seed, "net")):
        for layer in layers:
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()  # type: ignore[operator]
    return Classifier(nn.Sequential(*layers), **BOX).eval()


def convolutional() -> Classifier:
    net = fresh(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 8, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(8, 12),
        nn.ReLU(),
        nn.Linear(12, 5),
    )
    norm = net.net[1]  # type: ignore[index]
    rng = torch.Generator().manual_seed(1)
    norm.running_mean.copy_(torch.randn(6, generator=rng) * 0.1)
    norm.running_var.copy_(torch.rand(6, generator=rng) + 0.5)
    return net


def images(n: int, *shape: int) -> Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("method", METHODS)
def test_a_linear_model_is_bounded_exactly(method: Method) -> None:
    model, x = fresh(nn.Flatten(), nn.Linear(16, 4)), images(10, 1, 4, 4)
    y = torch.arange(10) % 4
    weight = (model.net[1].weight / 0.4).detach().double()  # type: ignore[index]
    slope = weight[y][:, None] - weight[None]
    flat = x.flatten(1).double()[:, None]
    room = torch.where(slope > 0, flat.clamp(max=0.2), (1 - flat).clamp(max=0.2))
    logits = model.double()(x.double()).detach()
    exact = logits.gather(1, y[:, None]) - logits - (slope.abs() * room).sum(2)
    found = margins(model, x.double(), y, ThreatModel(eps="0.2"), method=method)
    torch.testing.assert_close(found.detach(), exact, rtol=0, atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_on_two_pixels_certified_is_at_most_the_grid_is_at_most_the_attack(seed: int) -> None:
    model, x = fresh(nn.Flatten(), nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3), seed=seed), images(40, 1, 1, 2)
    with torch.no_grad():  # no class ahead of the others everywhere
        model.net[3].bias -= model(x).mean(0)  # type: ignore[index]
    y, threat = model(x).argmax(1), ThreatModel(eps="0.15")
    steps = torch.linspace(-0.15, 0.15, 61)
    offsets = torch.tensor(list(product(steps.tolist(), repeat=2))).view(-1, 1, 1, 1, 2)
    with torch.no_grad():
        answers = model((x[None] + offsets).clamp(0, 1).flatten(0, 1)).argmax(1).view(len(offsets), 40)
    grid = (answers == y).all(0)
    attack = Pgd(steps=40, restarts=2, loss=Loss.margin)
    attacked = model(attack(model, x, y, threat, rng=stream(0).at(torch.arange(40)))).argmax(1) == y
    loose, tight = (certified(model, x, y, threat, method=one) for one in METHODS)
    assert loose.sum() > 0
    assert grid.sum() < 40
    for fewer, more in ((loose, tight), (tight, grid), (grid, attacked)):
        assert not bool((fewer & ~more).any())


@pytest.mark.parametrize("method", METHODS)
def test_bounds_hold_at_random_points_of_the_ball(method: Method) -> None:
    model, x = convolutional(), images(8, 1, 8, 8)
    y, threat = torch.arange(8) % 5, ThreatModel(eps="0.05")
    bound = margins(model, x, y, threat, method=method)
    rng = stream(3).at(torch.arange(8))
    for number in range(200):
        point = threat.random_start(x, rng.child(number))
        point = x + 0.05 * (point - x).sign() if number % 2 else point
        with torch.no_grad():
            logits = model(point.clamp(0, 1))
        assert (logits.gather(1, y[:, None]) - logits >= bound - 1e-5).all()


def test_crown_is_never_looser_and_often_tighter() -> None:
    model, x = convolutional(), images(8, 1, 8, 8)
    y = torch.arange(8) % 5
    loose, tight = (margins(model, x, y, ThreatModel(eps="0.02"), method=one) for one in METHODS)
    assert (tight >= loose).all()
    assert (tight > loose + 1e-3).float().mean() > 0.5


def test_at_eps_zero_bounds_are_the_logits() -> None:
    model, x = convolutional(), images(6, 1, 8, 8)
    logits, y = model(x).detach(), torch.arange(6) % 5
    for method in METHODS:
        found = margins(model, x, y, ThreatModel(eps="0"), method=method).detach()
        torch.testing.assert_close(found, logits.gather(1, y[:, None]) - logits, rtol=1e-4, atol=1e-5)


def test_bounds_are_differentiable_in_the_weights() -> None:
    model, x = convolutional(), images(4, 1, 8, 8)
    for method in METHODS:
        model.zero_grad()
        margins(model, x, torch.arange(4), ThreatModel(eps="0.1"), method=method).sum().backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        assert len(gradients) >= 8
        assert all(bool(torch.isfinite(g).all()) for g in gradients)


def test_the_rounding_allowance_covers_what_float32_does() -> None:
    model, x = convolutional(), images(50, 1, 8, 8)
    layers = chain(copy.deepcopy(model).double())
    point = x.double()
    allowed = rounding.error(layers, intervals.through(layers, intervals.between(point, point)))
    with torch.no_grad():
        off = (model(x).double() - copy.deepcopy(model).double()(point)).abs()
    assert (off > 0).any()
    assert (off <= allowed).all()
    assert allowed.max() < 1e-3


@pytest.mark.parametrize("pool", [nn.AvgPool2d(8), nn.AvgPool2d((4, 8)), nn.AdaptiveAvgPool2d(1)])
def test_the_rounding_allowance_counts_every_pixel_of_a_pooled_window(pool: nn.Module) -> None:
    (layer,) = chain(pool)
    x = torch.full((1, 1, 8, 8), 0.1)
    with torch.no_grad():
        pixels = x.numel() / pool(x).numel()
    point = x.double()
    allowed = rounding.error([layer], [intervals.between(point, point)] * 2)
    assert float(allowed.max()) >= pixels * 2.0**-24 * 0.1


def test_a_layer_without_bounds_is_named() -> None:
    with pytest.raises(ConfigError, match="through Tanh layers"):
        margins(
            fresh(nn.Flatten(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)),
            images(2, 1, 2, 2),
            torch.zeros(2).long(),
            ThreatModel(),
        )


def test_other_norms_are_refused() -> None:
    model = fresh(nn.Flatten(), nn.Linear(4, 2))
    for call in (margins, certified):
        with pytest.raises(ConfigError, match="speak of linf"):
            call(model, images(2, 1, 2, 2), torch.zeros(2).long(), ThreatModel(norm=Norm.l2))
