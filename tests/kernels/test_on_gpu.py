"""On a CUDA device: the engines there against the reference on the CPU, and capture in a graph. Never run so far."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from harden import kernels
from harden.kernels import reference

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
BALL: dict[str, Any] = {"eps": 8 / 255, "low": 0.0, "high": 1.0}
SHAPES = ((1, 1), (5, 3072), (64, 3000), (2, 150_528))
STEPS: dict[str, tuple[dict[str, float], float]] = {
    "step_linf": ({"step": 0.01}, 0.0),
    "step_l2": ({"step": 0.1, "eps": 0.5}, 5e-7),
    "step_l1": ({"step": 1.0, "eps": 2.0, "share": 0.05}, 5e-7),
}
engines = pytest.mark.parametrize("engine", ["torch", "cuda"])


def points(shape: tuple[int, int]) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    x = torch.rand(shape, generator=rng)
    x_adv = (x + 0.06 * torch.rand(shape, generator=rng) - 0.03).clamp(0, 1)
    return [x_adv, torch.randn(shape, generator=rng), x]


@engines
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", STEPS)
def test_a_step_is_the_references(name: str, engine: str, shape: tuple[int, int]) -> None:
    numbers, tolerance = STEPS[name]
    given = points(shape)
    wanted = getattr(reference, name)(*(one.numpy() for one in given), **(BALL | numbers))
    with kernels.using(engine):
        on_gpu = [one.cuda() for one in given]
        found = getattr(kernels, name)(*on_gpu, **(BALL | numbers), out=torch.full_like(on_gpu[0], math.nan)).cpu()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance)


@engines
@pytest.mark.parametrize("shape", SHAPES[:3], ids=str)
def test_a_random_start_has_the_bits_of_the_cpu(engine: str, shape: tuple[int, int]) -> None:
    x, rows = points(shape)[2], torch.arange(shape[0])
    wanted = kernels.start_linf(7, rows, x, out=torch.empty_like(x), **BALL)
    with kernels.using(engine):
        found = kernels.start_linf(7, rows.cuda(), x.cuda(), out=torch.empty_like(x, device="cuda"), **BALL)
    assert torch.equal(found.cpu(), wanted)


def test_a_step_in_a_graph_is_the_step() -> None:
    x_adv, gradient, x = (one.cuda() for one in points((64, 3072)))
    out, graph = torch.empty_like(x), torch.cuda.CUDAGraph()
    with kernels.using("cuda"):
        wanted = kernels.step_linf(x_adv, gradient, x, step=0.01, out=torch.empty_like(x), **BALL)
        with torch.cuda.graph(graph):
            kernels.step_linf(x_adv, gradient, x, step=0.01, out=out, **BALL)
    graph.replay()
    assert torch.equal(out, wanted)
