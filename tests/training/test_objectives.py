"""The three objectives against their formulas, and the inner problem of TRADES against autograd."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harden.attacks import Attack, Fgsm, Model, Pgd
from harden.data import Batch
from harden.errors import ConfigError
from harden.seeds import Stream, stream
from harden.threat import ThreatModel
from harden.training import Clean, Madry, Objective, Trades

THREAT = ThreatModel(eps="0.1")
BATCH = Batch(
    torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2, torch.arange(6) % 3, torch.arange(6)
)
RNG = stream(0, "train").at(BATCH.index)


@dataclass(frozen=True)
class Null(Attack):
    """Changes nothing."""

    def propose(self, model: Model, x: Tensor, y: Tensor, threat: ThreatModel, *, rng: Stream) -> Tensor:
        return x.clone()

    @property
    def label(self) -> str:
        return "null"


def network(*, norm: bool = False) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    middle = [nn.BatchNorm1d(8)] if norm else []
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), *middle, nn.Tanh(), nn.Linear(8, 3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model.train()


def right(logits: Tensor) -> int:
    return int((logits.argmax(1) == BATCH.y).sum())


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_clean_is_cross_entropy_with_smoothed_labels(smoothing: float) -> None:
    model = network()
    loss = Clean(label_smoothing=smoothing)(model, BATCH, None, THREAT, rng=RNG)
    logits = model(BATCH.x)
    wanted = F.one_hot(BATCH.y, 3) * (1 - smoothing) + smoothing / 3
    torch.testing.assert_close(loss.value, -(wanted * logits.log_softmax(1)).sum(1).mean())
    assert loss.clean is not None
    assert (int(loss.clean), loss.robust) == (right(logits), None)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize(("attack", "eps"), [(Null(), "0.1"), (Pgd(steps=2), "0"), (Fgsm(start=True), "0")])
def test_madry_with_an_attack_that_changes_nothing_is_clean_bit_for_bit(
    smoothing: float, attack: Attack, eps: str
) -> None:
    models = network(norm=True), network(norm=True)
    threat = ThreatModel(eps=eps)
    ordinary = Clean(label_smoothing=smoothing)(models[0], BATCH, None, threat, rng=RNG)
    hardened = Madry(label_smoothing=smoothing)(models[1], BATCH, attack, threat, rng=RNG)
    ordinary.value.backward()  # type: ignore[no-untyped-call]
    hardened.value.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(hardened.value, ordinary.value, rtol=0, atol=0)
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=0)
    torch.testing.assert_close(dict(models[0].state_dict()), dict(models[1].state_dict()), rtol=0, atol=0)


def test_madry_is_cross_entropy_on_what_the_attack_found() -> None:
    model, attack = network(), Pgd(steps=3)
    loss = Madry()(model, BATCH, attack, THREAT, rng=RNG)
    logits = model(attack(model, BATCH.x, BATCH.y, THREAT, rng=RNG))
    torch.testing.assert_close(loss.value, F.cross_entropy(logits, BATCH.y))
    assert loss.robust is not None
    assert (loss.clean, int(loss.robust)) == (None, right(logits))
    assert loss.value > Clean()(model, BATCH, None, THREAT, rng=RNG).value


def test_trades_without_weight_on_its_second_term_is_clean() -> None:
    model = network()
    ordinary = Clean()(model, BATCH, None, THREAT, rng=RNG)
    loss = Trades(beta=0)(model, BATCH, Pgd(steps=3), THREAT, rng=RNG)
    torch.testing.assert_close(loss.value, ordinary.value, rtol=1e-6, atol=1e-6)
    gradients = [torch.autograd.grad(one.value, list(model.parameters())) for one in (loss, ordinary)]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-5, atol=1e-6)
    assert loss.clean is not None
    assert ordinary.clean is not None
    assert int(loss.clean) == int(ordinary.clean)


def climbed(model: nn.Module, *, steps: int, size: float) -> Tensor:
    """TRADES' inner problem written out: signs of KL's gradient, by autograd, from x + 0.001 N(0, 1)."""
    x = BATCH.x
    p = model(x).detach().softmax(1)
    x_adv = x + 0.001 * RNG.child("start", 0).normal(x)
    for _ in range(steps):
        x_adv = x_adv.detach().requires_grad_(True)
        divergence = (p * (p.log() - model(x_adv).log_softmax(1))).sum()
        (gradient,) = torch.autograd.grad(divergence, x_adv)
        x_adv = (x + (x_adv.detach() + size * gradient.sign() - x).clamp(-0.1, 0.1)).clamp(0, 1)
    return x_adv


@pytest.mark.parametrize(("attack", "steps", "size"), [(Pgd(steps=4, step=0.3), 4, 0.03), (Fgsm(), 1, 0.1)])
@pytest.mark.parametrize("beta", [1.0, 6.0])
def test_trades_climbs_the_divergence_from_the_clean_prediction(
    attack: Attack, steps: int, size: float, beta: float
) -> None:
    model = network()
    loss = Trades(beta=beta)(model, BATCH, attack, THREAT, rng=RNG)
    clean, adversarial = model(BATCH.x), model(climbed(model, steps=steps, size=size))
    divergence = F.kl_div(adversarial.log_softmax(1), clean.softmax(1), reduction="batchmean")
    wanted = F.cross_entropy(clean, BATCH.y) + beta * divergence
    torch.testing.assert_close(loss.value, wanted, rtol=1e-5, atol=1e-6)
    gradients = [torch.autograd.grad(value, list(model.parameters())) for value in (loss.value, wanted)]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-5)
    assert loss.robust is not None
    assert int(loss.robust) == right(adversarial)


@pytest.mark.parametrize(
    ("objective", "attack"), [(Clean(), None), (Madry(), Pgd(steps=2)), (Trades(), Pgd(steps=2)), (Trades(), Fgsm())]
)
def test_an_objective_leaves_the_model_in_train_mode_and_batch_statistics_see_one_forward_pass(
    objective: Objective, attack: Attack | None
) -> None:
    model = network(norm=True)
    objective(model, BATCH, attack, THREAT, rng=RNG)
    assert all(module.training for module in model.modules())
    assert int(model[2].num_batches_tracked) == 1  # type: ignore[index]


@pytest.mark.parametrize(
    ("objective", "attack", "looks"),
    [(Clean(), None, (True, False)), (Madry(), Fgsm(), (False, True)), (Trades(), Fgsm(), (True, True))],
)
def test_what_is_counted_is_what_is_announced(
    objective: Objective, attack: Attack | None, looks: tuple[bool, bool]
) -> None:
    loss = objective(network(), BATCH, attack, THREAT, rng=RNG)
    assert objective.looks == looks
    assert (loss.clean is not None, loss.robust is not None) == looks


@pytest.mark.parametrize(
    ("objective", "attack", "words"),
    [
        (Clean(), Pgd(), "objective=clean makes no use of an attack"),
        (Madry(), None, "objective=madry needs an attack"),
        (Trades(), None, "objective=trades needs an attack"),
        (Trades(), Null(), "objective=trades takes its steps from a gradient attack"),
    ],
)
def test_an_attack_that_does_not_fit_is_refused(objective: Objective, attack: Attack | None, words: str) -> None:
    with pytest.raises(ConfigError, match=f"^{words}$"):
        objective.accept(attack)


@pytest.mark.parametrize("make", [Clean, Madry])
@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan")])
def test_label_smoothing_is_a_share(make: Callable[..., Objective], value: float) -> None:
    with pytest.raises(ConfigError, match=r"label_smoothing must lie in \[0, 1\)"):
        make(label_smoothing=value)


@pytest.mark.parametrize("beta", [-1.0, float("nan")])
def test_beta_is_not_negative(beta: float) -> None:
    with pytest.raises(ConfigError, match=r"objective\.beta must be >= 0"):
        Trades(beta=beta)
