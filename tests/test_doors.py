"""Both doors over tiny runs: what a finished folder holds, and how bad input and bad folders are refused."""

import fcntl
import gzip
import json
import os
import pickle
import shutil
import signal
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import yaml
from hydra.core.global_hydra import GlobalHydra
from safetensors.torch import save_file

import harden.evaluate
import harden.train
from harden import door
from harden.files import sha256_of
from harden.schema import KNOWN
from harden.spelling import read, spell
from harden.training import TrainRequest, checkpoint, results

MAINS = {"train": harden.train.main, "evaluate": harden.evaluate.main}
TINY = [
    *("model=mlp", "model.hidden=[16]", "schedule.epochs=1", "schedule.batch_size=256", "schedule.validate_every=1"),
    *("judge.images=20", "judge.steps=2", "judge.restarts=1", "judge.validation_steps=1", "watchdog.every=0"),
    "tracking.uri=none",
]
ALONE = [*TINY, "baseline=false"]
LOOK = ["images=20", "attack=pgd", "attack.steps=2", "tracking.uri=none"]


class Answer(NamedTuple):
    """A door's exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> list[str]:
        """The lines that begin with harden."""
        return [line for line in self.err.splitlines() if line.startswith("harden:")]


Ask = Callable[..., Answer]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Ask:
    """Runs a verb over the words of a command line, in an empty folder without a public data set in reach."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARDEN_DATA", str(tmp_path / "cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return lambda verb, *words: _answer(verb, words, monkeypatch, capfd)


def _answer(
    verb: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Answer:
    monkeypatch.setattr(sys, "argv", [verb, *words])
    GlobalHydra.instance().clear()
    with pytest.raises(SystemExit) as left:
        MAINS[verb]()
    return Answer(int(left.value.code or 0), *capfd.readouterr())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run against FGSM. Copied before it is changed."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train", "+attack=fgsm", *TINY, f"output={folder}"])
        GlobalHydra.instance().clear()
        with pytest.raises(SystemExit) as left:
            harden.train.main()
    assert left.value.code == 0
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, in the folder one stands in."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def unfinished(run: Path) -> Path:
    """The same, without what says that it is finished."""
    (run / "summary.json").unlink()
    return run


def refused(answer: Answer, code: int, error: str, hint: str = "") -> None:
    """Asserts that `answer` is this code, this one error (a part of it will do) and this hint, and no traceback."""
    assert answer.code == code
    assert [line for line in answer.told if line.startswith("harden: error:") and error in line] == answer.told[:1]
    assert [line for line in answer.told if line.startswith("harden: hint:") and hint in line] == answer.told[1:]
    assert "Traceback" not in answer.err


# -- what a finished run leaves behind ---------------------------------------------------------------------------------


def test_a_finished_folder_holds_these_files_and_no_other(finished: Path) -> None:
    assert sorted(path.name for path in finished.iterdir()) == [
        *("config.yaml", "curves.svg", "examples.png", "ordinary.safetensors", "record.json", "summary.json"),
        "weights.safetensors",
    ]
    assert (finished / "curves.svg").read_text().lstrip().startswith("<?xml")
    assert (finished / "examples.png").read_bytes().startswith(b"\x89PNG")


