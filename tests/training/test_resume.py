"""Stopped anywhere and taken up by a new process, a run ends with the bits of an unbroken one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harden.attacks import Attack, Fgsm, Pgd
from harden.data import DataSet
from harden.errors import Interrupted, TrainingError
from harden.models import Classifier
from harden.seeds import seeded, stream
from harden.threat import Norm, ThreatModel
from harden.training import EpochStats, Event, Recipe, Schedule, Sgd, Trades, Training
from harden.training.checkpoint import Tensors, newest
from harden.training.watchdog import STRONG

Make = Callable[..., Recipe]

KINDS: dict[str, dict[str, Any]] = {
    "madry": {},
    "trades": {
        "objective": Trades(beta=2.0),
        "optim": Sgd(lr=0.05),
        "schedule": Schedule(epochs=3, batch_size=16, validation=11, ema=0.95, clip=0.5, validate_every=0.5),
    },
    "fgsm-rs": {"attack": Fgsm(step=1.25, start=True), "threat": ThreatModel(Norm.l1, "2")},
    "ordinary": {"attack": None, "schedule": Schedule(epochs=3, batch_size=16, validation=11, ema=0)},
}
kinds = pytest.mark.parametrize("kind", list(KINDS))


def after(steps: int) -> Callable[[], bool]:
    """A wish to stop that comes after so many steps of this sitting."""
    left = iter(range(steps - 1, -1, -1))
    return lambda: next(left) == 0


def ended(recipe: Recipe, data: DataSet, folder: Path) -> Training:
    training = Training(recipe, data, folder=folder)
    for _ in training:
        pass
    return training


def interrupted(recipe: Recipe, data: DataSet, folder: Path, steps: int) -> None:
    with pytest.raises(Interrupted):
        for _ in Training(recipe, data, folder=folder, stop=after(steps)):
            pass


def final(folder: Path) -> tuple[Tensors, dict[str, Any]]:
    """Every tensor of the last checkpoint, and its state without the times and the resumes."""
    found = newest(folder)
    assert found is not None
    tensors, saved = found
    state = {key: value for key, value in saved["state"].items() if key not in ("seconds", "training")}
    for row in state["epochs"]:
        del row["images_per_second"]
    state["events"] = [event for event in state["events"] if event["kind"] != "resume"]
    return tensors, state


def assert_same_end(one: Path, other: Path) -> None:
    first, second = final(one), final(other)
    assert {name.split("/")[0] for name in first[0]} == {"now", "good", "best", "sums"}
    torch.testing.assert_close(first[0], second[0], rtol=0, atol=0)
    assert first[1] == second[1]


def assert_same_selection(one: Training, other: Training) -> None:
    pair = [dict(training.selected().state_dict()) for training in (one, other)]
    torch.testing.assert_close(pair[0], pair[1], rtol=0, atol=0)


@kinds
@pytest.mark.parametrize("steps", [1, 6, 7, 17, 18])
def test_a_run_stopped_after_any_step_ends_as_an_unbroken_one(
    dots: DataSet, recipe_of: Make, tmp_path: Path, kind: str, steps: int
) -> None:
    recipe = recipe_of(**KINDS[kind])
    unbroken = ended(recipe, dots, tmp_path / "unbroken")
    interrupted(recipe, dots, tmp_path / "broken", steps)
    resumed = ended(recipe, dots, tmp_path / "broken")
    assert_same_end(tmp_path / "unbroken", tmp_path / "broken")
    assert_same_selection(unbroken, resumed)


@kinds
def test_a_run_that_is_stopped_after_every_single_step_ends_as_an_unbroken_one(
    dots: DataSet, recipe_of: Make, tmp_path: Path, kind: str
) -> None:
    recipe = recipe_of(**KINDS[kind])
    ended(recipe, dots, tmp_path / "unbroken")
    for _ in range(18):
        interrupted(recipe, dots, tmp_path / "broken", 1)
    ended(recipe, dots, tmp_path / "broken")
    assert_same_end(tmp_path / "unbroken", tmp_path / "broken")


def test_writing_checkpoints_changes_nothing(dots: DataSet, recipe_of: Make, tmp_path: Path) -> None:
    recipe = recipe_of()
    always = Training(recipe, dots, folder=tmp_path, every=0)
    for _ in always:
        pass
    never = Training(recipe, dots)
    for _ in never:
        pass
    assert_same_selection(always, never)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_resumed_run_says_so_first_and_keeps_its_history(dots: DataSet, recipe_of: Make, tmp_path: Path) -> None:
    recipe = recipe_of()
    interrupted(recipe, dots, tmp_path, 8)
    training = Training(recipe, dots, folder=tmp_path)
    first = next(iter(training))
    assert isinstance(first, Event)
    assert (first.kind, first.step, first.text) == ("resume", 8, "continued at step 8 of 18")
    assert [row.step for row in training.state.epochs] == [6]


def test_a_finished_run_taken_up_again_takes_no_step(dots: DataSet, recipe_of: Make, tmp_path: Path) -> None:
    recipe = recipe_of()
    once = ended(recipe, dots, tmp_path)
    again = Training(recipe, dots, folder=tmp_path)
    assert [type(report) for report in again] == [Event]
    assert_same_selection(once, again)


def test_a_checkpoint_of_another_recipe_is_refused_and_kept(dots: DataSet, recipe_of: Make, tmp_path: Path) -> None:
    interrupted(recipe_of(), dots, tmp_path, 3)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(TrainingError, match="belongs to another recipe"):
        ended(recipe_of(seed=1), dots, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_damaged_last_checkpoint_costs_steps_but_no_bit(dots: DataSet, recipe_of: Make, tmp_path: Path) -> None:
    recipe = recipe_of()
    ended(recipe, dots, tmp_path / "unbroken")
    interrupted(recipe, dots, tmp_path / "broken", 4)
    interrupted(recipe, dots, tmp_path / "broken", 5)
    last = sorted((tmp_path / "broken").iterdir())[-1]
    last.write_bytes(last.read_bytes()[:-100])
    training = Training(recipe, dots, folder=tmp_path / "broken")
    first = next(reports := iter(training))
    assert isinstance(first, Event)
    assert first.step == 4
    list(reports)
    assert_same_end(tmp_path / "unbroken", tmp_path / "broken")


@pytest.mark.parametrize("steps", [5, 8, 9, 13])
def test_a_run_stopped_around_a_roll_back_ends_as_an_unbroken_one(
    dots: DataSet, recipe_of: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """Looks come every 2 steps; the one at step 8 sees a collapse, whichever process it is in."""

    def scripted(self: Training, _model: nn.Module, attack: Attack, _ids: Tensor) -> tuple[float, float]:
        if attack is STRONG:
            return 0.9, 0.1 if self.state.step == 8 else 0.8
        return 0.9, 0.9

    monkeypatch.setattr(Training, "_accuracy", scripted)
    recipe = recipe_of()
    unbroken = ended(recipe, dots, tmp_path / "unbroken")
    interrupted(recipe, dots, tmp_path / "broken", steps)
    resumed = ended(recipe, dots, tmp_path / "broken")
    assert sorted(event.kind for event in resumed.state.events) == ["overfitting", "resume"]
    assert resumed.state.attack == unbroken.state.attack
    assert isinstance(resumed.state.attack, Pgd)
    assert resumed.state.attack.steps == 5
    assert_same_end(tmp_path / "unbroken", tmp_path / "broken")


class Dropping(nn.Module):
    """A network with dropout, which draws from torch's global generator."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(64, 2))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out


def test_dropout_is_drawn_by_the_seed_and_resumes_to_the_bit(
    dots: DataSet, recipe_of: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harden.training.loop.fresh_model", lambda *_: dropping())
    recipe = recipe_of()
    ended(recipe, dots, tmp_path / "unbroken")
    torch.rand(17)  # another state of the global generator
    interrupted(recipe, dots, tmp_path / "broken", 7)
    torch.rand(3)
    ended(recipe, dots, tmp_path / "broken")
    assert_same_end(tmp_path / "unbroken", tmp_path / "broken")


def dropping() -> Classifier:
    with seeded(stream(0, "init")):
        return Classifier(Dropping(), mean=[0.5], std=[0.5])


def test_validation_comes_as_often_as_asked(dots: DataSet, recipe_of: Make) -> None:
    for every, steps in ((0.5, [3, 6, 9, 12, 15, 18]), (1.5, [9, 18]), (9.0, [18])):
        schedule = Schedule(epochs=3, batch_size=16, validation=11, validate_every=every)
        rows = [one for one in Training(recipe_of(schedule=schedule), dots) if isinstance(one, EpochStats)]
        assert [row.step for row in rows if row.val_robust is not None] == steps
