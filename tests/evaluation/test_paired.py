"""Paired comparison: published p-values, an interval that covers, several tests at once."""

import pytest
import torch
from scipy.stats import binom

from harden.errors import DataError
from harden.evaluation.paired import holm, mcnemar, paired


def flags(both: int, first: int, second: int, neither: int) -> tuple[torch.Tensor, torch.Tensor]:
    a = [True] * (both + first) + [False] * (second + neither)
    b = [True] * both + [False] * first + [True] * second + [False] * neither
    return torch.tensor(a), torch.tensor(b)


@pytest.mark.parametrize(
    ("one", "two", "p"), [(10, 20, 0.099), (30, 50, 0.033), (0, 0, 1.0), (5, 5, 1.0), (0, 6, 0.03125)]
)
def test_p_values_are_the_known_ones(one: int, two: int, p: float) -> None:
    assert mcnemar(one, two) == pytest.approx(p, abs=0.0005)
    assert mcnemar(two, one) == mcnemar(one, two)


def test_p_is_twice_the_binomial_tail() -> None:
    assert mcnemar(3, 12) == pytest.approx(2 * binom.cdf(3, 15, 0.5))


def test_counts_and_difference() -> None:
    found = paired(*flags(40, 12, 5, 43))
    assert (found.n, found.both, found.only_first, found.only_second, found.neither) == (100, 40, 12, 5, 43)
    assert found.difference == pytest.approx(0.07)
    assert found.low < 0.07 < found.high


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [((36, 12, 2, 0), 0.0569, 0.3404), ((35, 0, 2, 3), -0.1639, 0.0379)],
)
def test_the_interval_is_newcombes(table: tuple[int, int, int, int], low: float, high: float) -> None:
    found = paired(*flags(*table))
    assert found.low == pytest.approx(low, abs=0.02)
    assert found.high == pytest.approx(high, abs=0.02)


def test_the_interval_covers_the_truth_nine_times_in_ten() -> None:
    rng = torch.Generator().manual_seed(0)
    hits, rounds = 0, 400
    for _ in range(rounds):
        draw = torch.rand(80, generator=rng)
        first, second = draw < 0.7, (draw < 0.5) | (draw > 0.95)  # 0.7 against 0.55
        found = paired(first, second)
        hits += found.low <= 0.15 <= found.high
    assert hits / rounds > 0.92


def test_holm_adjusts_in_order() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({}) == {}


def test_other_images_cannot_be_compared() -> None:
    with pytest.raises(DataError, match="the same images"):
        paired(torch.ones(3, dtype=torch.bool), torch.ones(4, dtype=torch.bool))
