"""The balanced form does not see scales, whatever the shape, the zeros or the size."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harden.watermarking import balance
from harden.watermarking.balance import balanced, scales

SHAPES = st.one_of(
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3), st.integers(1, 3)),
)


def drawn(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rescaled(weight: torch.Tensor, seed: int, spread: float = 2.0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    tail = (1,) * (weight.dim() - 2)
    rows = torch.exp(spread * torch.randn(weight.shape[0], 1, *tail, generator=rng, dtype=torch.float64))
    columns = torch.exp(spread * torch.randn(1, weight.shape[1], *tail, generator=rng, dtype=torch.float64))
    return weight * rows * columns


@given(SHAPES, st.integers(0, 1000))
def test_scaled_rows_and_columns_leave_it_as_it_was(shape: tuple[int, ...], seed: int) -> None:
    weight = drawn(shape, seed)
    torch.testing.assert_close(balanced(rescaled(weight, seed + 1)), balanced(weight), rtol=2e-5, atol=2e-5)


@given(SHAPES, st.integers(0, 1000), st.floats(0.0, 0.9))
def test_it_has_mean_square_one_over_what_is_not_zero(shape: tuple[int, ...], seed: int, share: float) -> None:
    weight = drawn(shape, seed)
    weight[torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < share] = 0
    u = balanced(weight).double().flatten(2) if weight.dim() > 2 else balanced(weight).double()[:, :, None]
    live = u != 0
    assert torch.equal(live.flatten(1), (weight != 0).reshape(shape[0], -1))
    for axes in ((1, 2), (0, 2)):
        count = live.sum(dim=axes)
        square = u.square().sum(dim=axes)
        torch.testing.assert_close(
            square[count > 0] / count[count > 0], torch.ones(int((count > 0).sum())).double(), rtol=0.02, atol=0
        )


def test_a_pruned_layer_with_lonely_columns_stays_finite() -> None:
    """A column of one weight must not be blown up, nor its row die."""
    weight = drawn((8, 400), 1)
    weight[:, 40:] = 0
    weight[0, 40:] = 1.0
    u = balanced(weight)
    assert bool(torch.isfinite(u).all())
    assert float(u.abs().max()) < 5


def test_a_large_layer_is_balanced_as_a_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = rescaled(drawn((96, 80), 3), 4, spread=1.0).float()
    convolution = rescaled(drawn((48, 40, 3, 3), 5), 6, spread=1.0).float()
    small = [balanced(weight), balanced(convolution)]
    monkeypatch.setattr(balance, "SMALL", 0)
    monkeypatch.setattr(balance, "BLOCK", 1000)
    for one, other in zip(small, [balanced(weight), balanced(convolution)], strict=True):
        torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-3)


def test_signs_go_into_the_rows() -> None:
    weight = drawn((6, 5), 7)
    sign = torch.tensor([1.0, -1.0, 1.0, -1.0, -1.0, 1.0]).double()
    torch.testing.assert_close(balanced(weight * sign[:, None], sign), balanced(weight))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_every_type_of_float_is_taken(dtype: Any) -> None:
    weight = drawn((16, 24), 8)
    torch.testing.assert_close(balanced(weight.to(dtype)), balanced(weight), rtol=0.02, atol=0.02)


def test_empty_rows_and_columns_have_scale_zero() -> None:
    weight = drawn((5, 6), 9)
    weight[2], weight[:, 4] = 0, 0
    found = scales(weight)
    assert found.r[2] == 0
    assert found.c[4] == 0
    assert int((found.r > 0).sum() + (found.c > 0).sum()) == 9
