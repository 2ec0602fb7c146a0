"""What makes an evaluation unreliable, or its model a special case, from the command line."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import harden.evaluate
import harden.examination
import harden.train
from harden.data import Digits, load
from harden.training.held_out import digest

from .conftest import QUICK, TINY, Ask, main_of


@pytest.fixture
def run(weights: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be changed."""
    return Path(shutil.copytree(weights.parent, tmp_path / "run"))


def summary(run: Path, **change: Any) -> None:
    told = json.loads((run / "summary.json").read_text()) | change
    (run / "summary.json").write_text(json.dumps(told))


def row(folder: Path, number: int) -> dict[str, Any]:
    told = json.loads((folder / "evaluation.json").read_text())
    found: dict[str, Any] = told["sanity"][number - 1]
    return found


def evaluated(ask: Ask, run: Path, *words: str) -> tuple[int, Path]:
    folder = run / "evidence"
    options = ["suite=[pgd]", "images=60", "sanity=true", "tracking.uri=none", f"output={folder}"]
    return ask(f"weights={run / 'weights.safetensors'}", *options, *words)[0], folder


def test_the_record_says_which_images_chose_the_checkpoint_and_they_are_attacked_too(ask: Ask, run: Path) -> None:
    chosen = json.loads((run / "summary.json").read_text())["chosen_on"]
    assert chosen["part"] == "validation"
    assert chosen["images"] == len(load(Digits()).train) // 10
    _, folder = evaluated(ask, run)
    found = row(folder, 15)
    assert found["verdict"] == "passed"
    assert "chosen on validation images; robust" in found["figure"]


def test_a_checkpoint_chosen_on_test_images_fails_the_last_row(ask: Ask, run: Path) -> None:
    data = load(Digits())
    test = digest(data.test.take(torch.arange(len(data.train) // 10)))
    summary(run, chosen_on={"part": "validation", "images": len(data.train) // 10, "sha256": test})
    code, folder = evaluated(ask, run)
    assert code == 3
    assert row(folder, 15)["verdict"] == "failed"
    assert "chosen on other than validation's images" in row(folder, 15)["figure"]


def test_certified_and_broken_is_an_error_of_the_programs_own(
    ask: Ask, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two must be wrong; here the bound is made to lie."""
    monkeypatch.setattr("harden.stages.bounds.certified", lambda _model, x, _y, _threat, **_: torch.ones(len(x)) > 0)
    folder = run / "evidence"
    code, _, err = ask(
        f"weights={run / 'weights.safetensors'}",
        *QUICK,
        "certify=ibp",
        f"output={folder}",
        "threat=linf",
        "threat.eps=0.2",
    )
    assert code == 1
    assert "samples are certified and yet broken" in err
    assert json.loads((folder / "evaluation.json").read_text())["certified"]["both"] > 0


def test_the_battery_can_be_run_once_more_by_verify(ask: Ask, run: Path) -> None:
    _, folder = evaluated(ask, run)
    code, out, _ = ask("action=verify", f"evidence={folder}", "sanity=true")
    assert code == 0, out
    assert "sanity rows" not in out
    told = json.loads((folder / "evaluation.json").read_text())
    told["sanity"][3]["figure"] = "all is well"
    (folder / "evaluation.json").write_text(json.dumps(told))
    assert "does not hold: sanity" in ask("action=verify", f"evidence={folder}", "sanity=true")[1]


NOISY = """
import torch
from torch import nn


class Noisy(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.flat, self.out = nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], classes)

    def forward(self, x):
        return self.out(self.flat(x + 0.003 * torch.randn_like(x)))


def build(shape, classes):
    return Noisy(shape, classes)
"""


def test_a_model_that_answers_at_random_is_judged_by_its_mean(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "noisynets.py").write_text(NOISY)
    monkeypatch.chdir(tmp_path)
    custom = ["model=custom", "model.entry=noisynets:build"]
    tiny = [word for word in TINY if not word.startswith("model")]
    assert main_of(harden.train.main, "+attack=fgsm", *custom, *tiny, f"output={tmp_path / 'run'}") == 0
    words = [f"weights={tmp_path / 'run' / 'weights.safetensors'}", *custom, "suite=[pgd]", "images=60", "sanity=true"]
    code, folder = ask(*words, "tracking.uri=none", f"output={tmp_path / 'one'}")[0], tmp_path / "one"
    assert code == 3
    assert "say eot=20" in row(folder, 9)["reason"]
    ask(*words, "tracking.uri=none", "eot=40", f"output={tmp_path / 'mean'}")
    assert row(tmp_path / "mean", 9)["verdict"] == "passed"
    told = json.loads((tmp_path / "mean" / "evaluation.json").read_text())
    assert "EoT-40" in told["attacks"][0]["label"]
    code, out, _ = ask("action=verify", f"evidence={tmp_path / 'mean'}", *custom)
    assert code == 0, out


@pytest.mark.slow
def test_the_extended_suite_borrows_images_from_other_models(ask: Ask, weights: Path, tmp_path: Path) -> None:
    assert main_of(harden.train.main, "+attack=fgsm", *TINY, "seed=1", f"output={tmp_path / 'other'}") == 0
    other = tmp_path / "other" / "weights.safetensors"
    for norm, eps, wanted in (("linf", "0.05", "ART-HopSkipJump"), ("l1", "1", "Pointwise")):
        folder = tmp_path / norm
        words = [f"weights={weights}", "suite=extended", "images=20", f"threat={norm}", f"threat.eps={eps}"]
        words += [f"transfer=[{other}]", "sanity=false", "curve=false", "unseen=false", "tracking.uri=none"]
        assert ask(*words, f"output={folder}")[0] == 0
        told = json.loads((folder / "evaluation.json").read_text())
        labels = [one["label"] for one in told["attacks"]]
        assert {"MI-FGSM-10 (last) from other/weights", "DI-FGSM-10 (last) from other/weights"} <= set(labels)
        assert any(label.startswith(wanted) for label in labels)
        assert told["suite"]["label"].startswith("extended")
        assert ask("action=verify", f"evidence={folder}")[0] == 0