def test_the_summary_says_what_was_measured_and_on_how_many_images(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    for name in ("clean_accuracy", "robust_accuracy", "baseline_clean_accuracy", "baseline_robust_accuracy"):
        figures = summary[name]
        assert figures.keys() == {"value", "low", "high", "n"}
        assert 0 <= figures["low"] <= figures["value"] <= figures["high"] <= 1
        assert figures["n"] == 20
    assert summary["weights_sha256"] == sha256_of(finished / "weights.safetensors")
    assert summary["threat"] == {"norm": "linf", "eps": "0.1", "low": 0.0, "high": 1.0}
    assert (summary["attack"], summary["training_attack"], summary["run_id"]) == ("PGD-2", "FGSM", "memory")
    assert summary["seconds"] > 0
    assert summary["images_per_second"] > 0


def test_the_configuration_beside_the_weights_is_the_request_that_was_run(finished: Path) -> None:
    plain = yaml.safe_load((finished / "config.yaml").read_text())
    request = read(plain, KNOWN)
    assert isinstance(request, TrainRequest)
    assert spell(request) == plain
    assert results.finished(finished).summary["recipe_sha256"] == request.recipe.digest


def test_evaluating_the_weights_gives_the_very_accuracy_of_the_run(ask: Ask, run: Path) -> None:
    answer = ask("evaluate", f"weights={run / 'weights.safetensors'}", *LOOK)
    done = results.finished(run)
    assert answer.code == 0
    for name in ("clean_accuracy", "robust_accuracy"):
        accuracy = done.accuracy(name)
        assert f"{accuracy.value:.1%}  [{accuracy.low:.1%}, {accuracy.high:.1%}]" in answer.out


def test_results_go_to_stdout_and_progress_to_stderr_a_line_an_epoch(ask: Ask) -> None:
    answer = ask("train", *ALONE, "output=out", "schedule.epochs=2")
    assert answer.code == 0
    assert "clean accuracy" in answer.out
    assert "epoch" not in answer.out
    assert [line.split(":")[0] for line in answer.err.splitlines() if "epoch" in line] == ["  epoch 1", "  epoch 2"]


def test_without_an_attack_the_run_is_ordinary_training_and_says_so(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        assert ask("train", *TINY, "output=out").code == 0
    assert "no attack: this is ordinary training (to harden, add +attack=pgd)" in caplog.messages
    assert not Path("out/ordinary.safetensors").exists()


def test_a_run_without_a_folder_gets_a_new_one_each_time(ask: Ask) -> None:
    for _ in range(2):
        assert ask("train", *ALONE, "threat.eps=8/255").code == 0
    name = "digits-clean-linf-8_255-seed0"
    assert sorted(path.name for path in Path("runs").iterdir()) == [name, f"{name}-2"]
    first, second = (results.finished(Path("runs") / n).summary["weights_sha256"] for n in (name, f"{name}-2"))
    assert first == second


def test_weights_of_a_run_can_be_hardened(ask: Ask, run: Path) -> None:
    answer = ask("train", "+attack=fgsm", *TINY[2:], f"init={run / 'ordinary.safetensors'}", "output=out")
    assert answer.code == 0
    before, after = results.finished(run), results.finished("out")
    assert after.accuracy("baseline_robust_accuracy") == before.accuracy("baseline_robust_accuracy")


# -- folders -----------------------------------------------------------------------------------------------------------


def test_a_finished_run_is_replaced_only_when_that_is_said(ask: Ask, run: Path) -> None:
    before = sha256_of(run / "weights.safetensors")
    refused(ask("train", *ALONE, "output=run"), 2, "output=run holds a finished run", "overwrite=true")
    assert sha256_of(run / "weights.safetensors") == before
    assert ask("train", *ALONE, "output=run", "overwrite=true", "seed=1").code == 0
    assert sha256_of(run / "weights.safetensors") != before
    assert not (run / "ordinary.safetensors").exists()


@pytest.mark.usefixtures("unfinished")
def test_an_unfinished_run_is_refused_with_the_way_to_go_on(ask: Ask) -> None:
    refused(ask("train", *ALONE, "output=run"), 2, "output=run holds an unfinished run", "continue it with resume=run")


def test_an_unfinished_run_is_finished_as_if_it_had_never_stopped(ask: Ask, finished: Path, unfinished: Path) -> None:
    for name in ("weights.safetensors", "ordinary.safetensors"):
        (unfinished / name).unlink()
    assert ask("train", "resume=run").code == 0
    for name in ("weights.safetensors", "ordinary.safetensors", "config.yaml"):
        assert sha256_of(unfinished / name) == sha256_of(finished / name)


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        ("resume=run", "resume=run: this run is finished already", "run/summary.json"),
        ("resume=nowhere", "resume=nowhere: there is no run in this folder", "config.yaml"),
        ("resume=run seed=1", "resume takes the run as it was configured, got seed=1", "leave that out"),
        ("resume=", "output and resume must name a folder, got nothing", ""),
    ],
)
@pytest.mark.usefixtures("run")
def test_what_cannot_be_resumed_is_refused(words: str, error: str, hint: str, ask: Ask) -> None:
    refused(ask("train", *words.split()), 2, error, hint)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a: [1", "cannot be read"),
        ("a: 1", "wanted a TrainRequest, got a mapping"),
        ("is: Schedule", "wanted a TrainRequest, got Schedule"),
        ("is: Nonsense", "'Nonsense' is no known kind of value"),
        ("{is: TrainRequest, threat: 3}", "threat"),
        ("{is: TrainRequest, seed: abc}", "seed must be a whole number, got 'abc'"),
        ("{is: TrainRequest, schedule: {is: Schedule, epochs: abc}}", "Schedule"),
        ("{is: TrainRequest, spede: 3}", "spede"),
    ],
)
def test_a_configuration_that_somebody_edited_is_refused_by_name(
    text: str, error: str, ask: Ask, unfinished: Path
) -> None:
    (unfinished / "config.yaml").write_text(text)
    answer = ask("train", "resume=run")
    refused(answer, 2, error)
    assert answer.told[0].startswith("harden: error: run/config.yaml: ")


