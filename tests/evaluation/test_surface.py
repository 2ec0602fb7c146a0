"""The loss surface of a linear model is known in closed form; looking at one leaves nothing behind."""

import torch
from torch import Tensor, nn

from harden.attacks import Fgsm
from harden.evaluation import loss_surface
from harden.seeds import stream
from harden.threat import ThreatModel

THREAT = ThreatModel(eps="0.05")
X = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.3
Y = torch.tensor([0])
RNG = stream(0, "look").at(torch.tensor([5]))


def linear() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(16, 2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    return model


def softplus_of_margin(model: nn.Module, images: Tensor) -> Tensor:
    """The cross-entropy of class 0 between two classes: log(1 + exp(z1 - z0)), in float64."""
    layer = model[2]  # type: ignore[index]
    logits = images.double() @ layer.weight.double().T + layer.bias.double()
    return torch.nn.functional.softplus(logits[..., 1] - logits[..., 0]).detach()


def test_the_surface_of_a_linear_model_is_its_closed_form() -> None:
    model = linear()
    surface = loss_surface(model, X, Y, Fgsm(), THREAT, rng=RNG, points=9, reach=1.5)
    slope = (model[2].weight[1] - model[2].weight[0]).detach()  # type: ignore[index]
    towards = 0.05 * slope.sign()
    sign = torch.where(RNG.child("surface").uniform(X) < 0.5, -1.0, 1.0).flatten()
    sideways = 0.05 * sign  # as long as the attack's own perturbation
    a, b = surface.along[None, :, None], surface.across[:, None, None]
    wanted = softplus_of_margin(model, X.flatten() + a * towards + b * sideways)
    assert surface.loss.shape == (9, 9)
    torch.testing.assert_close(surface.loss.double(), wanted, rtol=1e-5, atol=1e-5)


def test_the_axes_run_from_the_image_along_the_attack_and_to_both_sides_across() -> None:
    surface = loss_surface(linear(), X, Y, Fgsm(), THREAT, rng=RNG, points=5, reach=2.0)
    assert surface.along.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert surface.across.tolist() == [-2.0, -1.0, 0.0, 1.0, 2.0]
    rising = surface.loss[2].diff()
    assert (rising > 0).all()


def test_images_of_the_surface_stay_in_the_box() -> None:
    seen: list[Tensor] = []

    def watched(x: Tensor) -> Tensor:
        seen.append(x.detach().clone())
        logits: Tensor = linear().eval()(x)
        return logits

    loss_surface(watched, torch.ones_like(X), Y, Fgsm(), THREAT, rng=RNG, points=5, reach=10.0)
    assert torch.cat(seen).min() >= 0
    assert torch.cat(seen).max() <= 1


def test_an_attack_that_moves_nothing_gives_a_flat_surface() -> None:
    surface = loss_surface(linear(), X, Y, Fgsm(), ThreatModel(eps="0"), rng=RNG, points=3)
    torch.testing.assert_close(surface.loss, surface.loss[0, 0].expand(3, 3), rtol=0, atol=0)


def test_the_model_is_left_as_it_was() -> None:
    model = linear().train()
    model[0].eval()  # type: ignore[index]
    before, random = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    loss_surface(model, X, Y, Fgsm(), THREAT, rng=RNG, points=3)
    assert [m.training for m in model.modules()] == [True, False, True, True]
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.is_grad_enabled()
