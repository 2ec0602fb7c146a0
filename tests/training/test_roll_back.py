"""When training goes wrong: back to the last good weights, with another attack or rate, and in the end a stop."""

import contextlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from harden.attacks import Attack, Pgd
from harden.data import Batch, DataSet
from harden.errors import TrainingError
from harden.seeds import Stream
from harden.threat import ThreatModel
from harden.training import EpochStats, Event, Madry, Recipe, Schedule, Sgd, Training, Watchdog
from harden.training.checkpoint import newest
from harden.training.objectives import Loss
from harden.training.watchdog import STRONG

Make = Callable[..., Recipe]
Looks = Callable[[int], tuple[float, float]]


def poisoned(*steps: int, factor: float = math.nan) -> Madry:
    """Madry's objective, whose loss at the given calls, from 1, is multiplied by `factor`."""
    calls = iter(range(1, 10_000))

    @dataclass(frozen=True)
    class Poisoned(Madry):
        def __call__(
            self, model: nn.Module, batch: Batch, attack: Attack | None, threat: ThreatModel, *, rng: Stream
        ) -> Loss:
            loss = super().__call__(model, batch, attack, threat, rng=rng)
            return loss._replace(value=loss.value * factor) if next(calls) in steps else loss

    return Poisoned()


def script(monkeypatch: pytest.MonkeyPatch, looks: Looks) -> None:
    """Lets looks see (own, strong) as `looks` says for the step; validation sees nothing unusual."""

    def scripted(self: Training, _model: nn.Module, attack: Attack, ids: Tensor) -> tuple[float, float]:
        if len(ids) == len(self.val_ids):
            return 0.9, 0.5
        own, strong = looks(self.state.step)
        return 0.9, strong if attack is STRONG else own

    monkeypatch.setattr(Training, "_accuracy", scripted)


def events(reports: Iterable[object]) -> list[Event]:
    return [one for one in reports if isinstance(one, Event)]


def finite(tensors: Iterable[Tensor]) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in tensors)


@pytest.mark.parametrize("at", [1, 4, 6, 8, 12, 18])
def test_one_loss_that_is_not_finite_costs_a_roll_back_and_half_the_rate(
    dots: DataSet, recipe_of: Make, at: int
) -> None:
    training = Training(recipe_of(objective=poisoned(at)), dots)
    reports = list(training)
    (event,) = events(reports)
    assert event.kind == "divergence"
    assert event.text == "the loss is nan; going on at 0.5 of the learning rate"
    assert at <= event.step <= at + 9
    assert finite(training.learner.capture().values())
    assert finite(training.selected().state_dict().values())
    assert [one.step for one in reports if isinstance(one, EpochStats)] == [6, 12, 18]


def test_the_step_after_a_roll_back_takes_half_the_rate(dots: DataSet, recipe_of: Make) -> None:
    rows = [
        [one.lr for one in Training(recipe_of(objective=objective), dots) if isinstance(one, EpochStats)]
        for objective in (Madry(), poisoned(8))
    ]
    assert rows[1] == pytest.approx([rows[0][0], rows[0][1] / 2, rows[0][2] / 2])


def test_a_roll_back_is_to_the_tensors_of_the_last_good_look(dots: DataSet, recipe_of: Make) -> None:
    training = Training(recipe_of(objective=poisoned(5)), dots)
    before = training.good
    for report in training:
        if isinstance(report, Event):
            break
        before = training.good
    assert training.state.step == 6
    torch.testing.assert_close(training.learner.capture(), before, rtol=0, atol=0)
    assert before["optimiser/0/step"] == 4


def test_a_loss_that_never_recovers_ends_the_run_with_finite_weights_on_disk(
    dots: DataSet, recipe_of: Make, tmp_path: Path
) -> None:
    recipe = recipe_of(objective=poisoned(*range(5, 10_000)), schedule=Schedule(epochs=20, batch_size=16))
    training = Training(recipe, dots, folder=tmp_path, every=0)
    with pytest.raises(TrainingError, match=r"training was stopped after \d roll-backs; the last: divergence") as told:
        list(training)
    assert str(tmp_path) in told.value.hint
    assert "\n" not in told.value.message
    found = newest(tmp_path)
    assert found is not None
    assert finite(found[0].values())
    assert len(found[1]["state"]["events"]) == training.state.trips
    assert found[1]["state"]["step"] < training.steps / 2
    assert finite(training.selected().state_dict().values())


@pytest.mark.parametrize("trips", [1, 2])
def test_the_last_roll_back_granted_ends_the_run(dots: DataSet, recipe_of: Make, trips: int) -> None:
    watchdog = Watchdog(every=0.3, images=16, budget=100, trips=trips)
    training = Training(recipe_of(objective=poisoned(*range(1, 10_000)), watchdog=watchdog), dots)
    with pytest.raises(TrainingError, match=f"stopped after {trips} roll-backs"):
        list(training)
    assert [event.kind for event in training.state.events] == ["divergence"] * trips


def test_an_infinite_loss_is_noticed_like_nan(dots: DataSet, recipe_of: Make) -> None:
    training = Training(recipe_of(objective=poisoned(4, factor=math.inf)), dots)
    assert [event.kind for event in events(training)] == ["divergence"]
    assert finite(training.learner.capture().values())


def test_no_checkpoint_is_written_while_the_loss_is_not_finite(dots: DataSet, recipe_of: Make, tmp_path: Path) -> None:
    watchdog = Watchdog(every=0.5, images=16, budget=100)  # looks at steps 3, 6, ...: the loss of step 4 waits
    training = Training(recipe_of(objective=poisoned(4), watchdog=watchdog), dots, folder=tmp_path, every=0)
    for report in training:
        if isinstance(report, Event):
            break
    found = newest(tmp_path)
    assert found is not None
    assert found[1]["state"]["step"] == 3
    assert finite(found[0].values())


