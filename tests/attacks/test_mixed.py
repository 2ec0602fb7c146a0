"""A mixed attack sends each sample up one way, drawn by weight and by the sample's own numbers."""

import pytest
import torch
from torch import Tensor, nn

from harden.attacks import Keep, Loss, Mixed, Pgd, Target
from harden.attacks.mixed import WAYS, weights_of
from harden.errors import ConfigError
from harden.seeds import stream
from harden.threat import ThreatModel
from harden.training.watchdog import stronger

THREAT = ThreatModel(eps="0.1")


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 4))


@pytest.fixture(scope="module")
def batch() -> tuple[Tensor, Tensor]:
    x = torch.rand(60, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    return x, torch.arange(60) % 4


def attacked(attack: Pgd | Mixed, model: nn.Module, batch: tuple[Tensor, Tensor], few: Tensor) -> Tensor:
    x, y = batch
    return attack(model, x[few], y[few], THREAT, rng=stream(5).at(few))


@pytest.mark.parametrize("way", WAYS)
def test_with_one_way_alone_it_is_that_attack(model: nn.Module, batch: tuple[Tensor, Tensor], way: str) -> None:
    loss, target = WAYS[way]
    every = torch.arange(60)
    alone = Pgd(steps=3, loss=loss, target=target, keep=Keep.last)
    mixed = Mixed(weights={way: 2.0}, steps=3, keep=Keep.last)
    assert torch.equal(attacked(mixed, model, batch, every), attacked(alone, model, batch, every))


def test_each_sample_is_attacked_by_the_way_drawn_for_it(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    every = torch.arange(60)
    mixed = Mixed(steps=3)
    found, drawn = attacked(mixed, model, batch, every), mixed._drawn(batch[1], stream(5).at(every))
    for place, (loss, target) in enumerate(WAYS.values()):
        alone = attacked(Pgd(steps=3, loss=loss, target=target), model, batch, every)
        assert torch.equal(found[drawn == place], alone[drawn == place])
    assert set(drawn.tolist()) == {0, 1, 2}


def test_no_outcome_depends_on_the_batch_split(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    mixed, every = Mixed(steps=2), torch.arange(60)
    parts = torch.cat([attacked(mixed, model, batch, few) for few in torch.split(every, 7)])
    torch.testing.assert_close(parts, attacked(mixed, model, batch, every), rtol=0, atol=1e-6)


def test_ways_are_drawn_in_proportion_to_their_weights() -> None:
    ids = torch.arange(30_000)
    drawn = Mixed(weights={"ce": 6.0, "margin": 3.0, "runner_up": 1.0})._drawn(ids, stream(1).at(ids))
    shares = torch.bincount(drawn).double() / len(ids)
    torch.testing.assert_close(shares, torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64), rtol=0, atol=0.01)


@pytest.mark.parametrize("weights", [{}, {"ce": 0.0}, {"ce": -1.0, "margin": 2.0}, {"fgsm": 1.0}])
def test_weights_that_make_no_sense_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"attack\.weights"):
        Mixed(weights=weights)


def test_its_label_tells_the_shares() -> None:
    assert Mixed(weights={"ce": 3.0, "margin": 1.0}, steps=5).label == "PGD-5 (ce 75 %, margin 25 %)"
    assert weights_of({"ce": 1.0, "margin": 3.0}) == {"ce": 0.25, "margin": 0.75, "runner_up": 0.0}


def test_a_watchdog_keeps_the_mix_when_it_takes_more_steps() -> None:
    few, many = stronger(Mixed(steps=2)), stronger(Mixed(steps=7))
    assert isinstance(few, Mixed)
    assert isinstance(many, Mixed)
    assert (few.steps, many.steps) == (5, 14)


def test_targets_and_losses_are_those_of_pgd() -> None:
    assert WAYS["runner_up"] == (Loss.margin, Target.runner_up)
