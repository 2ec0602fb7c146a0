"""Two processes that train one model: equal parameters, the attack of a single process, one owner of files."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from harden.errors import ConfigError, TrainingError
from harden.training import Training
from harden.training import loop as looping
from harden.training.team import ALONE, Team, called, check_size, mixes_samples, own_device

CHILD = """
import hashlib, json, os, sys
from pathlib import Path

import torch

torch.set_num_threads(1)
from harden.attacks import Keep, Pgd
from harden.data import DataSet, Digits, Split
from harden.errors import Interrupted
from harden.models import Mlp
from harden.training import Event, Recipe, Schedule, Trades, Training, Watchdog
from harden.training.objectives import Clean
from harden.training.optimisers import Sgd
from harden.training.team import together

folder, stop_at, plain = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[4] == "plain"
pgd = Pgd(steps=3, keep=Keep.last)
rng = torch.Generator().manual_seed(0)
y = torch.arange(260) % 2
x = (torch.rand(260, 1, 8, 8, generator=rng) * 120).to(torch.uint8)
x[y == 1, :, 4:] += 90
data = DataSet("halves", ("dark", "light"), Split(x[:220], y[:220]), Split(x[220:], y[220:]), "drawn")
recipe = Recipe(
    data=Digits(shift=1),
    model=Mlp(hidden=[32]),
    attack=None if plain else pgd,
    objective=Clean() if plain else Trades(),
    optim=Sgd(lr=0.05),
    schedule=Schedule(epochs=3, batch_size=10, validation=20),
    watchdog=Watchdog(every=0.5, images=32, budget=100),
)
with together(torch.device("cpu")) as team:
    training = Training(recipe, data, folder=folder, every=0.0 if stop_at else 60.0, team=team)
    batch, stream = training.batches.at(0)
    first = pgd(training.learner.model, batch.x, batch.y, recipe.threat, rng=stream.child("attack"))
    if stop_at:
        training.stop = lambda: training.state.step >= stop_at
    events = []
    try:
        events = [report.text for report in training if isinstance(report, Event)]
    except Interrupted:
        pass
    flat = torch.cat([p.detach().flatten() for p in training.learner.model.parameters()])
    told = {
        "rank": team.rank,
        "ids": batch.index.tolist(),
        "first": [hashlib.sha256(one.numpy().tobytes()).hexdigest() for one in first],
        "weights": flat.tolist(),
        "rows": [row.figures() for row in training.state.epochs],
        "events": events,
        "step": training.state.step,
    }
    Path(sys.argv[3], f"{team.rank}.json").write_text(json.dumps(told))
"""


def run(processes: int, tmp: Path, *, folder: Path, stop_at: int = 0, kind: str = "trades") -> list[dict[str, Any]]:
    """What each process told."""
    tmp.mkdir()
    script = tmp / "child.py"
    script.write_text(CHILD)
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [*(start if processes > 1 else [sys.executable]), str(script), str(folder), str(stop_at), str(tmp), kind]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((tmp / f"{rank}.json").read_text()) for rank in range(processes)]


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    """Without an attack: PGD takes signs, which turn a last bit into a whole step."""
    (alone,) = run(1, tmp_path / "one", folder=tmp_path / "a", kind="plain")
    pair = run(2, tmp_path / "two", folder=tmp_path / "b", kind="plain")
    assert pair[0]["weights"] == pair[1]["weights"], "the processes hold different weights"
    assert pair[0]["ids"] + pair[1]["ids"] == alone["ids"]
    assert pair[0]["first"] + pair[1]["first"] == alone["first"], "a sample is attacked otherwise beside others"
    torch.testing.assert_close(torch.tensor(pair[0]["weights"]), torch.tensor(alone["weights"]), rtol=0, atol=1e-5)
    assert [row["step"] for row in pair[0]["rows"]] == [row["step"] for row in alone["rows"]]
    for mine, his in zip(pair[0]["rows"], alone["rows"], strict=True):
        assert mine["loss"] == pytest.approx(his["loss"], rel=1e-3)
        assert mine["val_clean"] == pytest.approx(his["val_clean"], abs=0.051)
    strip = [{k: v for k, v in row.items() if k != "images_per_second"} for row in pair[1]["rows"]]
    assert strip == [{k: v for k, v in row.items() if k != "images_per_second"} for row in pair[0]["rows"]]
    assert len(list((tmp_path / "b").iterdir())) == len(list((tmp_path / "a").iterdir()))


@pytest.mark.slow
def test_a_team_goes_on_where_it_stopped_to_the_bit_and_another_number_says_so(tmp_path: Path) -> None:
    whole = run(2, tmp_path / "whole", folder=tmp_path / "a")
    part = run(2, tmp_path / "part", folder=tmp_path / "b", stop_at=20)
    assert [one["step"] for one in part] == [20, 20]
    rest = run(2, tmp_path / "rest", folder=tmp_path / "b")
    assert rest[0]["weights"] == whole[0]["weights"] == rest[1]["weights"]
    run(2, tmp_path / "part2", folder=tmp_path / "c", stop_at=20)
    (alone,) = run(1, tmp_path / "alone", folder=tmp_path / "c")
    assert "another processes than before: not exact to the bit" in alone["events"][0]
    # PGD takes signs, which turn a last bit into a whole step: alike are the figures, not the weights
    assert alone["step"] == whole[0]["step"]
    assert alone["rows"][-1]["loss"] == pytest.approx(whole[0]["rows"][-1]["loss"], rel=0.25)
    assert alone["rows"][-1]["val_clean"] == pytest.approx(whole[0]["rows"][-1]["val_clean"], abs=0.11)


def test_batch_norm_cannot_go_on_in_another_number_of_processes(
    dots: Any, recipe_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Training(recipe_of(), dots)
    training._check_processes("2")
    monkeypatch.setattr(looping, "mixes_samples", lambda _: True)
    training._check_processes("1")
    with pytest.raises(TrainingError, match="begun by 2 processes and cannot be continued by 1: BatchNorm"):
        training._check_processes("2")
    assert mixes_samples(nn.Sequential(nn.BatchNorm2d(3)))
    assert not mixes_samples(nn.Sequential(nn.GroupNorm(1, 3)))


def test_a_batch_that_falls_into_unequal_parts_is_refused() -> None:
    check_size(12, Team(0, 3))
    with pytest.raises(ConfigError, match="3 processes cannot share a batch of 16") as refused:
        check_size(16, Team(1, 3))
    assert refused.value.hint == "say schedule.batch_size=15"


def test_the_parts_of_all_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = torch.arange(11)
    assert torch.equal(torch.cat([Team(rank, 4).part(ids) for rank in range(4)]), ids)
    assert called() == ALONE
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert called() == Team(1, 2)
    assert own_device(torch.device("cpu"), called()).type == "cpu"
    monkeypatch.setenv("LOCAL_RANK", "7")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match="process 7 of this machine has no GPU: there are 2"):
        own_device(torch.device("cuda"), called())
