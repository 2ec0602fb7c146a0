"""Square's patches: pasted as the reference does, taken back without a trace."""

import os
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from harden import kernels
from harden.kernels import reference

LIMITS: dict[str, Any] = {"eps": 0.1, "low": 0.0, "high": 1.0}

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
ENGINES = ("cuda",) if SIMULATED else ("torch", "numba")  # test_cuda.py starts a process for the simulator
engines = pytest.mark.parametrize("engine", ENGINES)
shapes = pytest.mark.parametrize(
    ("shape", "side"), [((6, 1, 8, 8), 3), ((5, 3, 6, 9), 6), ((4, 2, 5, 4), 1), ((0, 1, 4, 4), 2)]
)


def images(shape: tuple[int, ...], side: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """x_adv, x, corners of which the last two do not fit, leaps, and a place for what stood there."""
    rng = torch.Generator().manual_seed(3)
    n, channels, height, width = shape
    x = torch.rand(shape, generator=rng)
    x_adv = (x + 0.2 * (torch.rand(shape, generator=rng) - 0.5)).clamp(x - 0.1, x + 0.1).clamp(0, 1)
    row = torch.randint(height - side + 1, (n,), generator=rng)
    corner = row * width + torch.randint(width - side + 1, (n,), generator=rng)
    corner[-2:] = torch.tensor([-1, height * width - 1 if side > 1 else -5])[: len(corner[-2:])]
    leap = torch.where(torch.rand(n, channels, generator=rng) < 0.5, -0.2, 0.2)
    return x_adv, x, corner, leap, torch.zeros(n, channels, side, side)


@engines
@shapes
def test_a_patch_is_pasted_as_the_reference_does_bit_for_bit(engine: str, shape: tuple[int, ...], side: int) -> None:
    x_adv, x, corner, leap, old = images(shape, side)
    arrays = x_adv.numpy().copy(), x.numpy(), corner.numpy(), leap.numpy()
    wanted, moved = reference.paste(*arrays, side=side, **LIMITS)
    with kernels.using(engine):
        changed = kernels.paste(x_adv, x, corner, leap, side=side, old=old, **LIMITS)
    np.testing.assert_array_equal(x_adv.numpy(), wanted)
    np.testing.assert_array_equal(changed.numpy(), moved)
    assert not changed[-2:].any()
    assert changed[:-2].any() or len(changed) < 3


@engines
@shapes
def test_what_is_not_kept_is_as_it_was(engine: str, shape: tuple[int, ...], side: int) -> None:
    x_adv, x, corner, leap, old = images(shape, side)
    before, kept = x_adv.clone(), torch.arange(len(x)) % 2 == 0
    with kernels.using(engine):
        kernels.paste(x_adv, x, corner, leap, side=side, old=old, **LIMITS)
        pasted = x_adv.clone()
        assert kernels.take_back(x_adv, corner, kept, side=side, old=old) is x_adv
    assert torch.equal(x_adv[kept], pasted[kept])
    assert torch.equal(x_adv[~kept], before[~kept])


def test_float64_is_pasted_by_torch() -> None:
    x_adv, x, corner, leap, old = (one.double() if one.is_floating_point() else one for one in images((6, 1, 8, 8), 3))
    assert kernels.engine_for(x_adv, corner) == "torch"
    changed = kernels.paste(x_adv, x, corner, leap, side=3, old=old, **LIMITS)
    assert changed[:-2].all()
    assert (x_adv - x).abs().max() <= 0.1 + 1e-8


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"corner": torch.zeros(6)}, r"corner is float32 \(6,\) on cpu, x_adv is .*; wanted one int64 a sample"),
        ({"leap": torch.zeros(6, 2)}, r"leap is float32 \(6, 2\) on cpu"),
        ({"old": torch.zeros(6, 1, 3, 4)}, r"old is float32 \(6, 1, 3, 4\) on cpu, wanted contiguous \(6, 1, 3, 3\)"),
        ({"x_adv": torch.zeros(6, 8, 8, 1).permute(0, 3, 2, 1)}, "x_adv must be contiguous"),
        ({"x": torch.zeros(6, 1, 8, 9)}, r"x is float32 \(6, 1, 8, 9\)"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(wrong: dict[str, Tensor], message: str) -> None:
    names = ("x_adv", "x", "corner", "leap", "old")
    given = dict(zip(names, images((6, 1, 8, 8), 3), strict=True)) | wrong
    with pytest.raises(ValueError, match=message):
        kernels.paste(**given, side=3, **LIMITS)  # type: ignore[arg-type]
    x_adv, _, corner, _, old = images((6, 1, 8, 8), 3)
    with pytest.raises(ValueError, match="kept is int64"):
        kernels.take_back(x_adv, corner, torch.zeros(6, dtype=torch.int64), side=3, old=old)
