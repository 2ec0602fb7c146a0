"""Wilson's interval against published figures, its defining equation and the law of its symmetry."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harden.errors import DataError
from harden.evaluation import wilson

Z = 1.959963984540054


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [
        (320, 360, 85.2, 91.7),
        (880, 1000, 85.8, 89.9),
        (5000, 10_000, 49.0, 51.0),
        # Newcombe 1998, Statistics in Medicine 17:857-872, table I, method 3
        (81, 263, 25.53, 36.62),
        (15, 148, 6.24, 16.05),
        (0, 20, 0.0, 16.11),
        (1, 29, 0.61, 17.18),
    ],
)
def test_the_interval_is_the_published_one(count: int, n: int, low: float, high: float) -> None:
    found = wilson(count, n)
    digits = 0.05 if n >= 300 else 0.005
    assert found.value == count / n
    assert 100 * found.low == pytest.approx(low, abs=digits)
    assert 100 * found.high == pytest.approx(high, abs=digits)


def test_no_break_in_a_thousand_means_at_most_a_few_in_a_thousand() -> None:
    assert wilson(0, 1000).low == 0
    assert wilson(0, 1000).high <= 0.00384
    assert wilson(1000, 1000).high == 1


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_limits_are_where_the_score_test_just_rejects(case: tuple[int, int]) -> None:
    count, n = case
    found = wilson(count, n)
    assert 0 <= found.low <= found.value <= found.high <= 1
    for limit in (found.low, found.high):
        if 0 < limit < 1:
            assert abs(found.value - limit) == pytest.approx(Z * math.sqrt(limit * (1 - limit) / n), rel=1e-9)


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_successes_and_failures_mirror_each_other(case: tuple[int, int]) -> None:
    count, n = case
    one, other = wilson(count, n), wilson(n - count, n)
    assert one.low == pytest.approx(1 - other.high, abs=1e-12)
    assert one.high == pytest.approx(1 - other.low, abs=1e-12)


@pytest.mark.parametrize(("count", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_an_impossible_count_is_refused(count: int, n: int) -> None:
    with pytest.raises(DataError, match=rf"got {count} of {n}"):
        wilson(count, n)


def test_an_accuracy_prints_its_interval() -> None:
    assert str(wilson(320, 360)) == "88.9% [85.2%, 91.7%]"
