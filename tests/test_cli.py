"""The command line as a user meets it: real processes, signals, a full disk, a terminal, a tracking store."""

import json
import os
import pty
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harden.__main__ import VERBS
from harden.schema import ATTACKS
from harden.training import results

TINY = [
    *("model=mlp", "model.hidden=[16]", "schedule.epochs=1", "schedule.batch_size=256", "watchdog.every=0"),
    *("judge.images=20", "judge.steps=2", "judge.restarts=1", "judge.validation_steps=1", "baseline=false"),
]
LONG = ["model=cnn_small", "schedule.epochs=12", "schedule.validate_every=4", *TINY[4:8], "compute.threads=1"]
"""A run of 120 steps and some seconds, long enough to be interrupted; with its ordinary model."""

QUIET = "tracking.uri=none"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The variables of a user who has set none that matter here."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "HYDRA_"))}
    return outside | {"HARDEN_DATA": str(tmp_path / "cache"), "OMP_WAIT_POLICY": "PASSIVE"}


def command(verb: str, *words: str) -> list[str]:
    """A verb with its words."""
    return [sys.executable, "-m", f"harden.{verb}", *words]


def call(line: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs a command line in `folder` to its end."""
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False)


def told(text: str) -> list[str]:
    """The lines that begin with harden."""
    return [line for line in text.splitlines() if line.startswith("harden:")]


@contextmanager
def started(line: list[str], folder: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A command under way, which is ended with the block."""
    process = subprocess.Popen(
        line, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until_hardening(process: subprocess.Popen[str]) -> None:
    """Waits until the hardened model has been trained for an epoch."""
    assert process.stderr is not None
    hardened = False
    for line in process.stderr:
        hardened |= line.startswith("train hardened")
        if hardened and "epoch 1" in line:
            return
    raise AssertionError("the run ended before it could be interrupted")


@pytest.mark.parametrize("line", [["harden"], ["harden", "--help"], [sys.executable, "-m", "harden"]])
def test_without_a_verb_the_verbs_are_listed(line: list[str], tmp_path: Path, environment: dict[str, str]) -> None:
    if line[0] == "harden":
        line = [str(Path(sys.executable).with_name("harden")), *line[1:]]
    done = call(line, tmp_path, environment)
    assert done.returncode == 0
    assert re.findall(r"^  (\w+) ", done.stdout, re.MULTILINE) == list(VERBS)


def test_an_unknown_verb_is_refused_with_those_that_there_are(tmp_path: Path, environment: dict[str, str]) -> None:
    done = call([sys.executable, "-m", "harden", "tran"], tmp_path, environment)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"harden: error: there is no verb 'tran'; there are: {', '.join(VERBS)}",
        "harden: hint: did you mean harden train?",
    ]


@pytest.mark.slow
def test_the_console_command_trains_into_a_folder_below_runs_and_litters_nothing(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    line = [str(Path(sys.executable).with_name("harden")), "train", *TINY, QUIET]
    done = call(line, tmp_path, environment)
    assert done.returncode == 0, done.stderr
    assert "no attack: this is ordinary training (to harden, add +attack=pgd)" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert "weights   runs/digits-clean-linf-0.1-seed0/weights.safetensors" in done.stdout


def test_a_slip_leaves_with_2_and_nothing_behind(tmp_path: Path, environment: dict[str, str]) -> None:
    done = call(command("train", "+attack=pdg"), tmp_path, environment)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"harden: error: attack has no option 'pdg'; there are: {', '.join(sorted(ATTACKS))}",
        "harden: hint: did you mean +attack=pgd?",
    ]
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limit", [60_000, pytest.param(2_000, marks=pytest.mark.slow)])
def test_a_full_disk_is_told_in_one_line_and_leaves_no_half_file(
    limit: int, tmp_path: Path, environment: dict[str, str]
) -> None:
    """A limit on the size of files stands for the full disk: the write fails in its midst."""
    bound = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {resource.RLIM_INFINITY}))"
    ignore = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)"  # as Python does; torch may not
    words = [*TINY, "model.hidden=[256]", QUIET, "output=out"]
    code = f"{bound}; {ignore}; import sys; sys.argv = {['train', *words]}; import harden.train as door; door.main()"
    done = call([sys.executable, "-c", code], tmp_path, environment)
    assert done.returncode == 1, done.stderr
    assert len([line for line in told(done.stderr) if line.startswith("harden: error:")]) == 1
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "summary.json").exists()
    assert not (tmp_path / "out" / "weights.safetensors").exists()
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.slow
def test_an_unreachable_tracking_server_is_told_at_the_start_and_costs_nothing(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    done = call(command("train", *TINY, f"tracking.uri={uri}", "output=out"), tmp_path, environment)
    assert done.returncode == 0, done.stderr
    assert f"tracking server {uri} is unreachable" in done.stderr
    assert done.stderr.index("is unreachable") < done.stderr.index("epoch 1")
    assert results.finished(tmp_path / "out").summary["run_id"] != "memory"


@pytest.mark.slow
def test_a_run_is_recorded_with_all_that_it_was_and_gave(tmp_path: Path, environment: dict[str, str]) -> None:
    words = ["+attack=fgsm", *TINY[:-1], "output=out", "tracking.uri=sqlite:///store.db"]
    done = call(command("train", *words), tmp_path, environment)
    assert done.returncode == 0, done.stderr
    code = f"""
import json
from mlflow import MlflowClient
client = MlflowClient("sqlite:///store.db")
run = client.get_run("{results.finished(tmp_path / "out").summary["run_id"]}")
print(json.dumps([run.info.status, run.data.params, run.data.metrics, run.data.tags,
    [i.dataset.name for i in run.inputs.dataset_inputs], [f.path for f in client.list_artifacts(run.info.run_id)],
    client.get_experiment(run.info.experiment_id).name]))
"""
    read = call([sys.executable, "-c", code], tmp_path, environment | {"MLFLOW_DISABLE_TELEMETRY": "true"})
    assert read.returncode == 0, read.stderr
    status, params, metrics, tags, inputs, artefacts, experiment = json.loads(read.stdout.splitlines()[-1])
    summary = results.finished(tmp_path / "out").summary
    assert (status, experiment, inputs) == ("FINISHED", "digits", ["digits"])
    assert (params["attack.is"], params["threat.eps"], params["schedule.epochs"]) == ("Fgsm", "0.1", "1.0")
    assert metrics["clean_acc"] == summary["clean_accuracy"]["value"]
    assert metrics["robust_acc.linf_0.1.PGD-2"] == summary["robust_accuracy"]["value"]
    assert metrics["ordinary.clean_acc"] == summary["baseline_clean_accuracy"]["value"]
    assert tags["harden.weights.sha256"] == summary["weights_sha256"]
    assert tags["harden.recipe.sha256"] == summary["recipe_sha256"]
    assert set(artefacts) >= {"weights.safetensors", "summary.json", "config.yaml", "curves.svg", "examples.png"}


@pytest.mark.slow
def test_a_sweep_leaves_a_finished_run_for_each_combination(tmp_path: Path, environment: dict[str, str]) -> None:
    done = call(command("train", "-m", "+attack=fgsm,pgd", "seed=1,2", *TINY, QUIET), tmp_path, environment)
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (tmp_path / "runs").iterdir() if path.is_dir())
    assert names == [f"digits-madry-{attack}-linf-0.1-seed{seed}" for attack in ("fgsm", "pgd") for seed in (1, 2)]
    assert all(results.finished(tmp_path / "runs" / name).summary["seed"] == int(name[-1]) for name in names)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of the weights of a run that nobody interrupted."""
    folder = tmp_path_factory.mktemp("unbroken")
    done = call(command("train", "+attack=fgsm", *LONG, QUIET, "output=out"), folder, dict(os.environ))
    assert done.returncode == 0, done.stderr
    return str(results.finished(folder / "out").summary["weights_sha256"])


@pytest.mark.slow
def test_a_run_stopped_by_ctrl_c_says_how_to_go_on_and_ends_with_the_same_bits(
    tmp_path: Path, environment: dict[str, str], unbroken: str
) -> None:
    with started(command("train", "+attack=fgsm", *LONG, QUIET, "output=out"), tmp_path, environment) as process:
        until_hardening(process)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130
    assert told(errors) == [
        "harden: stopped: stopped; the run in out is kept",
        "harden: hint: go on with: python -m harden.train resume=out",
    ]
    assert "Traceback" not in errors
    assert not (tmp_path / "out" / "summary.json").exists()
    done = call(command("train", "resume=out"), tmp_path, environment)
    assert done.returncode == 0, done.stderr
    assert results.finished(tmp_path / "out").summary["weights_sha256"] == unbroken


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_bits(tmp_path: Path, environment: dict[str, str], unbroken: str) -> None:
    words = ["+attack=fgsm", *LONG, QUIET, "output=out", "checkpoint_seconds=0.05"]
    with started(command("train", *words), tmp_path, environment) as process:
        until_hardening(process)
        time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
    done = call(command("train", "resume=out"), tmp_path, environment)
    assert done.returncode == 0, done.stderr
    assert "continued at step" in done.stderr
    assert results.finished(tmp_path / "out").summary["weights_sha256"] == unbroken


@pytest.mark.slow
def test_on_a_terminal_bars_appear(tmp_path: Path, environment: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    line = command("train", *TINY, QUIET, "output=out")
    with subprocess.Popen(
        line, cwd=tmp_path, env=environment | {"TERM": "xterm"}, stdout=subprocess.DEVNULL, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = _drained(ours)
    assert process.returncode == 0, shown
    assert "train ordinary" in shown
    assert "━" in shown
    assert "epoch 1:" not in shown


def _drained(handle: int) -> str:
    """All that is written to the other end of a terminal until it is closed, which Linux reports as an error."""
    parts = []
    try:
        while part := os.read(handle, 4096):
            parts.append(part)
    except OSError:
        pass
    os.close(handle)
    return b"".join(parts).decode(errors="replace")


@pytest.mark.slow
def test_a_sweep_by_joblib_runs_in_processes_of_its_own_and_its_exit_code_is_theirs(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="hydra-joblib-launcher is not installed")
    words = ["-m", "hydra/launcher=cores", "+attack=fgsm", "seed=1,2", *TINY, QUIET]
    done = call(command("train", *words), tmp_path, environment)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "runs").glob("*/summary.json"))) == 2
    refused = call(command("train", *words, "init=nowhere.safetensors"), tmp_path, environment)
    assert refused.returncode == 1, refused.stderr
    assert "nowhere.safetensors" in refused.stderr
