"""Pointwise leaves nothing changed that need not be, and asks for decisions alone."""

import pytest
import torch
from torch import Tensor, nn

from harden.attacks import Pointwise, fooled, frozen
from harden.errors import ConfigError
from harden.seeds import stream
from harden.threat import Norm, ThreatModel

L1 = ThreatModel(norm=Norm.l1, eps="3")


def network() -> nn.Module:
    rng = torch.Generator().manual_seed(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 12), nn.ReLU(), nn.Linear(12, 4))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng) * 0.5)
    return model


def closest(model: nn.Module, x: Tensor, y: Tensor, **knobs: int) -> Tensor:
    with frozen(model):
        return Pointwise(**knobs).closest(model, x, y, L1, rng=stream(0).at(torch.arange(len(x))))


def test_no_changed_pixel_can_go_back() -> None:
    model, x = network(), torch.rand(6, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    y = model(x).argmax(1)
    found = closest(model, x, y, passes=6, halvings=0)
    broken = fooled(model(found), y)
    assert int(broken.sum()) >= 4
    for n in broken.nonzero().flatten().tolist():
        for pixel in (found[n] != x[n]).flatten().nonzero().flatten().tolist():
            back = found[n : n + 1].clone()
            back.view(-1)[pixel] = x[n].flatten()[pixel]
            assert not bool(fooled(model(back), y[n : n + 1]))


def test_halving_brings_it_nearer() -> None:
    model, x = network(), torch.rand(6, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    y = model(x).argmax(1)
    far, near = (L1.distance(closest(model, x, y, halvings=number), x) for number in (0, 6))
    assert bool((near <= far).all())
    assert float(near.sum()) < 0.97 * float(far.sum())


def test_on_a_linear_model_of_few_pixels_it_comes_close_to_the_optimum() -> None:
    weight = torch.tensor([[0.0, 0.0, 0.0], [4.0, 1.0, 0.5]])
    layer = nn.Linear(3, 2)
    model = nn.Sequential(nn.Flatten(), layer)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(torch.tensor([0.0, -2.0]))
    x, y = torch.full((1, 1, 1, 3), 0.1), torch.tensor([0])
    found = closest(model, x, y, halvings=12)
    optimum = (2.0 - 0.55) / 4  # the pixel of weight 4 alone
    assert float(L1.distance(found, x)) == pytest.approx(optimum, rel=0.25)


def test_no_gradient_is_asked_for() -> None:
    class Deciding(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert not torch.is_grad_enabled()
            return nn.functional.one_hot((x.flatten(1).sum(1) > 18).long(), 2).float()

    x = torch.full((2, 1, 6, 6), 0.45)
    found = closest(Deciding(), x, torch.tensor([0, 0]))
    assert bool((found.flatten(1).sum(1) > 18).all())


def test_what_no_noise_breaks_stays_as_it_is() -> None:
    layer = nn.Linear(36, 2)
    model = nn.Sequential(nn.Flatten(), layer)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor([1.0, 0.0]))
    x = torch.rand(3, 1, 6, 6)
    assert torch.equal(closest(model, x, torch.zeros(3).long()), x)


def test_knobs_are_checked() -> None:
    with pytest.raises(ConfigError, match="passes must be >= 1"):
        Pointwise(passes=0)
