"""What the kernel, attack and growth benchmarks compare does the same work, and what they compute is right."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

SCRIPTS = Path(__file__).parents[1] / "scripts"

Script = Callable[[Path], ModuleType]


def test_textbook_torch_and_the_kernels_compute_the_same(script: Script) -> None:
    bench = script(SCRIPTS / "bench_kernels.py")
    assert set(bench.TEXTBOOK) == set(bench.CALLS) == set(bench.PASSES) - {"keep_best"}
    for name in set(bench.TEXTBOOK) - {"start_linf"}:  # that one draws
        given = bench.tensors((6, 200), torch.device("cpu"))
        wanted = bench.TEXTBOOK[name](**given)
        bench.CALLS[name](**given)
        torch.testing.assert_close(given["out"], wanted, rtol=0, atol=1e-6)
        assert (given["out"] != given["x_adv"]).any()


def test_every_engine_at_hand_has_a_row(script: Script) -> None:
    bench = script(SCRIPTS / "bench_kernels.py")
    assert set(bench.rows_of("step_linf", (2, 8), torch.device("cpu"))) == {"textbook torch", "torch", "numba"}


def test_all_rows_of_the_attack_benchmark_attack_within_the_ball(script: Script) -> None:
    script_of = script(SCRIPTS / "bench_attacks.py")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    x, y = torch.rand(8, 1, 4, 4), torch.randint(3, (8,))
    bench = script_of.Bench(model, x, y, eps=0.2, step=0.05, steps=4)
    ours = bench.ours()
    assert (ours - x).abs().max() <= 0.2 + 1e-6
    assert torch.equal(bench.ours_folded(), ours) or (bench.ours_folded() - ours).abs().max() < 0.11
    assert torch.equal(bench.passes(), x)
    found = {"speeds": {"harden": [4.0, 6.0], "Foolbox": [2.0, 2.0]}}
    assert script_of.ratios(found, "Foolbox") == [2.0, 3.0]


def test_a_power_is_found_from_its_points(script: Script) -> None:
    bench = script(SCRIPTS / "bench_growth.py")
    assert bench.slope([1, 2, 4, 8], [3.0, 12.0, 48.0, 192.0]) == pytest.approx(2.0)
    assert bench.slope([1, 2], [0.0, 1.0]) != bench.slope([1, 2], [0.0, 1.0])
    assert bench.amount("side", {"side": 28}, {"pixels": 784.0}) == 784.0
