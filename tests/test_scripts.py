"""The scripts run as they are, and what they compute is right."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from harden.attacks import Keep, Pgd
from harden.data import Mnist
from harden.errors import DataError, HardenError
from harden.models import Cnn
from harden.training import Recipe, Schedule, Shape

SCRIPT = Path(__file__).parents[1] / "scripts" / "bench_training.py"


@pytest.fixture(scope="module")
def bench(script: Callable[[Path], ModuleType]) -> ModuleType:
    return script(SCRIPT)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    schedule = Schedule(epochs=1, batch_size=8, shape=Shape.constant, ramp=0.0, validation=1)
    return Recipe(
        data=Mnist(), model=Cnn(channels=[2, 2], hidden=4), attack=Pgd(steps=3, keep=Keep.last), schedule=schedule
    )


def test_a_ratio_is_told_by_medians_and_by_rounds(bench: ModuleType) -> None:
    one = bench.ratio([8.0, 2.0, 6.0], [1.0, 2.0, 4.0])
    assert (one.of_medians, one.paired_median, one.paired_low, one.paired_high) == (3.0, 1.5, 1.0, 8.0)


def test_passes_are_counted_by_image_and_kind(bench: ModuleType) -> None:
    model = nn.Linear(3, 2)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.ones(5, 3)

    def train() -> None:
        with torch.no_grad():
            model(x)  # forward alone
        wanted = x.clone().requires_grad_(True)
        torch.autograd.grad(model(wanted).sum(), wanted)  # and back to the input
        model(x[:4]).sum().backward()  # and back to the weights
        optimiser.step()

    with bench.counting(bench.Contender(model, optimiser, train)) as count:
        train()
    train()  # uncounted
    assert {name: count[name] for name in ("forward", "backward", "weights", "updates")} == {
        "forward": 5 + 5 + 4,
        "backward": 5 + 4,
        "weights": 4,
        "updates": 1,
    }


def test_bare_harden_needs_two_passes_a_step_and_three_to_learn(bench: ModuleType, recipe: Recipe) -> None:
    data = bench.cut(bench.noise(200), 64)
    proof = bench.prove(bench.of_harden_bare(recipe, data), data)
    validation = 13 / 64  # the one held-out image: clean, ten steps, the last iterate, the judge's own look
    assert proof.updates == 8
    assert proof.weights == 1.0
    assert 3 + 1 <= proof.forward <= 3 + 1 + validation
    assert 3 + 1 <= proof.backward <= 3 + 1 + validation


def test_the_row_with_a_watchdog_trains_until_its_look_and_looks_once(bench: ModuleType, recipe: Recipe) -> None:
    batches = bench.batches_of(recipe, fewest=2)
    assert batches[bench.OURS] == recipe.watchdog.stride(steps_per_epoch=2, batch_size=8, passes=3)
    assert {count for name, count in batches.items() if name != bench.OURS} == {2}


def test_a_row_that_does_not_learn_is_refused(bench: ModuleType) -> None:
    learned = bench.Proof(10, 8, 8, 4, loss_before=2.3, loss_after=2.0)
    bench.check("ART", learned, batches=4)
    with pytest.raises(HardenError, match="ART: 4 optimiser steps, wanted 5"):
        bench.check("ART", learned, batches=5)
    idle = bench.Proof(10, 8, 8, 4, loss_before=2.3, loss_after=2.3)
    with pytest.raises(HardenError, match="does not train"):
        bench.check("ART", idle, batches=4)


def test_too_few_images_are_refused_with_both_counts(bench: ModuleType) -> None:
    with pytest.raises(DataError, match="30 training images, wanted 33"):
        bench.cut(bench.noise(30), 32)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("art") is None, reason="ART is not installed")
def test_the_benchmark_of_training_runs_against_art_without_mnist(tmp_path: Path) -> None:
    arguments = ["--rounds", "1", "--batches", "2", "--batch-size", "256", "--steps", "1", "--threads", "1"]
    done = subprocess.run(
        [sys.executable, SCRIPT, *arguments, "--json", tmp_path / "bench.json"],
        env=os.environ | {"HARDEN_DATA": str(tmp_path / "empty")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "bench.json").read_text())
    assert "synthetic noise" in found["facts"]["data"]
    tuned = found["proofs"]["ART tuned"]
    # K + 3 forward passes (two of them only for a log line), all K + 1 backward passes with weight gradients
    assert (tuned["forward"], tuned["backward"], tuned["weights"]) == (1 + 3, 1 + 1, 1 + 1)
    assert "| harden / ART tuned |" in done.stdout


def test_a_folder_without_mnist_is_an_error_not_noise(tmp_path: Path, bench: ModuleType) -> None:
    with pytest.raises(DataError, match="no MNIST files"):
        bench.mnist(str(tmp_path), images=10)


EVALUATION = SCRIPT.with_name("bench_evaluation.py")


@pytest.fixture(scope="module")
def bench_evaluation(script: Callable[[Path], ModuleType]) -> ModuleType:
    return script(EVALUATION)


def test_the_benchmark_of_evaluation_reports_ratios_and_agreement(
    bench_evaluation: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    from types import SimpleNamespace

    bench = SimpleNamespace(index=torch.arange(10), threat=SimpleNamespace(eps="0.3"))
    sides = [
        {
            bench_evaluation.OURS: bench_evaluation.Measured(2.0, 2.0, 8, (1, 2)),
            bench_evaluation.SAME: bench_evaluation.Measured(2.0 * ratio, 2.0 * ratio, 9, (1,)),
        }
        for ratio in (1.0, 3.0, 2.0)
    ]
    told = bench_evaluation.report(bench, sides, [bench_evaluation.Agreement("APGD-CE", 50, 5, 6, 49, 48)])
    out = capsys.readouterr().out
    assert "| torchattacks, same budget | 90.0% | 2.00 | 1.00 to 3.00 |" in out
    assert "| APGD-CE | 50 | 5 | 6 | 98.0% | 96.0% |" in out
    assert told["agreement"][0]["equal"] == 49


def test_the_benchmark_of_evaluation_tells_what_is_missing_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EVALUATION), "--weights", str(tmp_path / "none.safetensors"), "--root", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.strip().startswith("bench_evaluation: ")
    assert len(done.stderr.strip().splitlines()) == 1