def test_two_processes_do_not_work_in_one_folder(ask: Ask, unfinished: Path) -> None:
    other = os.open(unfinished, os.O_RDONLY)
    try:
        fcntl.flock(other, fcntl.LOCK_EX)
        refused(ask("train", "resume=run"), 1, "run: another process is working here", "wait for it or stop it")
        refused(ask("train", *ALONE, "output=run", "overwrite=true"), 1, "run: another process is working here", "wait")
    finally:
        os.close(other)
    assert (unfinished / "weights.safetensors").is_file()


@pytest.mark.parametrize(
    ("output", "code", "error"),
    [
        ("file", 2, "output=file is a file, wanted a folder"),
        ("file/below", 1, "file/below: cannot be made: not a directory"),
        ("", 2, "output and resume must name a folder, got nothing"),
    ],
)
def test_a_place_that_cannot_be_a_folder_is_refused(output: str, code: int, error: str, ask: Ask) -> None:
    Path("file").write_text("mine")
    refused(ask("train", *ALONE, f"output={output}"), code, error)
    assert [path.name for path in Path().iterdir()] == ["file"]


# -- data, networks, weights -------------------------------------------------------------------------------------------


def _arrays(path: str, **changed: object) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((60, 1, 8, 8), dtype=np.float32), np.arange(60) % 3
    arrays = {"x_train": x, "y_train": y, "x_test": x[:30], "y_test": y[:30]} | changed
    np.savez(path, **arrays)  # type: ignore[arg-type]


