"""Every operation, on every engine, over shapes and layouts, against the NumPy reference."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from harden import kernels
from harden.kernels import reference

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
ENGINES = ("cuda",) if SIMULATED else ("torch", "numba")  # test_cuda.py starts a process for the simulator
SHAPES = ((0, 3, 4), (1, 1), (5,), (3, 7), (4, 3, 8, 8), (2, 1, 28, 28))[: 4 if SIMULATED else None]
RAN: set[str] = set()


@dataclass(frozen=True)
class Case:
    """An operation with its numbers, and how far an engine may be from the reference."""

    name: str
    numbers: dict[str, float]
    tolerance: float
    takes_gradient: bool


BOX = {"low": 0.0, "high": 1.0}
CASES = (
    Case("step_linf", BOX | {"step": 2 / 255, "eps": 8 / 255}, 0, True),
    Case("step_linf", {"low": -1.0, "high": 0.7, "step": 0.1, "eps": 0.0}, 0, True),
    Case("project_linf", BOX | {"eps": 8 / 255}, 0, False),
    Case("step_l2", BOX | {"step": 0.1, "eps": 0.5}, 5e-7, True),
    Case("step_l2", BOX | {"step": 3.0, "eps": 0.0}, 5e-7, True),
    Case("project_l2", BOX | {"eps": 0.5}, 5e-7, False),
    Case("step_l1", BOX | {"step": 1.0, "eps": 2.0, "share": 0.05}, 5e-7, True),
    Case("step_l1", BOX | {"step": 9.0, "eps": 0.0, "share": 1.0}, 5e-7, True),
    Case("project_l1", BOX | {"eps": 1.5}, 5e-7, False),
    Case("project_l1", BOX | {"eps": 0.0}, 5e-7, False),
)


def named(case: Case) -> str:
    return f"{case.name}-eps{case.numbers['eps']:.2g}"


def images(shape: tuple[int, ...], case: Case) -> tuple[Tensor, Tensor, Tensor]:
    """(x_adv, gradient, x): some pixels on the box's edge, some outside it, some gradients zero."""
    rng = torch.Generator().manual_seed(7)
    low, high = case.numbers["low"], case.numbers["high"]
    x = torch.empty(shape).uniform_(low, high, generator=rng)
    x_adv = x + 0.1 * torch.randn(shape, generator=rng)
    x_adv = torch.where(torch.rand(shape, generator=rng) < 0.5, x_adv.clamp(low, high), x_adv)
    gradient = torch.randn(shape, generator=rng) * (torch.rand(shape, generator=rng) < 0.8)
    return x_adv, gradient, x


def computed(case: Case, x_adv: Tensor, gradient: Tensor, x: Tensor, out: Tensor) -> Tensor:
    operation: Callable[..., Tensor] = getattr(kernels, case.name)
    tensors = (x_adv, gradient, x) if case.takes_gradient else (x_adv, x)
    return operation(*tensors, **case.numbers, out=out)


def defined(case: Case, x_adv: Tensor, gradient: Tensor, x: Tensor) -> np.ndarray:
    RAN.add("reference")
    definition: Callable[..., np.ndarray] = getattr(reference, case.name)
    tensors = (x_adv, gradient, x) if case.takes_gradient else (x_adv, x)
    flat = (tensor.numpy().reshape(len(x), math.prod(x.shape[1:])) for tensor in tensors)
    return definition(*flat, **case.numbers).reshape(x.shape)


def check(case: Case, actual: Tensor, wanted: np.ndarray) -> None:
    if case.tolerance == 0:
        np.testing.assert_array_equal(actual.numpy().view(np.int32), wanted.view(np.int32))
    else:
        np.testing.assert_allclose(actual.numpy(), wanted, rtol=0, atol=case.tolerance)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("case", CASES, ids=named)
@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_computes_what_the_reference_defines(engine: str, case: Case, shape: tuple[int, ...]) -> None:
    x_adv, gradient, x = images(shape, case)
    kept = x_adv.clone(), gradient.clone(), x.clone()
    out = torch.full_like(x, math.nan)
    with kernels.using(engine):
        assert computed(case, x_adv, gradient, x, out) is out
    RAN.add(engine)
    check(case, out, defined(case, x_adv, gradient, x))
    torch.testing.assert_close((x_adv, gradient, x), kept, rtol=0, atol=0)


@pytest.mark.parametrize("case", CASES, ids=named)
@pytest.mark.parametrize("engine", ENGINES)
def test_out_may_be_x_adv(engine: str, case: Case) -> None:
    x_adv, gradient, x = images((4, 3, 5), case)
    with kernels.using(engine):
        apart = computed(case, x_adv, gradient, x, torch.empty_like(x))
        in_place = computed(case, x_adv, gradient, x, x_adv)
    torch.testing.assert_close(in_place, apart, rtol=0, atol=0)


