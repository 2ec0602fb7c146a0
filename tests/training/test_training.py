"""A training run, from outside: it learns, repeats itself to the bit, and touches nothing that is not its own."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from harden.attacks import Fgsm, Pgd
from harden.data import DataSet, Split
from harden.errors import Interrupted
from harden.evaluation import judge
from harden.seeds import stream
from harden.threat import Norm, ThreatModel
from harden.training import EpochStats, Madry, Recipe, Schedule, Sgd, StepStats, Trades, Training, Watchdog
from harden.training.checkpoint import newest

Make = Callable[..., Recipe]


def weights(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.state_dict())


def trained(recipe: Recipe, data: DataSet) -> Training:
    training = Training(recipe, data)
    for _ in training:
        pass
    return training


def robust_accuracy(training: Training, data: DataSet) -> float:
    outcome = judge(
        training.selected(), data.test, torch.arange(40), Pgd(steps=10), training.recipe.threat, rng=stream(0, "test")
    )
    return outcome.robust_accuracy.value


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"objective": Trades(beta=3.0)},
        {"attack": Fgsm(step=1.25, start=True), "optim": Sgd(lr=0.05)},
        {"threat": ThreatModel(Norm.l2, "0.8"), "attack": Pgd(steps=3)},
    ],
    ids=["madry", "trades", "fgsm-rs", "l2"],
)
def test_hardening_learns_to_withstand_the_attack(dots: DataSet, recipe_of: Make, fields: dict[str, object]) -> None:
    recipe = recipe_of(schedule=Schedule(epochs=15, batch_size=16, validation=11, ema=0.9), **fields)
    training = Training(recipe, dots)
    before = robust_accuracy(training, dots)
    for _ in training:
        pass
    assert robust_accuracy(training, dots) >= max(0.9, before + 0.2)


def test_ordinary_training_learns_and_its_model_does_not_withstand(dots: DataSet, recipe_of: Make) -> None:
    schedule = Schedule(epochs=15, batch_size=16, validation=11)
    training = trained(recipe_of(attack=None, schedule=schedule, threat=ThreatModel(eps="0.3")), dots)
    clean = judge(training.selected(), dots.test, torch.arange(40), Pgd(), ThreatModel(eps="0.3"), rng=stream(0))
    assert clean.clean_accuracy.value >= 0.95
    assert clean.robust_accuracy.value < clean.clean_accuracy.value - 0.3


def test_two_runs_are_equal_to_the_bit_and_another_seed_is_another_run(dots: DataSet, recipe_of: Make) -> None:
    once, again, other = (trained(recipe_of(seed=seed), dots) for seed in (5, 5, 6))
    torch.testing.assert_close(weights(once.selected()), weights(again.selected()), rtol=0, atol=0)
    assert once.state.chosen == again.state.chosen
    first, last = weights(once.selected()), weights(other.selected())
    assert not all(torch.equal(first[name], last[name]) for name in first)


def test_a_run_does_not_depend_on_where_torchs_random_numbers_stand_and_does_not_move_them(
    dots: DataSet, recipe_of: Make
) -> None:
    once = trained(recipe_of(), dots)
    with torch.random.fork_rng():
        torch.manual_seed(12345)
        before = torch.get_rng_state()
        again = trained(recipe_of(), dots)
        assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(weights(once.selected()), weights(again.selected()), rtol=0, atol=0)


def test_reports_tell_every_epoch_once_and_never_run_backwards(dots: DataSet, recipe_of: Make) -> None:
    training = Training(recipe_of(objective=Trades()), dots)
    reports = list(training)
    steps = [one for one in reports if isinstance(one, StepStats)]
    epochs = [one for one in reports if isinstance(one, EpochStats)]
    assert training.steps == 18
    assert [one.step for one in epochs] == [6, 12, 18]
    assert [one.epoch for one in epochs] == [1, 2, 3]
    assert [one.step for one in steps] == sorted({one.step for one in steps})
    assert steps[-1].step == steps[-1].steps == 18
    assert {6, 10, 12, 18} <= {one.step for one in steps}
    assert all(one.images_per_second > 0 for one in steps)
    assert all(0 <= share <= 1 for one in steps for share in (one.clean, one.robust) if share is not None)
    assert epochs[-1].eps == pytest.approx(0.1)
    assert 0 < epochs[-1].lr < epochs[1].lr


def test_an_epochs_means_are_over_its_images_whatever_pulses_stand_between(dots: DataSet, recipe_of: Make) -> None:
    schedule = Schedule(epochs=2, batch_size=4, validation=11)
    recipe = recipe_of(schedule=schedule, objective=Madry(), watchdog=Watchdog(every=0))
    reports = list(Training(recipe, dots))
    steps = [one for one in reports if isinstance(one, StepStats) and one.step <= 24]
    epoch = next(one for one in reports if isinstance(one, EpochStats))
    spans = [one.step - before for one, before in zip(steps, [0, *(one.step for one in steps)], strict=False)]
    assert [one.step for one in steps] == [10, 20, 24]
    losses = [one.loss for one in steps if one.loss is not None]
    assert epoch.loss == pytest.approx(sum(a * b for a, b in zip(losses, spans, strict=True)) / 24)


def test_epochs_may_be_a_fraction(dots: DataSet, recipe_of: Make) -> None:
    schedule = Schedule(epochs=1.5, batch_size=16, validation=11)
    epochs = [one for one in Training(recipe_of(schedule=schedule), dots) if isinstance(one, EpochStats)]
    assert [one.epoch for one in epochs] == [1, 1.5]
    assert epochs[-1].val_robust is not None


def test_validation_can_be_rarer_than_epochs_but_comes_at_the_end(dots: DataSet, recipe_of: Make) -> None:
    schedule = Schedule(epochs=3, batch_size=16, validation=11, validate_every=2)
    epochs = [one for one in Training(recipe_of(schedule=schedule), dots) if isinstance(one, EpochStats)]
    assert [one.val_robust is None for one in epochs] == [True, False, False]


def test_a_batch_larger_than_the_data_is_all_of_the_data(dots: DataSet, recipe_of: Make) -> None:
    schedule = Schedule(epochs=2, batch_size=10_000, validation=11)
    training = trained(recipe_of(schedule=schedule), dots)
    assert training.steps == 2
    assert all(torch.isfinite(value).all() for value in weights(training.selected()).values())


@pytest.mark.parametrize(("asked", "held"), [(1, 1), (5, 5), (11, 11), (1000, 11)])
def test_validation_images_are_training_images_that_are_not_trained_on(
    dots: DataSet, recipe_of: Make, asked: int, held: int
) -> None:
    training = Training(recipe_of(schedule=Schedule(validation=asked)), dots)
    kept, apart = set(training.train_ids.tolist()), set(training.val_ids.tolist())
    assert len(apart) == held
    assert kept | apart == set(range(110))
    assert not kept & apart


def test_no_step_sees_a_validation_image(dots: DataSet, recipe_of: Make) -> None:
    """With validation images turned round, which leaves the pixels' mean and deviation, training stays the same."""
    recipe = recipe_of(watchdog=Watchdog(every=0))
    honest = Training(recipe, dots)
    x = dots.train.x.clone()
    x[honest.val_ids] = x[honest.val_ids].flip(2, 3)
    twin = Training(recipe, replace(dots, train=Split(x, dots.train.y)))
    rows = [[one for one in training if isinstance(one, EpochStats)] for training in (honest, twin)]
    torch.testing.assert_close(honest.learner.capture(), twin.learner.capture(), rtol=0, atol=0)
    assert rows[0][-1].val_clean != rows[1][-1].val_clean


