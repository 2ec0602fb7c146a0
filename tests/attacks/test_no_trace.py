"""An attack leaves no trace: the model, torch's random state and the caller's tensors are as they were."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harden.attacks import Attack, Fgsm, Pgd, Target
from harden.seeds import stream
from harden.threat import Norm, ThreatModel

THREAT = ThreatModel(eps="0.1")
X = torch.rand(6, 2, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(6) % 3

attacks = pytest.mark.parametrize(
    "attack",
    [Fgsm(), Fgsm(start=True, step=1.25), Pgd(steps=3, restarts=2), Pgd(steps=2, target=Target.random)],
    ids=lambda attack: attack.label,
)


class Failing(nn.Module):
    """Gives up at the given pass."""

    def __init__(self, inner: nn.Module, at: int) -> None:
        super().__init__()
        self.inner, self.left = inner, at

    def forward(self, x: Tensor) -> Any:
        self.left -= 1
        if self.left < 0:
            raise ArithmeticError("this model fails")
        return self.inner(x)


def network() -> nn.Sequential:
    """Layers of every kind an attack could disturb, in mixed modes, one of them frozen by its owner."""
    generator = torch.Generator().manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 3)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    model.train()
    model[2].eval()
    model[0].requires_grad_(False)
    weight = model[5].get_parameter("weight")
    weight.grad = torch.ones_like(weight)
    return model


def trace(model: nn.Module) -> dict[str, Any]:
    """Everything of the model and of torch that an attack must give back."""
    return {
        "tensors": {name: value.clone() for name, value in model.state_dict().items()},
        "modes": [module.training for module in model.modules()],
        "wanting": [p.requires_grad for p in model.parameters()],
        "gradients": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in model.modules()],
        "random": torch.get_rng_state(),
        "grad mode": torch.is_grad_enabled(),
    }


def run(attack: Attack, model: nn.Module, threat: ThreatModel = THREAT) -> Tensor:
    return attack(model, X, Y, threat, rng=stream(0, "test").at(torch.arange(len(X))))


def assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    torch.testing.assert_close(after.pop("tensors"), before.pop("tensors"), rtol=0, atol=0)
    torch.testing.assert_close(after.pop("random"), before.pop("random"), rtol=0, atol=0)
    pairs = zip(after.pop("gradients"), before.pop("gradients"), strict=True)
    assert all(a is b is None or torch.equal(a, b) for a, b in pairs)
    assert after == before


@attacks
@pytest.mark.parametrize("norm", list(Norm))
def test_the_model_and_the_random_state_are_as_before(attack: Attack, norm: Norm) -> None:
    model = network()
    before = trace(model)
    run(attack, model, ThreatModel(norm=norm, eps="0.1"))
    assert_same(before, trace(model))


@pytest.mark.parametrize(("attack", "at"), [(Fgsm(), 0), (Pgd(steps=3), 0), (Pgd(steps=3), 2), (Pgd(steps=3), 3)])
def test_they_are_as_before_when_the_model_raises(attack: Attack, at: int) -> None:
    model = Failing(network(), at)
    before = trace(model)
    with pytest.raises(ArithmeticError):
        run(attack, model)
    assert_same(before, trace(model))


@attacks
def test_the_callers_tensors_are_not_written(attack: Attack) -> None:
    x, y = X.clone(), Y.clone()
    x_adv = attack(network(), x, y, THREAT, rng=stream(0).at(torch.arange(6)))
    torch.testing.assert_close(x, X, rtol=0, atol=0)
    torch.testing.assert_close(y, Y, rtol=0, atol=0)
    assert x_adv.data_ptr() != x.data_ptr()
    assert not x_adv.requires_grad


@attacks
def test_an_attack_under_no_grad_finds_the_same(attack: Attack) -> None:
    wanted = run(attack, network())
    with torch.no_grad():
        torch.testing.assert_close(run(attack, network()), wanted, rtol=0, atol=0)


@attacks
def test_dropout_and_batch_statistics_have_no_part_in_an_attack(attack: Attack) -> None:
    settled = network().eval()
    torch.testing.assert_close(run(attack, network()), run(attack, settled), rtol=0, atol=0)


def test_weights_get_no_gradient_inside_an_attack() -> None:
    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(32, 3)
            self.seen: list[bool] = []

        def forward(self, x: Tensor) -> Tensor:
            self.seen.append(self.training or any(p.requires_grad for p in self.parameters()))
            logits: Tensor = self.layer(x.flatten(1))
            return logits

    spy = Spy()
    run(Pgd(steps=2), spy)
    assert spy.seen == [False] * 3


def test_a_plain_function_can_be_attacked() -> None:
    weights = torch.randn(32, 3, generator=torch.Generator().manual_seed(1))
    x_adv = Fgsm()(lambda x: x.flatten(1) @ weights, X, Y, THREAT, rng=stream(0).at(torch.arange(6)))
    assert (x_adv - X).abs().amax() > 0.09
