"""A recipe holds all that determines a run, says so by its digest, and refuses what contradicts itself."""

from dataclasses import fields, replace
from typing import Any

import pytest

from harden.attacks import Fgsm, Pgd
from harden.data import Mnist
from harden.errors import ConfigError
from harden.ledger import Tracking
from harden.models import Mlp
from harden.threat import ThreatModel
from harden.training import (
    Clean,
    Compute,
    Judging,
    Madry,
    Recipe,
    Schedule,
    Sgd,
    Trades,
    TrainRequest,
    Watchdog,
)

USUAL = Recipe(attack=Pgd())
OTHER: dict[str, Any] = {
    "data": Mnist(),
    "model": Mlp(),
    "threat": ThreatModel(eps="8/255"),
    "attack": Pgd(steps=8),
    "objective": Trades(),
    "optim": Sgd(),
    "schedule": Schedule(epochs=1),
    "watchdog": Watchdog(images=1),
    "judge": Judging(steps=1),
    "seed": 1,
    "init": "weights.safetensors",
}


def test_equal_recipes_have_equal_digests_and_any_other_field_another_one() -> None:
    assert set(OTHER) == {field.name for field in fields(Recipe)}
    digests = {replace(USUAL, **{name: value}).digest for name, value in OTHER.items()}
    assert len(digests | {USUAL.digest}) == len(OTHER) + 1
    assert Recipe(attack=Pgd()).digest == USUAL.digest


def test_where_to_compute_and_record_is_no_part_of_the_recipe() -> None:
    request = TrainRequest(attack=Pgd(), compute=Compute(threads=3), tracking=Tracking("none"), output="x")
    assert request.recipe == USUAL
    assert request.recipe.digest == USUAL.digest


def test_the_objective_follows_from_the_attack() -> None:
    assert Recipe(attack=Fgsm()).objective == Madry()
    assert Recipe().objective == Clean()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"objective": Madry()}, "objective=madry needs an attack"),
        ({"objective": Clean(), "attack": Pgd()}, "objective=clean makes no use of an attack"),
        ({"attack": "pgd"}, "attack needs an option of its group"),
        ({"data": None}, "data needs an option of its group"),
        ({"optim": {}}, "optim needs an option of its group"),
        ({"attack": Pgd(), "objective": "trades"}, "objective needs an option of its group"),
    ],
)
def test_options_that_contradict_or_are_none_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=f"^{words}$"):
        Recipe(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"restarts": 0}, {"images": -1}, {"validation_steps": 0}, {"batch_size": 0}]
)
def test_a_judge_that_makes_no_sense_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"^judge\."):
        Judging(**wrong)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_checkpoints_need_time_between_them(seconds: float) -> None:
    with pytest.raises(ConfigError, match=r"^checkpoint_seconds must be > 0"):
        TrainRequest(checkpoint_seconds=seconds)


def test_resume_and_overwrite_contradict_each_other() -> None:
    with pytest.raises(ConfigError, match="resume and overwrite contradict each other"):
        TrainRequest(resume="folder", overwrite=True)


def test_a_run_is_named_after_what_it_is() -> None:
    request = TrainRequest(attack=Pgd(), threat=ThreatModel(eps="8/255"), seed=3)
    assert request.name == "digits-madry-pgd-linf-8_255-seed3"
    assert TrainRequest().name == "digits-clean-linf-0.1-seed0"
