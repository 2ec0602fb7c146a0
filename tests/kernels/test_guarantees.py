"""What the interface promises whatever the engine: inside ball and box, optimal, unmoved when inside."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harden import kernels

Project = Callable[..., Tensor]

PROJECTIONS = (kernels.project_linf, kernels.project_l2, kernels.project_l1)
ORDERS = {"project_linf": np.inf, "project_l2": 2, "project_l1": 1}
CLOSE = 2e-6
BOX = {"low": 0.0, "high": 1.0}

engines = pytest.mark.parametrize("engine", ["torch", "numba"])
projections = pytest.mark.parametrize("project", PROJECTIONS, ids=lambda project: project.__name__)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """(x_adv, x): a few samples, x in the unit box and often on its edge, x_adv up to 3 away."""
    n, d = draw(st.integers(1, 3)), draw(st.integers(1, 12))
    pixel = st.floats(0, 1, width=32) | st.sampled_from([0.0, 1.0])
    change = st.floats(-3, 3, width=32) | st.just(0.0)
    x = torch.tensor(draw(st.lists(pixel, min_size=n * d, max_size=n * d))).abs().view(n, d)
    return x + torch.tensor(draw(st.lists(change, min_size=n * d, max_size=n * d))).view(n, d), x


radii = st.floats(0, 4, width=32)


def projected(project: Project, x_adv: Tensor, x: Tensor, eps: float) -> Tensor:
    return project(x_adv, x, eps=eps, out=torch.empty_like(x), **BOX)


def size(project: Project, point: Tensor, x: Tensor) -> np.ndarray:
    change = (point.double() - x.double()).flatten(1).numpy()
    lengths: np.ndarray = np.linalg.norm(change, ord=ORDERS[project.__name__], axis=1)
    return lengths


@engines
@projections
@settings(deadline=None, max_examples=60)
@given(pair=pairs(), eps=radii)
def test_a_projection_ends_inside_ball_and_box_and_stays_there(
    engine: str, project: Project, pair: tuple[Tensor, Tensor], eps: float
) -> None:
    x_adv, x = pair
    with kernels.using(engine):
        once = projected(project, x_adv, x, eps)
        twice = projected(project, once, x, eps)
    assert once.min() >= 0
    assert once.max() <= 1
    assert size(project, once, x).max() <= eps + 1e-6
    torch.testing.assert_close(twice, once, rtol=0, atol=1e-6)


@engines
@projections
@settings(deadline=None, max_examples=60)
@given(pair=pairs(), share=st.floats(0, 1))
def test_a_point_inside_ball_and_box_keeps_its_bits(
    engine: str, project: Project, pair: tuple[Tensor, Tensor], share: float
) -> None:
    x_adv, x = pair
    inside = (x + share * (x_adv - x)).clamp(0, 1)
    eps = float(size(project, inside, x).max()) * (1 + 1e-6)
    with kernels.using(engine):
        torch.testing.assert_close(projected(project, inside, x, eps), inside, rtol=0, atol=0)


@engines
@settings(deadline=None, max_examples=100)
@given(pair=pairs(), eps=st.floats(0.015625, 4, width=32))
def test_the_l1_projection_meets_the_conditions_of_optimality(
    engine: str, pair: tuple[Tensor, Tensor], eps: float
) -> None:
    """Karush-Kuhn-Tucker for a convex problem: a multiplier lam >= 0 explains every pixel."""
    x_adv, x = pair
    with kernels.using(engine):
        out = projected(kernels.project_l1, x_adv, x, eps)
    for wanted, found, centre in zip(*(t.double().numpy() for t in (x_adv, out, x)), strict=True):
        change, kept = wanted - centre, found - centre
        room = np.where(change > 0, 1 - centre, centre)
        np.testing.assert_array_equal(kept * change >= 0, True)
        lost, full = abs(change) - abs(kept), abs(kept) >= room - CLOSE
        blank = (abs(kept) <= CLOSE) & ~full
        free = ~blank & ~full
        slack = eps - abs(kept).sum() > 1e-5
        lam = 0.0 if slack else np.max(lost[~full], initial=0.0)
        np.testing.assert_allclose(lost[free], lam, rtol=0, atol=CLOSE)
        np.testing.assert_array_less(lost[blank], lam + CLOSE)
        np.testing.assert_array_less(np.minimum(lam, abs(change))[full], lost[full] + CLOSE)


@engines
def test_the_l1_projection_of_a_corner_has_its_closed_form(engine: str) -> None:
    x, out = torch.tensor([[0.5, 0.5, 0.9, 0.5]]), torch.empty(1, 4)
    x_adv = x + torch.tensor([[0.4, -0.2, 0.8, 0.0]])
    with kernels.using(engine):
        kernels.project_l1(x_adv, x, eps=0.5, out=out, **BOX)
    # Room stops the third pixel at 0.1; the first two share 0.4 after losing lam = 0.1 each.
    torch.testing.assert_close(out, x + torch.tensor([[0.3, -0.1, 0.1, 0.0]]))


@engines
def test_a_large_image_of_one_colour_does_not_leave_the_ball_by_rounding(engine: str) -> None:
    x = torch.full((2, 150_528), 0.3)
    x_adv = x + torch.linspace(0.2, 0.21, x.shape[1])
    with kernels.using(engine):
        assert size(kernels.project_l1, projected(kernels.project_l1, x_adv, x, 120), x).max() <= 120 * (1 + 1e-7)
        assert size(kernels.project_l2, projected(kernels.project_l2, x_adv, x, 2), x).max() <= 2 + 1e-6


@engines
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e18])
def test_the_l2_step_keeps_the_direction_of_tiny_and_huge_gradients(engine: str, scale: float) -> None:
    x, gradient, out = torch.full((1, 2), 0.5), torch.tensor([[3.0, -4.0]]) * scale, torch.empty(1, 2)
    with kernels.using(engine):
        kernels.step_l2(x, gradient, x, step=0.1, eps=1, out=out, **BOX)
    torch.testing.assert_close(out, torch.tensor([[0.56, 0.42]]))


@engines
def test_the_l1_step_passes_over_pixels_stuck_at_the_edge(engine: str) -> None:
    x, out = torch.tensor([[1.0, 0.0, 0.5, 0.5, 0.5]]), torch.empty(1, 5)
    gradient = torch.tensor([[9.0, -8.0, 3.0, -2.0, 1.0]])
    with kernels.using(engine):
        kernels.step_l1(x, gradient, x, step=0.2, eps=1, share=0.4, out=out, **BOX)
    torch.testing.assert_close(out, torch.tensor([[1.0, 0.0, 0.6, 0.4, 0.5]]))


@engines
def test_the_l1_step_has_its_full_length_with_ties_and_with_too_few_that_can_move(engine: str) -> None:
    x, out = torch.tensor([[0.5] * 4, [1.0, 1.0, 1.0, 0.5]]), torch.empty(2, 4)
    with kernels.using(engine):
        kernels.step_l1(x, torch.ones(2, 4), x - 0.1, step=0.04, eps=1, share=0.5, out=out, **BOX)
    torch.testing.assert_close(out - x, torch.tensor([[0.01] * 4, [0, 0, 0, 0.04]]))


@engines
def test_a_write_is_seen_by_autograd(engine: str) -> None:
    x = torch.full((1, 2), 0.5)
    leaf = torch.ones(1, 2, requires_grad=True)
    product = leaf * x
    with kernels.using(engine):
        kernels.project_linf(x, x, eps=0.1, out=x, **BOX)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.backward(product.sum())


@engines
def test_the_l2_projection_is_the_nearest_point_of_ball_and_box(engine: str) -> None:
    """By the variational inequality: no point of the set makes an acute angle with the way back to x_adv."""
    rng = torch.Generator().manual_seed(3)
    x = torch.rand(6, 40, generator=rng)
    x_adv = x + torch.randn(6, 40, generator=rng)
    with kernels.using(engine):
        nearest = kernels.project_l2(x_adv, x, eps=1.5, out=torch.empty_like(x), **BOX)
        others = [x + torch.randn(6, 40, generator=rng) * size for size in torch.rand(200, generator=rng)]
        others = [kernels.project_l2(one, x, eps=1.5, out=torch.empty_like(x), **BOX) for one in others]
    way_back = (x_adv - nearest).double()
    assert max(float((way_back * (one - nearest).double()).sum(1).max()) for one in others) <= 1e-5
    torch.testing.assert_close((nearest - x).norm(dim=1), torch.full((6,), 1.5), rtol=1e-5, atol=0)
