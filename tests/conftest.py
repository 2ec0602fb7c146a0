"""What tests share: one thread, two classes of dots to learn from, and a recipe that is trained in a moment."""

import importlib.util
import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # idle OpenMP threads sleep instead of taking turns

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import settings

from harden.attacks import Keep, Pgd
from harden.data import DataSet, Digits, Split
from harden.models import Mlp
from harden.threat import ThreatModel
from harden.training import Judging, Recipe, Schedule, Watchdog

# a busy machine misses any deadline; CI draws the same examples each time, so that it fails for a change alone
settings.register_profile("harden", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("harden")

CENTRES = torch.tensor([[2.0, 2.0], [5.0, 5.0]])


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def script() -> Callable[[Path], ModuleType]:
    """A script of the project, by its path, as a module."""

    def load(path: Path) -> ModuleType:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise FileNotFoundError(path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def dots() -> DataSet:
    """110 images to train on and 40 to test on, 8 x 8 grey: a blurred dot above left (0) or below right (1)."""
    train, test = _dots(110, seed=1), _dots(40, seed=2)
    return DataSet("dots", ("above", "below"), train, test, source="drawn by the test")


@pytest.fixture(scope="session")
def recipe_of() -> Callable[..., Recipe]:
    """A recipe of 18 steps, 6 an epoch, on `dots`; its fields can be given."""

    def make(**fields: Any) -> Recipe:
        usual: dict[str, Any] = {
            "data": Digits(shift=1),
            "model": Mlp(hidden=[16]),
            "threat": ThreatModel(eps="0.1"),
            "attack": Pgd(steps=2, keep=Keep.last),
            "schedule": Schedule(epochs=3, batch_size=16, validation=11, ema=0.9),
            "watchdog": Watchdog(every=0.3, images=16, budget=100),
            "judge": Judging(steps=5, restarts=1, validation_steps=3),
        }
        return Recipe(**(usual | fields))

    return make


def _dots(count: int, *, seed: int) -> Split:
    rng = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 2
    centre = CENTRES[y] + torch.randn(count, 2, generator=rng) * 0.5
    rows, columns = (torch.arange(8.0) - centre[:, axis, None] for axis in (0, 1))
    blob = torch.exp(-(rows[:, :, None] ** 2 + columns[:, None, :] ** 2) / 3)
    noise = torch.rand(count, 8, 8, generator=rng) * 0.2
    x = ((blob + noise).clamp(0, 1) * 255).round().to(torch.uint8)
    return Split(x[:, None], y)