@pytest.mark.skipif(SIMULATED, reason="the simulator has engine cuda alone")
@pytest.mark.parametrize("case", CASES, ids=named)
def test_any_layout_and_float64_are_computed(case: Case) -> None:
    x_adv, gradient, x = images((4, 3, 5, 6), case)
    wanted = defined(case, x_adv, gradient, x)
    last = (tensor.to(memory_format=torch.channels_last) for tensor in (x_adv, gradient, x, torch.empty_like(x)))
    check(case, computed(case, *last).contiguous(), wanted)
    doubles = computed(case, x_adv.double(), gradient.double(), x.double(), torch.empty_like(x).double())
    np.testing.assert_allclose(doubles.numpy(), wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", [case for case in CASES if case.takes_gradient], ids=named)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_gradient_of_zeros_or_nan_moves_nothing(engine: str, case: Case) -> None:
    _, gradient, x = images((4, 3, 5), case)
    for blank in (gradient * math.nan, gradient * 0):
        with kernels.using(engine):
            torch.testing.assert_close(computed(case, x, blank, x, torch.empty_like(x)), x, rtol=0, atol=0)


@pytest.mark.parametrize("engine", ENGINES)
def test_one_nan_in_a_gradient_stops_its_pixel_or_where_a_norm_needs_it_its_sample(engine: str) -> None:
    x, out = torch.full((2, 4), 0.5), torch.empty(2, 4)
    gradient = torch.tensor([[1.0, math.nan, -1.0, 0.5], [3.0, 0.0, 4.0, 0.0]])
    with kernels.using(engine):
        linf = kernels.step_linf(x, gradient, x, step=0.1, eps=1, out=out, **BOX) - x
        torch.testing.assert_close(linf, 0.1 * torch.tensor([[1.0, 0, -1, 1], [1, 0, 1, 0]]))
        l2 = kernels.step_l2(x, gradient, x, step=0.1, eps=1, out=out, **BOX) - x
        torch.testing.assert_close(l2, torch.tensor([[0.0, 0, 0, 0], [0.06, 0, 0.08, 0]]))
        l1 = kernels.step_l1(x, gradient, x, step=0.1, eps=1, share=0.5, out=out, **BOX) - x
        torch.testing.assert_close(l1, torch.tensor([[0.05, 0, -0.05, 0], [0.05, 0, 0.05, 0]]))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("engine", ENGINES)
def test_uniform_has_the_bits_of_the_reference(engine: str, shape: tuple[int, ...]) -> None:
    rows = torch.tensor([0, 1, -1, 2**40 + 3, 2**63 - 1])[: shape[0]]
    key, draw = 0xFEDCBA9876543210, 2**32 - 1
    with kernels.using(engine):
        out = kernels.uniform(key, rows, low=-8 / 255, high=0.3, draw=draw, out=torch.empty(shape))
    wanted = reference.uniform(key, rows.numpy(), math.prod(shape[1:]), low=-8 / 255, high=0.3, draw=draw)
    np.testing.assert_array_equal(out.numpy().view(np.int32), wanted.reshape(shape).view(np.int32))


def test_the_reference_and_all_engines_ran() -> None:
    wanted = {"reference", *ENGINES}
    if not RAN:
        pytest.skip("the table above was deselected, or ran in another process")
    assert wanted == RAN
    assert set(kernels.available()) >= set(ENGINES)


@pytest.mark.parametrize("euclidean", [False, True])
@pytest.mark.parametrize("engine", ENGINES)
def test_the_step_onto_a_plane_is_the_references(engine: str, euclidean: bool) -> None:
    rng = torch.Generator().manual_seed(3)
    point, normal = torch.rand(40, 60, generator=rng), torch.randn(40, 60, generator=rng)
    point[:, :10], normal[:, 5:15] = point[:, :10].round(), 0.0  # at the box's edge, and pixels that do not matter
    offset = torch.randn(40, generator=rng) * torch.logspace(-3, 2, 40)  # from near planes to ones out of reach
    offset[0] = 0.0
    out = torch.empty_like(point)
    with kernels.using(engine):
        kernels.onto_plane(point, normal, offset, euclidean=euclidean, out=out, **BOX)
    wanted = reference.onto_plane(point.numpy(), normal.numpy(), offset.numpy(), euclidean=euclidean, **BOX)
    np.testing.assert_allclose(out.numpy(), wanted, rtol=0, atol=2e-5)
    assert (out[0] == 0).all()


def test_a_plane_needs_one_offset_a_point() -> None:
    point = torch.rand(3, 4)
    with pytest.raises(ValueError, match="wanted one number a sample"):
        kernels.onto_plane(point, point, torch.zeros(2), euclidean=True, out=torch.empty(3, 4), **BOX)
    with pytest.raises(ValueError, match=r"must be \(n, pixels\)"):
        kernels.onto_plane(point[None], point[None], torch.zeros(1), euclidean=True, out=torch.empty(1, 3, 4), **BOX)
