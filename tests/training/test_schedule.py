"""The schedule's curves: where they begin, peak and end, and that they hold for any number of steps."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harden.errors import ConfigError
from harden.training import Schedule, Shape

STEPS = 1000


def rates(schedule: Schedule, steps: int = STEPS) -> list[float]:
    return [schedule.rate(step, steps) for step in range(steps)]


def test_one_cycle_rises_on_a_line_and_falls_on_a_cosine() -> None:
    curve = rates(Schedule(warmup=0.25))
    assert curve[0] == pytest.approx(0.002)
    assert curve[124] == pytest.approx(0.498)
    assert max(curve) == pytest.approx(1, abs=0.003)
    assert 248 <= curve.index(max(curve)) <= 251
    assert curve[625] == pytest.approx(0.5, abs=0.002)
    assert curve[-1] == pytest.approx(0, abs=1e-5)
    assert curve[:249] == sorted(curve[:249])
    assert curve[251:] == sorted(curve[251:], reverse=True)


def test_cosine_starts_at_the_peak_and_passes_half_of_it_half_way() -> None:
    curve = rates(Schedule(shape=Shape.cosine, warmup=0.9))
    assert curve[0] == pytest.approx(1, abs=1e-5)
    assert curve[499] == pytest.approx(0.5, abs=0.002)
    assert curve == sorted(curve, reverse=True)


def test_one_cycle_without_warmup_is_the_cosine() -> None:
    assert rates(Schedule(warmup=0)) == rates(Schedule(shape=Shape.cosine))


def test_constant_is_constant() -> None:
    assert set(rates(Schedule(shape=Shape.constant))) == {1.0}


@given(st.sampled_from(list(Shape)), st.floats(0, 0.999), st.integers(1, 400))
def test_a_rate_is_a_positive_share_of_the_peak(shape: Shape, warmup: float, steps: int) -> None:
    assert all(0 < rate <= 1 for rate in rates(Schedule(shape=shape, warmup=warmup), steps))


@given(st.floats(0, 0.999), st.integers(1, 400))
def test_the_radius_grows_without_a_step_back_and_is_whole_at_the_end(ramp: float, steps: int) -> None:
    shares = [Schedule(ramp=ramp).eps_share(step, steps) for step in range(steps)]
    assert shares[0] > 0
    assert shares == sorted(shares)
    assert shares[-1] == 1
    grown = math.ceil(ramp * steps)
    assert all(share == 1 for share in shares[grown:])


def test_the_ramp_is_a_line() -> None:
    shares = [Schedule(ramp=0.4).eps_share(step, 10) for step in range(10)]
    assert shares == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1])


def test_averaging_starts_short_and_settles_at_its_decay() -> None:
    schedule = Schedule(ema=0.99)
    assert schedule.decay(0) == pytest.approx(0.1)
    assert schedule.decay(8) == pytest.approx(0.5)
    assert schedule.decay(10_000) == 0.99
    assert Schedule(ema=0.0).decay(0) == 0


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"epochs": 0}, r"schedule\.epochs must be > 0, got 0"),
        ({"epochs": math.inf}, r"schedule\.epochs must be > 0, got inf"),
        ({"epochs": math.nan}, r"schedule\.epochs must be > 0, got nan"),
        ({"batch_size": 0}, r"schedule\.batch_size must be > 0"),
        ({"validate_every": -1}, r"schedule\.validate_every must be > 0"),
        ({"warmup": 1.0}, r"schedule\.warmup must lie in \[0, 1\)"),
        ({"ramp": -0.1}, r"schedule\.ramp must lie in \[0, 1\)"),
        ({"ema": 1.0}, r"schedule\.ema must lie in \[0, 1\)"),
        ({"ema": math.nan}, r"schedule\.ema must lie in \[0, 1\)"),
        ({"clip": -1.0}, r"schedule\.clip must be >= 0"),
        ({"clip": math.nan}, r"schedule\.clip must be >= 0"),
        ({"validation": 0}, r"schedule\.validation >= 1"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Schedule(**wrong)
