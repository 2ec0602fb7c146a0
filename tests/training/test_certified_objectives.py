"""Training for a certificate: what is counted, what is refused, and that a bound worth having comes out."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from harden.attacks import Pgd
from harden.certification import certified
from harden.data import DataSet
from harden.errors import ConfigError
from harden.models import Mlp
from harden.seeds import stream
from harden.threat import Norm, ThreatModel
from harden.training import Compute, Job, Objective, Recipe, Schedule
from harden.training.certified import CrownIbp, Ibp, Smooth

RNG = stream(0).at(torch.arange(16))


@pytest.mark.parametrize("objective", [Ibp(), CrownIbp()])
def test_bounds_count_what_they_certify(objective: Objective, dots: DataSet) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 2))
    batch = dots.train.batch(torch.arange(16))
    loss = objective(model, batch, None, ThreatModel(eps="0"), rng=RNG)
    assert loss.clean is not None
    assert loss.robust is not None
    assert int(loss.robust) == int(loss.clean) == int((model(batch.x).argmax(1) == batch.y).sum())
    torch.testing.assert_close(loss.value, nn.functional.cross_entropy(model(batch.x), batch.y))


def test_a_larger_eps_costs_more(dots: DataSet) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 2))
    batch = dots.train.batch(torch.arange(16))
    losses = [Ibp()(model, batch, None, ThreatModel(eps=eps), rng=RNG).value for eps in ("0", "0.05", "0.1")]
    assert losses[0] < losses[1] < losses[2]


@pytest.mark.parametrize("objective", [Ibp(), CrownIbp(), Smooth()])
def test_an_attack_is_a_mistake(objective: Objective, recipe_of: Callable[..., Recipe]) -> None:
    with pytest.raises(ConfigError, match="makes no use of an attack"):
        recipe_of(objective=objective, attack=Pgd())
    assert recipe_of(objective=objective, attack=None).objective.hardens


def test_bounds_in_another_norm_or_through_batch_norm_are_refused_before_training() -> None:
    with pytest.raises(ConfigError, match="speak of linf"):
        Ibp().check(nn.Linear(2, 2), ThreatModel(norm=Norm.l2))
    with pytest.raises(ConfigError, match="batch norms in training mode"):
        Ibp().check(nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)), ThreatModel())


@pytest.mark.parametrize("objective", [Ibp(), CrownIbp()])
def test_a_model_trained_on_bounds_can_be_certified(
    objective: Objective, dots: DataSet, recipe_of: Callable[..., Recipe]
) -> None:
    recipe = recipe_of(
        objective=objective, attack=None, model=Mlp(hidden=[16]), schedule=Schedule(epochs=12, batch_size=16)
    )
    job = Job(recipe, dots, compute=Compute(device="cpu"), baseline=False)
    for _ in job.run():
        pass
    assert job.hardened is not None
    batch = dots.test.batch(torch.arange(40))
    held = certified(job.hardened.model, batch.x, batch.y, recipe.threat)
    assert held.double().mean() > 0.5
    assert not bool((held & ~job.hardened.outcome.robust).any())


def test_smoothing_trains_on_noise_of_its_sigma(dots: DataSet) -> None:
    seen = []

    class Watched(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x.detach())
            return super().forward(x.flatten(1))

    batch = dots.train.batch(torch.arange(16))
    loss = Smooth(sigma=0.3)(Watched(64, 2), batch, None, ThreatModel(), rng=RNG)
    assert loss.clean is None
    assert abs((seen[0] - batch.x).std().item() - 0.3) < 0.02


@pytest.mark.parametrize("wrong", [{"kappa": 1.5}, {"ramp": -0.1}])
def test_shares_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Ibp(**wrong)
    with pytest.raises(ConfigError, match="sigma"):
        Smooth(sigma=0)
