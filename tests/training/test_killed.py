"""A process killed with SIGKILL at any moment and started again leaves the weights of one that was let live."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from harden.training.checkpoint import newest

pytestmark = pytest.mark.slow

CHILD = """
import hashlib, sys
from pathlib import Path

import torch

torch.set_num_threads(1)
from harden.attacks import Keep, Pgd
from harden.data import DataSet, Digits, Split
from harden.models import Mlp
from harden.training import Recipe, Schedule, Training, Watchdog

rng = torch.Generator().manual_seed(0)
y = torch.arange(240) % 2
x = (torch.rand(240, 1, 8, 8, generator=rng) * 120).to(torch.uint8)
x[y == 1, :, 4:] += 90
data = DataSet("halves", ("dark", "light"), Split(x[:200], y[:200]), Split(x[200:], y[200:]), "drawn")
recipe = Recipe(
    data=Digits(shift=1),
    model=Mlp(hidden=[32]),
    attack=Pgd(steps=3, keep=Keep.last),
    schedule=Schedule(epochs=4, batch_size=10, validation=20),
    watchdog=Watchdog(every=0.25, images=32, budget=100),
)
training = Training(recipe, data, folder=Path(sys.argv[1]), every=0)
for _ in training:
    pass
state = training.selected().state_dict()
print(hashlib.sha256(b"".join(name.encode() + value.numpy().tobytes() for name, value in state.items())).hexdigest())
"""


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", CHILD, str(folder)], stdout=subprocess.PIPE, text=True)


def digest(folder: Path) -> str:
    child = start(folder)
    text, _ = child.communicate(timeout=300)
    assert child.returncode == 0
    return text.strip()


def step_of(folder: Path) -> int:
    names = [path.stem for path in folder.glob("step-*.safetensors")]
    return max((int(name.removeprefix("step-")) for name in names), default=0)


def killed(folder: Path, at: int) -> None:
    """A run that is killed as soon as a checkpoint of step `at` or a later one stands in its folder."""
    child = start(folder)
    deadline = time.monotonic() + 120
    while step_of(folder) < at and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    child.kill()
    child.communicate()
    assert child.returncode == -9
    assert step_of(folder) >= at


def test_a_run_killed_twice_ends_with_the_weights_of_an_unbroken_one(tmp_path: Path) -> None:
    unbroken = digest(tmp_path / "unbroken")
    for at in (3, 41):  # of 72 steps; the moment within the step is the scheduler's
        killed(tmp_path / "broken", at)
    assert digest(tmp_path / "broken") == unbroken
    ends = [newest(tmp_path / name) for name in ("unbroken", "broken")]
    assert ends[0] is not None
    assert ends[1] is not None
    assert ends[0][0].keys() == ends[1][0].keys()
    assert all((value == ends[1][0][name]).all() for name, value in ends[0][0].items())