def collapse_at(*steps: int) -> Looks:
    """85 against the own attack throughout; 80 against the strong one, and 8 at the given steps."""
    return lambda step: (0.92, 0.08) if step in steps else (0.85, 0.80)


def test_a_collapse_rolls_back_and_goes_on_with_a_stronger_attack(
    dots: DataSet, recipe_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, collapse_at(8))
    training = Training(recipe_of(), dots)
    (event,) = events(training)
    assert (event.kind, event.step) == ("overfitting", 8)
    assert event.text == ("92.0% on its own attack, 8.0% on PGD-10; going on with PGD-5")
    assert event.figures == {"step": 8, "own": 0.92, "strong": 0.08}
    assert training.state.attack == Pgd(steps=5, step=0.3, keep=training.recipe.attack.keep)
    assert training.state.events == [event]


def test_a_collapse_takes_weights_average_and_optimiser_back_to_the_last_look(
    dots: DataSet, recipe_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, collapse_at(8))
    healthy = Training(recipe_of(), dots, stop=lambda: healthy.state.step == 6)
    training = Training(recipe_of(), dots)
    for report in training:
        if isinstance(report, Event):
            break
    for _ in healthy:
        if healthy.state.step == 6:
            break
    torch.testing.assert_close(training.learner.capture(), healthy.learner.capture(), rtol=0, atol=0)
    assert training.state.step == 8  # the schedule goes on


@pytest.mark.parametrize("at", [6, 12, 18])
def test_a_collapse_at_an_epochs_end_is_survived(
    dots: DataSet, recipe_of: Make, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    script(monkeypatch, collapse_at(at))
    reports = list(Training(recipe_of(), dots))
    assert [event.kind for event in events(reports)] == ["overfitting"]
    assert [one.step for one in reports if isinstance(one, EpochStats)] == [6, 12, 18]


def test_collapse_after_collapse_ends_the_run(
    dots: DataSet, recipe_of: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script(monkeypatch, collapse_at(4, 8, 12, 16))
    training = Training(recipe_of(), dots, folder=tmp_path)
    with pytest.raises(TrainingError, match="the last: overfitting"):
        list(training)
    found = newest(tmp_path)
    assert found is not None
    assert [event["kind"] for event in found[1]["state"]["events"]] == ["overfitting"] * training.state.trips


def test_a_common_fall_is_a_warning_and_the_next_look_comes_early(
    dots: DataSet, recipe_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []

    def looks(step: int) -> tuple[float, float]:
        looked.append(step)
        return (0.76, 0.64) if step == 8 else (0.92, 0.89)

    script(monkeypatch, looks)
    watchdog = Watchdog(every=0.6, images=16, budget=100)
    training = Training(recipe_of(watchdog=watchdog), dots)
    (event,) = events(training)
    assert (event.kind, event.step) == ("warning", 8)
    assert event.text == "both accuracies fall, 76.0% on its own attack, 64.0% on PGD-10; looking twice as often"
    assert sorted(set(looked)) == [4, 8, 10, 14, 18]
    assert training.state.attack == training.recipe.attack


def test_ordinary_training_is_watched_for_divergence_only(
    dots: DataSet, recipe_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, collapse_at(*range(100)))
    assert events(Training(recipe_of(attack=None), dots)) == []


def test_a_healthy_run_raises_no_alarm(dots: DataSet, recipe_of: Make) -> None:
    assert events(Training(recipe_of(), dots)) == []


def test_after_a_roll_back_the_next_look_is_compared_with_the_restored_weights(
    dots: DataSet, recipe_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter([(0.85, 0.8)] * 3 + [(0.9, 0.1)] + [(0.85, 0.8)] + [(0.9, 0.0)] + [(0.85, 0.8)] * 20)
    seen: dict[str, tuple[float, float]] = {}

    def scripted(self: Training, _model: nn.Module, attack: Attack, ids: Tensor) -> tuple[float, float]:
        if len(ids) == len(self.val_ids):
            return 0.9, 0.5
        if attack is not STRONG:
            seen["look"] = next(calls)
        return 0.9, seen["look"][1 if attack is STRONG else 0]

    monkeypatch.setattr(Training, "_accuracy", scripted)
    kinds = [event.kind for event in events(Training(recipe_of(), dots))]
    assert kinds == ["overfitting", "overfitting"]  # the second one at the very next look


def test_weights_whose_logits_overflow_are_a_divergence(dots: DataSet, recipe_of: Make) -> None:
    schedule = Schedule(epochs=3, batch_size=64, validation=11, ramp=0)
    training = Training(recipe_of(attack=None, optim=Sgd(lr=1e10, momentum=0), schedule=schedule), dots)
    kinds: list[str] = []
    with contextlib.suppress(TrainingError):
        kinds += [event.kind for event in events(training)]
    assert training.state.trips > 0
    assert finite(training.selected().state_dict().values())


def test_a_run_that_was_given_up_is_not_continued(dots: DataSet, recipe_of: Make, tmp_path: Path) -> None:
    recipe = recipe_of(objective=poisoned(*range(1, 10_000)))
    with pytest.raises(TrainingError, match="training was stopped"):
        list(Training(recipe, dots, folder=tmp_path))
    with pytest.raises(TrainingError, match="training was stopped"):
        list(Training(recipe, dots, folder=tmp_path))
