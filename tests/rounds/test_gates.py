"""Each gate opens at its threshold and shuts just beyond it, and what does not apply says why."""

from dataclasses import replace
from typing import Any

import pytest

from harden.errors import ConfigError
from harden.rounds.gates import Answer, Facts, Gates, judged, opens, refusals


def accuracy(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.03, "high": value + 0.03, "n": 360}


CHAMPION = {"clean": accuracy(0.98), "worst": accuracy(0.8), "gained": 12, "lost": 5, "p": 0.14}
GOOD = Facts(
    clean=accuracy(0.97),
    worst=accuracy(0.82),
    champion=CHAMPION,
    corruption=(0.9, 0.9),
    replay={"entries": 100, "lost": 0, "gained": 20, "p": 1e-6},
    sanity=(),
    mark=-40.0,
    signature="",
)


def answers(facts: Facts, gates: Gates | None = None) -> dict[str, Answer]:
    return {gate.name: gate.answer for gate in judged(facts, gates or Gates())}


def shut(facts: Facts, gates: Gates | None = None) -> list[str]:
    return [name for name, answer in answers(facts, gates).items() if answer is Answer.shut]


def test_a_good_model_passes_every_gate() -> None:
    assert set(answers(GOOD).values()) == {Answer.opened}
    assert opens(judged(GOOD, Gates()))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"clean": accuracy(0.95)}, "clean accuracy against the champion"),
        ({"worst": accuracy(0.79)}, "worst case against the champion"),
        ({"champion": CHAMPION | {"gained": 3, "lost": 20, "p": 0.001}}, "worst case against the champion"),
        ({"corruption": (0.88, 0.9)}, "corruptions, mean"),
        ({"replay": {"entries": 100, "lost": 12, "gained": 1, "p": 0.003}}, "replay of earlier attacks"),
        ({"sanity": ("6 gradients",)}, "sanity checks"),
        ({"sanity": None}, "sanity checks"),
        ({"mark": -2.0}, "watermark"),
        ({"signature": "a chunk was changed"}, "signature"),
    ],
)
def test_a_bad_figure_shuts_its_gate_and_no_other(change: dict[str, Any], name: str) -> None:
    facts = replace(GOOD, **change)
    assert shut(facts) == [name]
    assert not opens(judged(facts, Gates()))
    assert next(refusals(judged(facts, Gates()))).startswith(name)


def test_a_threshold_itself_still_opens() -> None:
    facts = replace(GOOD, clean=accuracy(0.96), worst=accuracy(0.8))
    assert shut(facts) == []


def test_a_loss_that_may_be_luck_does_not_shut_the_replay_gate() -> None:
    assert shut(replace(GOOD, replay={"entries": 100, "lost": 3, "gained": 0, "p": 0.25})) == []


def test_least_values_are_asked_for_without_a_champion_too() -> None:
    first = replace(GOOD, champion=None, corruption=None, replay=None, mark="no owner key was given")
    assert shut(first, Gates(clean_least=0.98)) == ["clean accuracy"]
    assert shut(first, Gates(robust_least=0.8)) == ["worst case, lower limit"]
    skipped = [name for name, answer in answers(first).items() if answer is Answer.skipped]
    assert len(skipped) == 5
    assert opens(judged(first, Gates()))


@pytest.mark.parametrize("wrong", [{"clean_fall": -0.1}, {"level": 0.0}, {"mark_log10_p": 1.0}, {"robust_least": 2.0}])
def test_thresholds_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="gates"):
        Gates(**wrong)
