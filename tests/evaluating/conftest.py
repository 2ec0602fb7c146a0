"""A small trained model, an evaluation of it with everything beside it, and the door as a function."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra

import harden.evaluate
import harden.train
from harden.files import sha256_of

TINY = [
    *("model=mlp", "model.hidden=[16]", "schedule.epochs=2", "schedule.batch_size=128", "watchdog.every=0"),
    *("judge.images=20", "judge.steps=2", "judge.restarts=1", "judge.validation_steps=1", "baseline=false"),
    *("tracking.uri=none", "threat.eps=0.05"),
]
QUICK = ["suite=[pgd,apgd_ce,fab_t]", "images=60", "tracking.uri=none"]
Ask = Callable[..., tuple[int, str, str]]


def main_of(main: Callable[[], Any], *words: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["harden", *words])
        GlobalHydra.instance().clear()
        with pytest.raises(SystemExit) as left:
            main()
    return int(left.value.code or 0)


@pytest.fixture
def ask(capfd: pytest.CaptureFixture[str]) -> Ask:
    """Runs `harden.evaluate`; exit code, stdout, stderr."""
    return lambda *words: (main_of(harden.evaluate.main, *words), *capfd.readouterr())


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert main_of(harden.train.main, "+attack=fgsm", *TINY, f"output={folder}") == 0
    return folder / "weights.safetensors"


@pytest.fixture(scope="module")
def finished(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation with everything beside it. Copied before it is changed."""
    folder = tmp_path_factory.mktemp("evaluated") / "evidence"
    extras = ["curve=true", "sanity=true", "unseen=true", "certify=ibp", f"against={weights}", f"transfer=[{weights}]"]
    extras.append("draws=2")
    assert main_of(harden.evaluate.main, f"weights={weights}", *QUICK, *extras, f"output={folder}") in (0, 3)
    return folder


@pytest.fixture
def evidence(finished: Path, tmp_path: Path) -> Path:
    """A copy beside the original, so that the weights lie where it says."""
    return Path(shutil.copytree(finished, finished.parent / f"copy-{tmp_path.name}"))


def edit(folder: Path, change: Callable[[dict[str, Any]], object], *, seal: bool = False) -> None:
    """Changes `evaluation.json`; `seal`: puts in the digests of the other files as they are now."""
    told = json.loads((folder / "evaluation.json").read_text())
    change(told)
    if seal:
        told["digests"] = {name: sha256_of(folder / name) for name in told["digests"]}
    (folder / "evaluation.json").write_text(json.dumps(told))
