"""Random start, Auto-PGD's move and best points, losses of logits: every engine against the NumPy reference."""

import math
import os
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from harden import kernels
from harden.attacks import losses
from harden.kernels import reference

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
ENGINES = ("cuda",) if SIMULATED else ("torch", "numba")  # test_cuda.py starts a process for the simulator
SHAPES = ((0, 3, 4), (1, 1), (5, 3), (3, 2, 3, 3))
BALL = {"eps": 8 / 255, "low": 0.0, "high": 1.0}
FEWEST = {"margin": 2, "dlr": 3, "targeted_dlr": 4}
TOLERANCE = {"margin": 0.0, "dlr": 1e-6, "targeted_dlr": 1e-6}
"""Of a loss's value and gradient, relative and absolute."""

engines = pytest.mark.parametrize("engine", ENGINES)
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
names = pytest.mark.parametrize("name", FEWEST)


def flat(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.numpy().reshape(len(tensor), math.prod(tensor.shape[1:]))
    return array


def same_bits(found: Tensor, wanted: np.ndarray) -> None:
    np.testing.assert_array_equal(found.numpy().view(np.int32), wanted.reshape(found.shape).view(np.int32))


def points(shape: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x_adv, before, gradient (with zeros and a NaN) and x."""
    rng = torch.Generator().manual_seed(5)
    x = torch.rand(shape, generator=rng)
    x_adv, before = ((x + 0.06 * torch.rand(shape, generator=rng) - 0.03).clamp(0, 1) for _ in range(2))
    gradient = torch.randn(shape, generator=rng) * (torch.rand(shape, generator=rng) < 0.8)
    if gradient.numel():
        gradient.view(-1)[-1] = math.nan
    return x_adv, before, gradient, x


def logits_of(classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logits with ties and an extreme row, labels and targets; one of each out of range, one NaN, one infinite."""
    rng = torch.Generator().manual_seed(classes)
    z = torch.randn(9, classes, generator=rng) * 5
    z[0] = 0.0
    z[1] *= 1e4
    z[2, 0] = z[2, 1]
    y = torch.randint(classes, (9,), generator=rng)
    target = (y + 1) % classes
    y[3], target[4], z[5, 0], z[6, -1], y[7] = -1, classes, math.nan, -math.inf, classes
    return z, y, target


@engines
@shapes
def test_a_random_start_has_the_bits_of_the_reference_and_of_the_threat_models(
    engine: str, shape: tuple[int, ...]
) -> None:
    _, _, _, x = points(shape)
    rows = torch.tensor([3, -1, 2**40, 0, 7])[: len(x)]
    with kernels.using(engine):
        out = kernels.start_linf(11, rows, x, draw=2, out=torch.empty_like(x), **BALL)
        unit = kernels.uniform(11, rows, low=-1.0, high=1.0, draw=2, out=torch.empty_like(x))
    same_bits(out, reference.start_linf(11, rows.numpy(), flat(x), draw=2, **BALL))
    assert torch.equal(out, (x + 8 / 255 * unit).clamp(0, 1))


@engines
@shapes
@pytest.mark.parametrize("share", [1.0, 0.75])
def test_auto_pgds_move_has_the_bits_of_the_reference_in_place_too(
    engine: str, shape: tuple[int, ...], share: float
) -> None:
    x_adv, before, gradient, x = points(shape)
    size = torch.linspace(0.001, 0.06, len(x)) if len(x) else torch.empty(0)
    arrays = flat(x_adv), flat(before), flat(gradient), flat(x)
    wanted = reference.apgd_linf(*arrays, size=size.numpy(), share=share, **BALL)  # type: ignore[arg-type]
    with kernels.using(engine):
        out = kernels.apgd_linf(
            x_adv, before, gradient, x, size=size, share=share, out=torch.full_like(x, math.nan), **BALL
        )
        same_bits(out, wanted)
        assert kernels.apgd_linf(x_adv, before, gradient, x, size=size, share=share, out=before, **BALL) is before
    same_bits(before, wanted)


@engines
@shapes
def test_the_best_points_are_kept_and_nan_counts_as_infinite(engine: str, shape: tuple[int, ...]) -> None:
    x_adv, best, gradient, best_gradient = points(shape)
    gradient, best_gradient = gradient.nan_to_num(), best_gradient.clone()
    loss = torch.tensor([2.0, math.nan, 1.0, -math.inf, 0.5])[: len(x_adv)]
    best_loss = torch.tensor([1.0, 5.0, 1.0, -math.inf, 0.0])[: len(x_adv)]
    arrays = flat(x_adv), flat(gradient), loss.numpy(), flat(best), flat(best_gradient), best_loss.numpy()
    wanted = reference.keep_best(*(one.copy() for one in arrays))
    with kernels.using(engine):
        kernels.keep_best(x_adv, gradient, loss, best=best, best_gradient=best_gradient, best_loss=best_loss)
    for found, right in zip((best, best_gradient, best_loss), wanted, strict=True):
        same_bits(found, right)


@engines
@names
@pytest.mark.parametrize("extra", [0, 1, 7])
def test_a_loss_and_its_gradient_are_the_references(engine: str, name: str, extra: int) -> None:
    z, y, target = logits_of(FEWEST[name] + extra)
    classes = (y, target) if name == "targeted_dlr" else (y,)
    value, gradient = torch.empty(len(z)), torch.full_like(z, 9.0)
    operation: Callable[..., Tensor] = getattr(kernels, name)
    with kernels.using(engine):
        assert operation(z, *classes, value=value, gradient=gradient) is value
    right, slope = getattr(reference, name)(z.numpy(), *(one.numpy() for one in classes))
    near = TOLERANCE[name]
    np.testing.assert_allclose(value[1:].numpy(), right[1:], rtol=near, atol=near)
    np.testing.assert_allclose(gradient[1:].numpy(), slope[1:], rtol=near, atol=near)
    np.testing.assert_allclose(gradient[0], slope[0], rtol=1e-5)  # where all are equal, by 1e-12: 1e12 and more
    blank = [3, 5, 6, 7] + ([4] if name == "targeted_dlr" else [])
    assert value[blank].isnan().all()
    assert not gradient[blank].any()


@engines
@names
def test_a_gradient_is_what_autograd_finds_for_the_attacks_loss(engine: str, name: str) -> None:
    z, y, target = (one[[1, 8]] for one in logits_of(10))
    classes = (y, target) if name == "targeted_dlr" else (y,)
    value, gradient = torch.empty(len(z)), torch.empty_like(z)
    with kernels.using(engine):
        getattr(kernels, name)(z, *classes, value=value, gradient=gradient)
    leaf = z.clone().requires_grad_(True)
    wanted = getattr(losses, name)(leaf, *classes)
    (slope,) = torch.autograd.grad(wanted.sum(), leaf)
    torch.testing.assert_close(value, wanted.detach(), rtol=1e-6, atol=0)
    torch.testing.assert_close(gradient, slope, rtol=2e-6, atol=1e-7)


@names
def test_no_sample_has_no_loss(name: str) -> None:
    none, z = torch.empty(0, dtype=torch.int64), torch.empty(0, 5)
    classes = (none, none) if name == "targeted_dlr" else (none,)
    assert getattr(kernels, name)(z, *classes, value=torch.empty(0), gradient=torch.empty(0, 5)).shape == (0,)


@pytest.mark.skipif(SIMULATED, reason="the simulator has engine cuda alone")
@names
def test_float64_and_any_layout_are_computed(name: str) -> None:
    z, y, target = logits_of(6)
    classes = (y, target) if name == "targeted_dlr" else (y,)
    right, slope = getattr(reference, name)(z.numpy(), *(one.numpy() for one in classes))
    for logits in (z.double(), z.t().contiguous().t()):
        value, gradient = logits.new_empty(len(z)), torch.empty_like(logits)
        getattr(kernels, name)(logits, *classes, value=value, gradient=gradient)
        np.testing.assert_allclose(value[1:], right[1:], rtol=1e-6)
        np.testing.assert_allclose(gradient[1:], slope[1:], rtol=2e-6, atol=1e-7)


def test_what_does_not_fit_is_refused_with_shapes_and_dtypes() -> None:
    z, y = torch.rand(3, 4), torch.zeros(3, dtype=torch.int64)
    outs = {"value": torch.empty(3), "gradient": torch.empty(3, 4)}
    with pytest.raises(ValueError, match=r"logits must be \(n, 3 or more\) .* got float32 \(3, 2\) on cpu"):
        kernels.dlr(torch.rand(3, 2), y, **outs)
    with pytest.raises(
        ValueError, match=r"y is int32 \(3,\) on cpu, logits is float32 \(3, 4\) on cpu; wanted one int64"
    ):
        kernels.margin(z, y.int(), **outs)
    with pytest.raises(ValueError, match=r"gradient is float32 \(3, 3\) on cpu"):
        kernels.margin(z, y, value=outs["value"], gradient=torch.empty(3, 3))
    with pytest.raises(ValueError, match=r"target is int64 \(2,\) on meta"):
        kernels.targeted_dlr(z, y, torch.zeros(2, dtype=torch.int64, device="meta"), **outs)
    with pytest.raises(ValueError, match=r"size is float32 \(2,\) on cpu, the points are float32 \(3, 4\)"):
        kernels.apgd_linf(z, z, z, z, size=torch.ones(2), share=1.0, out=torch.empty(3, 4), **BALL)
    with pytest.raises(ValueError, match=r"loss is float64 \(3,\)"):
        kernels.keep_best(z, z, torch.ones(3).double(), best=z, best_gradient=z, best_loss=torch.ones(3))