BAD_ARRAYS: dict[str, tuple[dict[str, object], int, str]] = {
    "outside the box": ({"x_train": np.full((60, 1, 8, 8), 1.5, np.float32)}, 1, "pixel value 1.5, wanted 0..1"),
    "not finite": ({"x_train": np.full((60, 1, 8, 8), np.nan, np.float32)}, 1, "pixel value nan, wanted 0..1"),
    "negative label": ({"y_train": np.arange(60) % 3 - 1}, 1, "label -1"),
    "label in test alone": ({"y_test": np.arange(30) % 4}, 1, "label"),
    "too few labels": ({"y_train": np.arange(50) % 3}, 1, "60 images but 50 labels"),
    "objects": ({"y_train": np.array([{}] * 60, dtype=object)}, 4, "which could run code when read"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_arrays_are_refused_before_a_folder_is_made(case: str, ask: Ask) -> None:
    changed, code, error = BAD_ARRAYS[case]
    _arrays("bad.npz", **changed)
    refused(ask("train", *ALONE, "data=npz", "data.root=bad.npz", "output=out"), code, error)
    assert not Path("out").exists()


def test_a_truncated_data_file_is_refused(ask: Ask) -> None:
    _arrays("whole.npz")
    Path("cut.npz").write_bytes(Path("whole.npz").read_bytes()[:-200])
    refused(ask("train", *ALONE, "data=npz", "data.root=cut.npz", "output=out"), 1, "cut.npz")
    assert not Path("out").exists()


def test_a_public_data_file_with_another_digest_is_not_trusted(ask: Ask) -> None:
    Path("mnist").mkdir()
    for part in ("train", "t10k"):
        images = struct.pack(">4I", 0x803, 10, 28, 28) + bytes(7840)
        Path(f"mnist/{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        labels = struct.pack(">2I", 0x801, 10) + bytes(range(10))
        Path(f"mnist/{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    refused(ask("train", *ALONE, "data=mnist", "data.root=mnist", "output=out"), 4, "mnist/")
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        ("data=npz", 2, "data=npz needs data.root, got none"),
        ("data=npz data.root=none.npz", 1, "data.root=none.npz: no such file"),
        ("data=mnist data.download=false", 1, "MNIST: not on this machine and not downloaded: data.download is off"),
        ("data=custom data.entry=nowhere:f", 2, "data.entry: there is no module 'nowhere'"),
        ("compute.device=tpu", 2, "no device is called 'tpu'"),
        ("init=none.safetensors", 1, "none.safetensors: there is no such file"),
    ],
)
def test_what_is_not_there_is_told_before_a_folder_is_made(words: str, code: int, error: str, ask: Ask) -> None:
    refused(ask("train", *ALONE, *words.split(), "output=out"), code, error)
    assert not Path("out").exists()


def _damaged(whole: bytes) -> dict[str, tuple[bytes, int, str]]:
    return {
        "cut": (whole[:-10], 1, "is cut off"),
        "empty": (b"", 1, "is empty"),
        "pickle": (pickle.dumps({"a": 1}), 4, "is a pickle"),
        "noise": (bytes(range(256)), 1, "damaged"),
    }


@pytest.mark.parametrize("kind", ["cut", "empty", "pickle", "noise"])
@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_damaged_weights_are_refused(kind: str, verb: str, ask: Ask, run: Path) -> None:
    data, code, error = _damaged((run / "weights.safetensors").read_bytes())[kind]
    Path("bad.safetensors").write_bytes(data)
    words = [*ALONE[2:], "init=bad.safetensors", "output=out"] if verb == "train" else ["weights=bad.safetensors"]
    refused(ask(verb, *words), code, "" if kind == "noise" else error)
    assert not Path("out").exists()


def test_weights_of_another_network_are_refused(ask: Ask, run: Path) -> None:
    words = [*ALONE, "model.hidden=[17]", f"init={run / 'weights.safetensors'}", "output=out"]
    refused(ask("train", *words), 1, "do not fit", "")
    assert not Path("out").exists()


def test_weights_that_do_not_say_what_they_are_are_refused(ask: Ask) -> None:
    save_file({"a": torch.zeros(2)}, "bare.safetensors")
    refused(ask("evaluate", "weights=bare.safetensors"), 1, "has no card", "")


def test_weights_are_not_measured_on_other_data_than_theirs_unless_that_is_said(ask: Ask) -> None:
    _arrays("mine.npz")
    assert ask("train", *ALONE, "data=npz", "data.root=mine.npz", "output=out").code == 0
    _arrays("mine.npz", y_test=np.arange(30) // 10)
    words = ["weights=out/weights.safetensors", *LOOK]
    refused(ask("evaluate", *words), 4, "is not what the model was trained on", "name the data with data=...")
    assert ask("evaluate", *words, "data=npz", "data.root=mine.npz").code == 0
    refused(ask("evaluate", *words, "data=digits"), 1, "digits has images", "")


OWN = """
import numpy as np
import torch

def data():
    x = np.random.default_rng(0).random((60, 1, 8, 8), dtype=np.float32)
    y = np.arange(60) % 3
    return {"x_train": x, "y_train": y, "x_test": x, "y_test": y}

def build(shape, classes, width=4):
    layers = torch.nn.Flatten(), torch.nn.Linear(64, width), torch.nn.ReLU(), torch.nn.Linear(width, classes)
    return torch.nn.Sequential(*layers)

class Failing(torch.nn.Module):
    def __init__(self, classes, after):
        super().__init__()
        self.linear, self.left = torch.nn.Linear(64, classes), after
    def forward(self, x):
        self.left -= self.training
        return self.linear(x.flatten(1)) * (float("nan") if self.training and self.left < 0 else 1.0)

def failing(shape, classes, after=0):
    return Failing(classes, after)
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module of the user's own, in the folder one stands in."""
    (tmp_path / "ownnets.py").write_text(OWN)
    monkeypatch.delitem(sys.modules, "ownnets", raising=False)
    return "ownnets"


def test_data_and_network_of_ones_own_go_all_the_way(ask: Ask, own_module: str) -> None:
    own = ["model=custom", f"model.entry={own_module}:build", "+model.arguments.width=5"]
    own += ["data=custom", f"data.entry={own_module}:data"]
    answer = ask("train", "+attack=fgsm", *TINY[2:], *own, "output=out")
    assert answer.code == 0, answer.err
    assert ask("evaluate", "weights=out/weights.safetensors", *LOOK, *own).code == 0
    refused(ask("evaluate", "weights=out/weights.safetensors", *LOOK), 4, "needs code of its own", "if you trust that")


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_weights(ask: Ask, own_module: str) -> None:
    words = ["model=custom", f"model.entry={own_module}:failing", "+model.arguments.after=7", "baseline=false"]
    answer = ask("train", *TINY[2:], *words, "output=out", "schedule.epochs=10", "checkpoint_seconds=1e-9")
    refused(answer, 1, "training was stopped after 3 roll-backs", "the last good weights are kept in out/checkpoints")
    assert not Path("out/summary.json").exists()
    assert not Path("out/weights.safetensors").exists()
    tensors, state = checkpoint.newest(Path("out/checkpoints/ordinary")) or ({}, {})
    assert state["state"]["trips"] == 3
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    assert not list(Path("out").rglob("*.part"))


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_politely_and_the_next_ctrl_c_does_not(kind: signal.Signals) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with door.stoppable() as stop:
        assert not stop()
        signal.raise_signal(kind)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
