"""The threat model: eps as it was written, the ball in three norms, the box, uniform starts."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harden.errors import ConfigError
from harden.seeds import stream
from harden.threat import Norm, ThreatModel

norms = pytest.mark.parametrize("norm", list(Norm))
LENGTH: dict[Norm, Callable[[Tensor], Tensor]] = {
    Norm.linf: lambda u: u.abs().amax(1),
    Norm.l2: lambda u: u.square().sum(1).sqrt(),
    Norm.l1: lambda u: u.abs().sum(1),
}


@pytest.mark.parametrize(("text", "radius"), [("8/255", 8 / 255), ("0.1", 0.1), ("0", 0.0), ("1e-3", 0.001), ("1", 1)])
def test_eps_is_a_decimal_or_a_fraction_and_is_kept_as_written(text: str, radius: float) -> None:
    threat = ThreatModel(eps=text)
    assert threat.radius == radius
    assert threat.label == f"linf eps {text}"


def test_two_spellings_of_one_radius_are_two_threat_models() -> None:
    assert ThreatModel(eps="0.2") != ThreatModel(eps="1/5")
    assert ThreatModel(eps="0.2").radius == ThreatModel(eps="1/5").radius


@pytest.mark.parametrize(
    "text",
    ["", "inf", "nan", "8/0", "eight\nfold", "0.1.2", "1/2/3", "1e400", "1e999999999", f"1{'0' * 400}/1"],
)
@norms
def test_what_is_no_finite_number_is_refused(text: str, norm: Norm) -> None:
    with pytest.raises(ConfigError, match=r"threat\.eps") as refused:
        ThreatModel(norm=norm, eps=text)
    assert "\n" not in refused.value.message


@norms
def test_a_negative_radius_is_refused(norm: Norm) -> None:
    with pytest.raises(ConfigError, match=r"^threat\.eps must be finite and >= 0, got '-0\.1'$"):
        ThreatModel(norm=norm, eps="-0.1")


def test_eps_8_is_taken_for_a_slip_of_8_over_255() -> None:
    with pytest.raises(ConfigError, match=r"within the pixel box 0\.\.1, got '8'") as refused:
        ThreatModel(eps="8")
    assert "8/255" in refused.value.hint
    assert ThreatModel(norm=Norm.l2, eps="8").radius == 8
    assert ThreatModel(eps="8", high=255.0).radius == 8


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (1.0, 0.0), (float("nan"), 1.0), (0.0, float("nan"))])
def test_a_box_without_inside_is_refused(low: float, high: float) -> None:
    with pytest.raises(ConfigError, match=r"threat\.low must be below threat\.high"):
        ThreatModel(low=low, high=high)


def test_a_share_of_a_threat_has_that_share_of_the_radius() -> None:
    threat = ThreatModel(norm=Norm.l2, eps="8/255", low=-1.0)
    assert threat.scaled(1.0) is threat
    half = threat.scaled(0.5)
    assert half.radius == 4 / 255
    assert (half.norm, half.low, half.high) == (Norm.l2, -1.0, 1.0)
    assert threat.scaled(0.0).radius == 0
    assert threat.scaled(1e-9).radius == pytest.approx(8e-9 / 255)


@norms
def test_the_distance_is_measured_in_float64(norm: Norm) -> None:
    rng = torch.Generator().manual_seed(0)
    x, x_adv = torch.rand(4, 3, 5, generator=rng), torch.rand(4, 3, 5, generator=rng)
    wanted = LENGTH[norm]((x_adv.double() - x.double()).flatten(1))
    found = ThreatModel(norm=norm).distance(x_adv, x)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, wanted, rtol=1e-14, atol=0)


@norms
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**20), reach=st.sampled_from([0.0, 0.05, 3.0]))
def test_a_projection_is_inside_does_nothing_twice_and_leaves_inner_points_alone(
    norm: Norm, seed: int, reach: float
) -> None:
    rng = torch.Generator().manual_seed(seed)
    x = (torch.rand(3, 2, 4, generator=rng) * 1.4 - 0.2).clamp(0, 1)
    x_adv = x + reach * torch.randn(3, 2, 4, generator=rng)
    given_before = x_adv.clone()
    threat = ThreatModel(norm=norm, eps="0.4")
    once = threat.project(x_adv, x)
    assert threat.distance(once, x).max() <= 0.4 + 1e-6
    assert 0 <= once.min() <= once.max() <= 1
    torch.testing.assert_close(threat.project(once, x), once, rtol=0, atol=2e-6)
    torch.testing.assert_close(x_adv, given_before, rtol=0, atol=0)
    inner = (x_adv - x).clamp(-0.01, 0.01) + x
    inner = inner.clamp(0, 1)
    torch.testing.assert_close(threat.project(inner, x), inner, rtol=0, atol=1e-7)


@norms
def test_no_direction_of_one_length_gains_more_than_the_step_takes(norm: Norm) -> None:
    """Steepest ascent: of all moves of that length, the step gains most on a linear function."""
    rng = torch.Generator().manual_seed(3)
    x, gradient = torch.full((1, 1, 12), 0.5), torch.randn(1, 1, 12, generator=rng)
    threat = ThreatModel(norm=norm, eps="0.3")
    step = threat.step(x, gradient, x, size=0.1, out=torch.empty_like(x)) - x
    torch.testing.assert_close(
        threat.distance(x + step, x), torch.tensor([0.1], dtype=torch.float64), rtol=0, atol=1e-6
    )
    others = torch.randn(5000, 12, generator=rng)
    others = 0.1 * others / LENGTH[norm](others)[:, None]
    assert (step * gradient).sum() >= (others * gradient.flatten()).sum(1).max()


@norms
def test_steps_end_in_ball_and_box(norm: Norm) -> None:
    rng = torch.Generator().manual_seed(4)
    x = torch.rand(5, 1, 20, generator=rng).round(decimals=1)
    threat, x_adv = ThreatModel(norm=norm, eps="0.2"), x
    for _ in range(5):
        x_adv = threat.step(x_adv, torch.randn(x.shape, generator=rng), x, size=0.3, out=torch.empty_like(x))
    assert threat.distance(x_adv, x).max() <= 0.2 + 1e-6
    assert 0 <= x_adv.min() <= x_adv.max() <= 1
    assert not torch.equal(x_adv, x)


@norms
@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_starts_are_uniform_in_the_ball(norm: Norm, share: float) -> None:
    """In d dimensions the ball of a share of the radius holds share ** d of the points, whatever the norm."""
    count, pixels = 6000, 3
    x = torch.full((count, 1, 1, pixels), 0.5)
    start = ThreatModel(norm=norm, eps="0.25").random_start(x, stream(0, "start").at(torch.arange(count)))
    change = (start - x).flatten(1) / 0.25
    size = LENGTH[norm](change)
    assert size.max() <= 1 + 1e-5
    deviation = (share**pixels * (1 - share**pixels) / count) ** 0.5
    assert (size <= share).double().mean() == pytest.approx(share**pixels, abs=4 * deviation)
    positive = (change > 0).double().mean(0)
    torch.testing.assert_close(positive, torch.full_like(positive, 0.5), rtol=0, atol=4 * 0.5 / count**0.5)


@norms
def test_a_start_depends_on_the_sample_not_on_its_batch_and_is_cut_by_the_box(norm: Norm) -> None:
    x = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(1)).round()
    threat, ids = ThreatModel(norm=norm, eps="0.9"), torch.tensor([7, 1, 4, 9, 2, 0])
    whole = threat.random_start(x, stream(5, "start").at(ids))
    part = threat.random_start(x[[4, 1]], stream(5, "start").at(ids[[4, 1]]))
    torch.testing.assert_close(whole[[4, 1]], part, rtol=0, atol=1e-7)
    assert 0 <= whole.min() <= whole.max() <= 1
    assert threat.distance(whole, x).max() <= 0.9 + 1e-6
