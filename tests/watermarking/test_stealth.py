"""Stealth: the law against a detector that is at its limit, and trained detectors where the answer is known."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from harden.seeds import stream
from harden.watermarking.stealth import visibility
from harden.watermarking.stealth.detector import auc, detect, sorted_weights, statistics
from harden.watermarking.stealth.law import quiet_alpha

RNG = stream(0, "stealth")


def test_the_law_at_its_published_points() -> None:
    quiet = visibility(quiet_alpha(22_000), 22_000)
    assert quiet.is_quiet
    assert quiet.q == pytest.approx(0.02)
    assert quiet.auc_bound == pytest.approx(0.595)
    assert visibility(0.0, 5).auc_bound == 0.5
    assert visibility(0.3, 100_000).auc_bound == 1.0
    assert not visibility(0.2, 22_000).is_quiet


@pytest.mark.parametrize("q", [0.02, 0.1, 0.5])
def test_no_detector_of_variances_beats_the_law(q: float) -> None:
    """The sum of squares is sufficient for a Gaussian's variance: the best test there is."""
    count, trials = 2000, 4000
    alpha = quiet_alpha(count, q)
    rng = np.random.default_rng(RNG.key)
    unmarked = rng.chisquare(count, trials)
    marked = (1 + alpha**2) * rng.chisquare(count, trials)
    area = auc(unmarked, marked)
    assert area <= visibility(alpha, count).auc_bound + 0.01
    assert area > 0.5 + 0.5 * (visibility(alpha, count).auc_bound - 0.5)  # and the law is not idle


def test_the_area_under_the_curve_by_hand() -> None:
    assert auc(np.array([1.0, 2.0]), np.array([2.0, 3.0])) == 0.875
    assert auc(np.array([1.0]), np.array([0.0])) == 0.0


def _nets(count: int, alpha: float, seed: int) -> list[dict[str, Tensor]]:
    rng = RNG.child(seed).generator()
    return [{"a": torch.randn(40, 30, generator=rng) + alpha * _signs(40, 30, rng)} for _ in range(count)]


def _signs(rows: int, columns: int, rng: torch.Generator) -> Tensor:
    return torch.randint(0, 2, (rows, columns), generator=rng).float() * 2 - 1


def test_trained_detectors_see_a_loud_mark() -> None:
    areas = {one.detector: one.auc for one in detect(_nets(30, 0, 1), _nets(30, 0.8, 2), ["a"], rng=RNG)}
    assert len(areas) == 3
    assert areas["logistic regression"] > 0.95
    assert areas["random forest"] > 0.95
    assert areas["network on sorted weights"] > 0.8


def test_trained_detectors_see_nothing_where_there_is_nothing() -> None:
    """In the mean over draws: 24 and 24 networks may differ by chance, and then all detectors see it."""
    areas = [one.auc for seed in (3, 13) for one in detect(_nets(24, 0, seed), _nets(24, 0, seed + 1), ["a"], rng=RNG)]
    assert abs(sum(areas) / len(areas) - 0.5) < 0.2


def test_twins_in_one_fold_teach_a_detector_nothing() -> None:
    """The same networks on both sides: a detector that saw the twin of what it judges would be wrong too often."""
    nets = _nets(12, 0, 5)
    for one in detect(nets, nets, ["a"], rng=RNG):
        assert one.auc == pytest.approx(0.5, abs=1e-9)


def test_features_are_finite_for_an_empty_layer_too() -> None:
    assert all(math.isfinite(one) for one in statistics({"a": torch.zeros(5, 5)}, ["a"]))
    assert len(sorted_weights({"a": torch.zeros(5, 5)}, ["a"])) == 128


def test_too_few_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="10 networks"):
        detect(_nets(9, 0, 1), _nets(20, 0, 1), ["a"], rng=RNG)
