"""Randomised smoothing: known radii, known caps, honest abstention, draws that know no batch."""

import math

import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from harden.certification import ABSTAINED, smoothed
from harden.certification.smoothing import lower_bound
from harden.seeds import stream

W = torch.tensor([1.0, -2.0, 0.5, 1.5])


def linear(x: Tensor) -> Tensor:
    ahead = x.flatten(1) @ W
    return torch.stack([ahead, -ahead], dim=1)


@pytest.mark.parametrize(("n", "cap"), [(1000, 2.46), (100_000, 3.81)])
def test_unanimous_votes_cap_the_radius(n: int, cap: float) -> None:
    share = lower_bound(torch.tensor([n]), n, 0.001)
    assert norm.ppf(share.item()) == pytest.approx(cap, abs=0.005)


def test_the_bound_is_clopper_and_pearsons() -> None:
    wins = torch.tensor([0, 1, 500, 999, 1000])
    found = lower_bound(wins, 1000, 0.05)
    assert found[0] == 0
    assert found[1].item() == pytest.approx(1 - 0.95 ** (1 / 1000), rel=1e-9)
    assert found[4].item() == pytest.approx(0.05 ** (1 / 1000), rel=1e-9)
    assert (found.diff() > 0).all()


def test_on_a_linear_model_the_radius_comes_near_the_true_one_from_below() -> None:
    x = torch.tensor([[0.6, 0.1, 0.5, 0.5]]).view(1, 1, 2, 2)
    true = (linear(x)[0, 0] / W.norm()).item()
    found = smoothed(linear, x, sigma=0.5, n0=100, n=20_000, alpha=0.001, rng=stream(0).at(torch.tensor([7])))
    assert found.predicted.item() == 0
    assert 0.9 * true < found.radius.item() < true


def test_a_close_vote_abstains() -> None:
    x = torch.zeros(1, 1, 2, 2)
    found = smoothed(linear, x, sigma=0.5, n0=50, n=200, alpha=0.001, rng=stream(0).at(torch.tensor([0])))
    assert found.predicted.item() == ABSTAINED
    assert found.radius.item() == 0


def test_images_side_by_side_get_what_they_get_alone() -> None:
    x = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    rng = stream(1)
    knobs = {"sigma": 0.3, "n0": 20, "n": 200, "alpha": 0.01}
    together = smoothed(linear, x, rng=rng.at(torch.arange(3)), batch_size=7, **knobs)  # type: ignore[arg-type]
    for i in range(3):
        alone = smoothed(linear, x[i : i + 1], rng=rng.at(torch.tensor([i])), **knobs)  # type: ignore[arg-type]
        assert alone.predicted.item() == together.predicted[i].item()
        assert math.isclose(alone.radius.item(), together.radius[i].item())
