"""On a linear model the best attack is known: the margin falls by eps times the dual norm of w_y - w_t."""

import pytest
import torch
from torch import Tensor, nn

from harden.attacks import Attack, Fgsm, Loss, Pgd, Target
from harden.attacks.losses import margin
from harden.seeds import stream
from harden.threat import Norm, ThreatModel

EPS = "0.05"


def linear(pixels: int, classes: int) -> nn.Module:
    weights = torch.Generator().manual_seed(pixels * classes)
    layer = nn.Linear(pixels, classes)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(classes, pixels, generator=weights))
        layer.bias.copy_(torch.randn(classes, generator=weights))
    return nn.Sequential(nn.Flatten(), layer)


def images(low: float, high: float, *, side: int = 4, count: int = 20) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(7)
    x = low + (high - low) * torch.rand(count, 1, side, side, generator=rng)
    return x, torch.randint(0, 2, (count,), generator=rng)


def slopes(model: nn.Module, y: Tensor) -> Tensor:
    """w_t - w_y for every class t, (n, classes, pixels) in float64."""
    w: Tensor = model.get_parameter("1.weight").detach().double()
    return w[None] - w[y][:, None]


def attacked(attack: Attack, model: nn.Module, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
    x_adv = attack(model, x, y, threat, rng=stream(0, "test").at(torch.arange(len(x))))
    return margin(model(x_adv), y).detach().double()


def best_linf(model: nn.Module, x: Tensor, y: Tensor, radius: float) -> Tensor:
    """The largest margin in ball and box: every pixel goes min(eps, room) along its slope's sign."""
    flat, g = x.flatten(1).double()[:, None], slopes(model, y)
    move = torch.where(g > 0, (1 - flat).clamp(max=radius), flat.clamp(max=radius))
    return best_of_classes(model, x, y, (g.abs() * move).sum(2))


def best_l1(model: nn.Module, x: Tensor, y: Tensor, radius: float) -> Tensor:
    """The largest margin in ball and box: the steepest pixel goes to its edge, then the next one."""
    flat, g = x.flatten(1).double()[:, None], slopes(model, y)
    room = torch.where(g > 0, 1 - flat, flat.expand_as(g))
    steep, order = g.abs().sort(dim=2, descending=True)
    room = room.gather(2, order)
    spent = room.cumsum(2) - room
    return best_of_classes(model, x, y, (steep * room.minimum((radius - spent).clamp(min=0))).sum(2))


def best_of_classes(model: nn.Module, x: Tensor, y: Tensor, gain: Tensor) -> Tensor:
    logits: Tensor = model(x).detach().double()
    reached = logits - logits.gather(1, y[:, None]) + gain
    return reached.scatter(1, y[:, None], -torch.inf).amax(1)


every_target = Pgd(steps=20, restarts=4, loss=Loss.margin, target=Target.runner_up)


@pytest.mark.parametrize("attack", [Fgsm(), Pgd(steps=10), Pgd(steps=3, loss=Loss.margin, start=False)])
@pytest.mark.parametrize(("low", "high"), [(0.2, 0.8), (0.0, 1.0)], ids=["far from the box", "at the box"])
def test_between_two_classes_linf_gains_eps_times_the_l1_norm_as_far_as_the_box_allows(
    attack: Attack, low: float, high: float
) -> None:
    model, (x, y) = linear(16, 2), images(low, high)
    found = attacked(attack, model, x, y, ThreatModel(eps=EPS))
    torch.testing.assert_close(found, best_linf(model, x, y, 0.05), rtol=0, atol=1e-5)


def test_far_from_the_box_the_linf_gain_is_eps_times_the_l1_norm() -> None:
    model, (x, y) = linear(16, 2), images(0.2, 0.8)
    gain = attacked(Fgsm(), model, x, y, ThreatModel(eps=EPS)) - margin(model(x), y).detach()
    weight = model.get_parameter("1.weight").detach().double()
    norm = (weight[1] - weight[0]).abs().sum()
    torch.testing.assert_close(gain, 0.05 * norm.expand(20), rtol=0, atol=1e-5)


def test_among_five_classes_four_targeted_restarts_find_the_linf_optimum() -> None:
    model, (x, y) = linear(16, 5), images(0.0, 1.0)
    threat = ThreatModel(eps="0.01")  # so small that the optimum is often a class that is not yet ahead
    found, best = attacked(every_target, model, x, y, threat), best_linf(model, x, y, 0.01)
    survivors = best < 0  # a broken image gets no further restart, so its margin need not be the largest
    assert survivors.sum() > 3
    torch.testing.assert_close(found[survivors], best[survivors], rtol=0, atol=1e-5)
    torch.testing.assert_close(found > 0, best > 0)


def test_l2_comes_within_one_percent_of_eps_times_the_l2_norm() -> None:
    model, (x, y) = linear(16, 2), images(0.4, 0.6)
    threat = ThreatModel(norm=Norm.l2, eps="0.3")
    gain = attacked(Pgd(steps=40, step=0.25), model, x, y, threat) - margin(model(x), y).detach()
    best = 0.3 * slopes(model, y).norm(dim=2).amax(1)
    assert (gain <= best * (1 + 1e-5)).all()
    assert (gain >= 0.99 * best).all()


@pytest.mark.parametrize(("low", "high"), [(0.4, 0.6), (0.0, 1.0)], ids=["far from the box", "at the box"])
def test_l1_comes_within_one_percent_of_the_steepest_pixels_gain(low: float, high: float) -> None:
    model, (x, y) = linear(16, 2), images(low, high)  # of 16 pixels a step moves one, the steepest that can move
    radius = 0.3 if low else 1.5
    threat = ThreatModel(norm=Norm.l1, eps=str(radius))
    before = margin(model(x), y).detach().double()
    gain = attacked(Pgd(steps=50, start=False), model, x, y, threat) - before
    best = best_l1(model, x, y, radius) - before
    assert (gain <= best * (1 + 1e-5)).all()
    assert (gain >= 0.99 * best).all()
