"""Edits that cost accuracy, against closed forms; formats against their own definitions."""

import pytest
import torch

from harden.seeds import stream
from harden.watermarking.edits import blunt, formats, mixing
from harden.watermarking.edits.kernels import kernels_of

RNG = stream(0, "blunt edits")


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    """Two kernels of different loudness, a bias, and a constant per pixel channel that is no kernel."""
    rng = RNG.generator()
    return {
        "a.weight": torch.randn(40, 30, 3, 3, generator=rng),
        "a.bias": torch.randn(40, generator=rng),
        "b.weight": 10 * torch.randn(50, 40, generator=rng) + 1,
        "mean": torch.full((3, 1, 1), 0.5),
        "steps": torch.tensor(3),
    }


def test_kernels_are_found_by_shape(weights: dict[str, torch.Tensor]) -> None:
    assert kernels_of(weights) == ["a.weight", "b.weight"]


@pytest.mark.parametrize("share", [0.0, 0.5, 0.8, 0.99, 1.0])
def test_pruning_by_layer_removes_the_smallest_share_of_each(weights: dict[str, torch.Tensor], share: float) -> None:
    after = blunt.pruned_by_layer(weights, share)
    for name in ("a.weight", "b.weight"):
        gone = after[name] == 0
        assert int(gone.sum()) == round(share * gone.numel())
        if 0 < share < 1:
            assert weights[name][gone].abs().max() < weights[name][~gone].abs().min()
    assert torch.equal(after["a.bias"], weights["a.bias"])


def test_global_pruning_takes_the_quiet_layer_first(weights: dict[str, torch.Tensor]) -> None:
    after = blunt.pruned(weights, 0.5)
    zeros = {name: int((after[name] == 0).sum()) for name in ("a.weight", "b.weight")}
    assert sum(zeros.values()) == round(0.5 * (10800 + 2000))
    assert zeros["a.weight"] / 10800 > zeros["b.weight"] / 2000


def test_noise_has_the_size_that_was_asked_for(weights: dict[str, torch.Tensor]) -> None:
    after = blunt.noisy(weights, 0.3, rng=RNG)
    for name in ("a.weight", "b.weight"):
        noise = after[name] - weights[name]
        assert noise.std().item() == pytest.approx(0.3 * weights[name].std().item(), rel=0.05)
        assert abs(torch.corrcoef(torch.stack([noise.flatten(), weights[name].flatten()]))[0, 1]) < 0.06


def test_shifting_moves_the_mean_of_every_filter(weights: dict[str, torch.Tensor]) -> None:
    after = blunt.shifted(weights, 1.5, rng=RNG)["b.weight"]
    row = weights["b.weight"]
    expected = (-0.5 * row.mean(dim=1)).mean().item()
    assert after.mean().item() == pytest.approx(expected, abs=4 * row.std().item() * 2**0.5 / 2000**0.5)
    assert after.std().item() == pytest.approx(2**0.5 * row.std().item(), rel=0.05)


@pytest.mark.parametrize("bits", [4, 5, 6, 8])
def test_quantised_weights_lie_within_half_a_step_of_their_channel(weights: dict[str, torch.Tensor], bits: int) -> None:
    after = formats.quantised(weights, bits)
    for name in ("a.weight", "b.weight"):
        rows, new = weights[name].flatten(1), after[name].flatten(1)
        step = rows.abs().amax(dim=1) / (2 ** (bits - 1) - 1)
        assert ((rows - new).abs().amax(dim=1) <= 0.5001 * step).all()
        assert max(len(row.unique()) for row in new) <= 2**bits - 1


def test_an_empty_channel_is_quantised_to_zeros() -> None:
    assert torch.equal(formats.quantised({"w": torch.zeros(3, 4)}, 8)["w"], torch.zeros(3, 4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rounding_is_what_the_format_holds(weights: dict[str, torch.Tensor], dtype: torch.dtype) -> None:
    after = formats.rounded(weights, dtype)
    assert after["a.weight"].dtype == torch.float32
    assert torch.equal(after["a.weight"].to(dtype), weights["a.weight"].to(dtype))
    assert torch.equal(after["steps"], weights["steps"])


def test_averages_are_averages(weights: dict[str, torch.Tensor]) -> None:
    double = {name: 2 * tensor for name, tensor in weights.items()}
    torch.testing.assert_close(mixing.averaged(weights, [double])["a.bias"], 1.5 * weights["a.bias"])
    torch.testing.assert_close(mixing.averaged(weights, [double, double], own=0.5)["a.bias"], 1.5 * weights["a.bias"])


def test_what_is_taken_away_is_gone(weights: dict[str, torch.Tensor]) -> None:
    part = {"a.bias": torch.ones(40)}
    after = mixing.less(weights, part, 2.0)
    torch.testing.assert_close(after["a.bias"], weights["a.bias"] - 2)
    assert after["b.weight"] is weights["b.weight"]
