"""The bound: against many digits, against every sign there is, and where it is tight."""

import itertools
import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harden.watermarking.pvalue import COURT, MATCH, C, Tries, level_of, log10_hits, log10_tail, z_at


def exact_log10(z: float) -> float:
    """log10 of C Q(z) with 50 digits."""
    with mpmath.workdps(50):
        root = mpmath.sqrt(2)
        c = 1 / (4 * mpmath.erfc(mpmath.sqrt(2) / root) / 2)
        return float(mpmath.log10(c * mpmath.erfc(mpmath.mpf(z) / root) / 2))


@pytest.mark.parametrize("z", [1.5, 3.0, 7.29, 13.14, 48.0, 200.0, 1e3, 1e4])
def test_the_bound_has_the_digits_of_a_slow_computation(z: float) -> None:
    assert log10_tail(z) == pytest.approx(exact_log10(z), rel=1e-12)


def test_the_constant_is_that_of_the_paper() -> None:
    assert pytest.approx(3.17866, abs=1e-5) == C


def test_a_bound_is_never_above_one() -> None:
    assert log10_tail(0.0) == log10_tail(-50.0) == 0.0
    assert log10_hits(0, 16) == 0.0


@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=10), st.floats(0, 4))
def test_the_bound_covers_the_exact_tail_of_every_weights(values: list[float], t: float) -> None:
    v = np.array(values) / np.linalg.norm(values)
    signs = np.array(list(itertools.product((1, -1), repeat=len(v))))
    chance = float((signs @ v >= t + 1e-12).mean())
    assert chance == 0 or math.log10(chance) <= log10_tail(t) + 1e-9


def test_two_equal_weights_meet_the_bound_at_the_root_of_two() -> None:
    assert 10 ** log10_tail(math.sqrt(2)) == pytest.approx(1 / 4, rel=1e-12)


def test_bits_right_are_counted_as_fair_coins() -> None:
    assert log10_hits(16, 16) == pytest.approx(-16 * math.log10(2))
    assert log10_hits(15, 16) == pytest.approx(math.log10(17 / 2**16))


@pytest.mark.parametrize(("value", "level"), [(-38.54, "court"), (-38.53, "match"), (-19.27, "match"), (-19.2, "none")])
def test_levels_begin_at_their_powers_of_two(value: float, level: str) -> None:
    assert level_of(value) == level


def test_the_z_of_the_levels_is_that_of_the_design() -> None:
    assert (round(z_at(COURT), 2), round(z_at(MATCH), 2)) == (13.14, 9.21)
    assert z_at(-9 - math.log10(2 * 3.17866 * 1000 / 3.17866)) == pytest.approx(7.29, abs=0.01)


def test_every_look_is_counted() -> None:
    assert Tries().count == 2
    assert Tries(modes=4, maps=2, readings=3, claims=5, leaves=1).count == 240
