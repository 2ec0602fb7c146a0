"""The next plan is a function of validation outcomes: the same in, the same out, each rule with its reason."""

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harden.attacks import Pgd
from harden.models import CnnSmall
from harden.rounds.curriculum import FACTOR, FLOOR, HEAVIEST, Lesson, larger, propose, wider
from harden.rounds.plan import Plan, edits, plan_of, yaml_of
from harden.schema import recalled
from harden.spelling import spell
from harden.training import Recipe


def plan(**change: Any) -> Plan:
    recipe = spell(Recipe(attack=Pgd(), model=CnnSmall()))
    recipe.pop("init")
    return Plan(**({"round": "2026Q1", "programme": "p", "recipe": recipe} | change))


def accuracy(value: float, half: float = 0.05) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half, "n": 143}


LESSON = Lesson(
    promoted=True,
    reliable=True,
    clean=accuracy(0.99),
    worst=accuracy(0.85),
    before=accuracy(0.6),
    credit={"ce": 0.2, "margin": 0.3, "runner_up": 0.5},
    classes=tuple({"name": str(at), "n": 14, "value": 0.9 - at / 20, "low": 0.7 - at / 20} for at in range(10)),
    first_clean=0.99,
    entries=20,
    trained=1294,
)


def decided(found: Plan) -> dict[str, str]:
    return {reason.rule: reason.decision for reason in found.reasons}


def test_a_round_that_was_promoted_makes_the_threat_larger() -> None:
    found = propose(plan(), (LESSON,))
    assert (found.round, found.after) == ("2026Q2", "2026Q1")
    assert found.recipe["threat"]["eps"] == "0.125"
    assert found.replay == round(2 * 20 / 1294, 4)
    assert propose(plan(), (replace(LESSON, entries=900),)).replay == 0.1
    assert decided(found)["threat"] == "eps 0.1 -> 0.125"
    recalled({**found.recipe, "init": None}, Recipe, where="plan")  # it is a recipe still


@pytest.mark.parametrize(
    "change",
    [
        {"promoted": False},
        {"clean": accuracy(0.96)},
        {"worst": accuracy(0.4), "before": accuracy(0.1)},
        {"before": accuracy(0.9)},
    ],
)
def test_without_a_gain_the_threat_stays_and_the_network_grows(change: dict[str, Any]) -> None:
    found = propose(plan(), (replace(LESSON, **change),))
    assert found.recipe["threat"]["eps"] == "0.1"
    assert found.recipe["model"]["hidden"] == 2 * CnnSmall().hidden
    assert decided(found)["threat"] == "stays"


def test_two_rounds_without_a_gain_are_a_saturation() -> None:
    small = replace(LESSON, before=accuracy(0.84))
    assert decided(propose(plan(), (small,)))["threat"] == "eps 0.1 -> 0.125"
    found = propose(plan(), (small, small))
    assert decided(found)["capacity"] == "a network of twice the width"


def test_where_no_network_is_wider_the_suite_gets_harder() -> None:
    wide = spell(CnnSmall(channels=[128, 256], hidden=512))
    found = propose(plan(recipe={**plan().recipe, "model": wide}), (replace(LESSON, promoted=False),))
    assert found.suite == "demanding"


def test_an_unreliable_number_teaches_nothing() -> None:
    found = propose(plan(), (replace(LESSON, reliable=False),))
    assert found.recipe == plan().recipe
    assert list(decided(found)) == ["unreliable"]


def test_a_trip_of_the_watchdog_keeps_the_steps_that_held() -> None:
    found = propose(plan(), (replace(LESSON, held=14),))
    assert found.recipe["attack"]["steps"] == 14


def test_a_lesson_has_room_for_one_bit_of_the_test_images() -> None:
    """Law 8: what plans are made of names validation outcomes alone, but for `promoted` and `reliable`."""
    kinds = {one.name for one in fields(Lesson)}
    assert kinds == {
        *(
            "promoted",
            "reliable",
            "clean",
            "worst",
            "before",
            "credit",
            "classes",
            "first_clean",
            "entries",
            "trained",
            "held",
        )
    }


shares = st.dictionaries(st.sampled_from(["ce", "margin", "runner_up"]), st.floats(0, 1), min_size=3, max_size=3)


@given(shares, shares)
def test_the_mix_keeps_its_floor_and_its_factor(one: dict[str, float], other: dict[str, float]) -> None:
    first = propose(plan(), (replace(LESSON, credit=one),))
    second = propose(first, (replace(LESSON, credit=one), replace(LESSON, credit=other)))
    before, now = (found.recipe["attack"].get("weights") for found in (first, second))
    for weights in (before, now):
        if weights:
            assert sum(weights.values()) == pytest.approx(1, abs=1e-5)
            assert min(weights.values()) >= FLOOR / (1 + FACTOR) - 1e-6
    assert propose(plan(), (replace(LESSON, credit=one),)) == first


@given(st.integers(1, 6))
def test_no_class_ever_weighs_more_than_the_most(rounds: int) -> None:
    found = plan()
    for _ in range(rounds):
        found = propose(found, (LESSON,))
    assert max(found.classes) <= HEAVIEST
    assert min(found.classes) >= 1
    assert [name for name, weight in enumerate(found.classes) if weight > 1] == [7, 8, 9]


@pytest.mark.parametrize(
    ("eps", "wanted"), [("0.1", "0.125"), ("8/255", "2/51"), ("0.125", "0.15625"), ("2", "2.5"), ("0.30", "0.375")]
)
def test_a_larger_eps_is_text_that_nothing_was_rounded_in(eps: str, wanted: str) -> None:
    assert larger(eps) == wanted


def test_an_unknown_network_has_no_wider_one() -> None:
    assert wider({"is": "WideResNet"}) is None
    assert wider(None) is None
    assert wider({"is": "Mlp", "hidden": [16]}) == {"is": "Mlp", "hidden": [32]}


def test_a_plan_survives_json_and_yaml_and_edits_are_told() -> None:
    found = propose(plan(), (LESSON,))
    assert plan_of(found.plain(), "here") == found
    assert yaml_of(found).startswith("after: 2026Q1")
    other = replace(found, minutes=5.0, recipe={**found.recipe, "seed": 3})
    assert edits(found, other) == [
        {"field": "minutes", "proposed": 60.0, "run": 5.0},
        {"field": "recipe.seed", "proposed": 0, "run": 3},
    ]
    assert edits(found, found) == []
