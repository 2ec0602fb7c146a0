"""What a series of looks means: the collapses that were measured, the healthy runs, and everything between."""

import math

import pytest

from harden.attacks import Fgsm, Keep, Pgd
from harden.errors import ConfigError
from harden.training import Watchdog
from harden.training.watchdog import Look, Verdict, diverged, examine, stronger

WATCHDOG = Watchdog()


def looks(*pairs: tuple[float, float]) -> list[Look]:
    """Looks in per cent: (own, strong)."""
    return [Look(10 * i, own / 100, strong / 100) for i, (own, strong) in enumerate(pairs)]


def verdict(*pairs: tuple[float, float], watchdog: Watchdog = WATCHDOG) -> Verdict:
    *past, last = looks(*pairs)
    return examine(past, last, watchdog)


def test_the_measured_collapses_are_found() -> None:
    assert verdict((86.7, 80.0), (88.0, 85.5), (92.7, 7.8)) is Verdict.collapse
    assert verdict((85.0, 78.9), (84.0, 64.1)) is Verdict.collapse
    assert verdict((86.7, 79.3), (92.7, 21.0), (99.0, 0.0)) is Verdict.collapse


def test_when_both_accuracies_fall_together_the_dog_only_growls() -> None:
    assert verdict((92, 89), (76, 64)) is Verdict.falling


def test_healthy_noise_is_fine_and_so_is_any_absolute_gap() -> None:
    assert verdict((79, 55), (80, 54), (78, 56), (80, 50)) is Verdict.fine
    assert verdict((82, 29), (97, 84), (97, 80)) is Verdict.fine


def test_a_first_look_can_say_nothing() -> None:
    assert verdict((99, 0)) is Verdict.fine


@pytest.mark.parametrize(("strong", "found"), [(70.5, Verdict.fine), (69.5, Verdict.collapse)])
def test_the_fall_is_measured_from_the_best_of_the_recent_looks(strong: float, found: Verdict) -> None:
    assert verdict((85, 80), (85, 76), (85, strong)) is found


def test_a_best_beyond_memory_is_forgotten() -> None:
    short = Watchdog(memory=2)
    assert verdict((85, 90), (85, 81), (85, 81), (85, 75), watchdog=short) is Verdict.fine
    assert verdict((85, 90), (85, 81), (85, 75), watchdog=short) is Verdict.collapse


@pytest.mark.parametrize(("own", "found"), [(75.5, Verdict.collapse), (74.5, Verdict.falling)])
def test_own_accuracy_counts_as_falling_from_half_of_the_strong_ones_fall(own: float, found: Verdict) -> None:
    assert verdict((85, 80), (own, 60)) is found


@pytest.mark.parametrize(
    ("attack", "steps", "share"),
    [
        (Fgsm(step=1.25, start=True), 5, 0.3),
        (Pgd(steps=2, step=0.75), 5, 0.3),
        (Pgd(steps=5, step=0.3), 10, 0.3),
        (Pgd(steps=7), 14, 0.3),
        (Pgd(steps=20), 40, 0.125),
    ],
)
def test_after_a_collapse_the_attack_takes_five_steps_or_twice_as_many(
    attack: Fgsm | Pgd, steps: int, share: float
) -> None:
    found = stronger(attack)
    assert found.steps == steps
    assert found.share == pytest.approx(share)


def test_a_stronger_attack_keeps_the_other_knobs() -> None:
    kept = stronger(Pgd(steps=2, start=False))
    assert isinstance(kept, Pgd)
    assert kept.start is False
    assert stronger(Pgd(steps=2, keep=Keep.last)).keep is Keep.last
    assert stronger(Fgsm()).keep is Keep.last


HEALTHY = [2.3, 1.9, 1.5, 1.2, 1.0, 0.9, 0.8, 0.75, 0.7, 0.7]


@pytest.mark.parametrize("last", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_diverges_at_once(last: float) -> None:
    assert diverged([last], 10) == f"the loss is {last}"
    assert diverged([*HEALTHY, last], 10) == f"the loss is {last}"


@pytest.mark.parametrize(
    "losses",
    [
        [],
        HEALTHY,
        [*HEALTHY, 50.0, 50.0, 50.0, 50.0],  # not yet for long enough
        [*HEALTHY, 50.0, 50.0, 1.0, 50.0, 50.0],  # with a pause
        [0.05] * 10 + [0.9] * 5,  # far above the usual, but better than a guess: eps grows
        [2.3] * 100,
    ],
)
def test_what_may_happen_in_a_healthy_run_is_no_divergence(losses: list[float]) -> None:
    assert diverged(losses, 10) == ""


def test_a_loss_that_stays_high_diverges_and_says_from_where_to_where() -> None:
    assert diverged([*HEALTHY, 4.0, 5.0, 6.0, 7.0, 8.0], 10) == "the loss rose from 0.95 to 8"
    assert diverged([0.05] * 10 + [2.4] * 5, 10) == "the loss rose from 0.05 to 2.4"
    assert diverged([0.05] * 10 + [0.9] * 5, 2) == "the loss rose from 0.05 to 0.9"


def test_looks_cost_no_more_than_their_budget() -> None:
    dog = Watchdog(every=0.125, images=256, budget=0.05)
    stride = dog.stride(steps_per_epoch=100, batch_size=128, passes=7)
    look = 256 * ((2 * 7 + 2) + (2 * 10 + 2))
    assert look <= 0.05 * stride * 128 * (2 * 7 + 3)
    assert look > 0.05 * (stride - 1) * 128 * (2 * 7 + 3)


def test_with_money_to_spend_looks_come_as_often_as_asked() -> None:
    dog = Watchdog(every=0.5, images=1, budget=1e6)
    assert dog.stride(steps_per_epoch=100, batch_size=128, passes=7) == 50
    assert dog.stride(steps_per_epoch=1, batch_size=128, passes=7) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"every": -1.0},
        {"every": math.nan},
        {"every": math.inf},
        {"images": 0},
        {"memory": 0},
        {"trips": 0},
        {"budget": 0.0},
        {"budget": math.nan},
        {"fall": 0.0},
        {"fall": 1.0},
    ],
)
def test_a_watchdog_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"^watchdog\."):
        Watchdog(**wrong)  # type: ignore[arg-type]