def test_test_images_have_no_part_in_a_run(dots: DataSet, recipe_of: Make) -> None:
    other = replace(dots, test=Split(255 - dots.test.x, 1 - dots.test.y))
    once, again = trained(recipe_of(), dots), trained(recipe_of(), other)
    torch.testing.assert_close(weights(once.selected()), weights(again.selected()), rtol=0, atol=0)


def test_against_a_radius_of_zero_hardening_is_ordinary_training_bit_for_bit(
    dots: DataSet, recipe_of: Make, tmp_path: Path
) -> None:
    threat = ThreatModel(eps="0")
    for name, attack in (("hardened", Pgd(steps=2)), ("ordinary", None)):
        for _ in Training(recipe_of(threat=threat, attack=attack), dots, folder=tmp_path / name):
            pass
    found = [newest(tmp_path / name) for name in ("hardened", "ordinary")]
    assert found[0] is not None
    assert found[1] is not None
    now = [{k: v for k, v in tensors.items() if k.startswith("now/")} for tensors, _ in (found[0], found[1])]
    torch.testing.assert_close(now[0], now[1], rtol=0, atol=0)


def test_what_was_selected_is_what_did_best_on_validation(dots: DataSet, recipe_of: Make) -> None:
    training = Training(recipe_of(), dots)
    epochs = [one for one in training if isinstance(one, EpochStats)]
    scores = [
        score for one in epochs for score in ((one.val_robust, one.val_clean), (one.val_robust_ema, one.val_clean_ema))
    ]
    attack = training.recipe.judge.validation_attack
    outcome = judge(
        training.selected(), dots.train, training.val_ids, attack, training.recipe.threat, rng=stream(0, "look")
    )
    found = outcome.robust_accuracy.value, outcome.clean_accuracy.value
    assert found == max(score for score in scores if None not in score)
    assert found == training.state.best


def test_the_average_follows_the_weights_by_the_schedules_decay_of_each_step(dots: DataSet, recipe_of: Make) -> None:
    wanted: dict[str, Tensor] = {}

    def follow() -> bool:
        """Asked after each step: the average by hand, in float64."""
        decay = training.recipe.schedule.decay(training.state.step - 1)
        for name, value in training.learner.model.named_parameters():
            wanted[name] = decay * wanted[name] + (1 - decay) * value.detach().double()
        return False

    training = Training(recipe_of(), dots, stop=follow)
    wanted |= {name: value.detach().double() for name, value in training.learner.model.named_parameters()}
    for _ in training:
        pass
    averaged = {name: value.double() for name, value in training.learner.average.model.named_parameters()}
    torch.testing.assert_close(averaged, wanted, rtol=1e-5, atol=1e-6)


def test_without_averaging_only_raw_weights_are_validated(dots: DataSet, recipe_of: Make) -> None:
    training = Training(recipe_of(schedule=Schedule(epochs=1, batch_size=16, ema=0)), dots)
    epochs = [one for one in training if isinstance(one, EpochStats)]
    assert epochs[-1].val_robust is not None
    assert epochs[-1].val_robust_ema is None
    assert training.state.chosen.startswith("raw")


def test_a_wish_to_stop_is_obeyed_after_the_step(dots: DataSet, recipe_of: Make) -> None:
    asked: list[None] = []

    def stop() -> bool:
        asked.append(None)
        return len(asked) == 4

    training = Training(recipe_of(), dots, stop=stop)
    with pytest.raises(Interrupted) as stopped:
        list(training)
    assert stopped.value.exit_code == 130
    assert training.state.step == 4
