"""`harden.evaluate` from command line to evidence: files, numbers, resume after a kill, bad input."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import harden.evaluate
import harden.train
from harden.files import sha256_of

from .conftest import QUICK, Ask, main_of


def test_a_finished_evaluation_is_these_files_and_no_other(finished: Path) -> None:
    assert sorted(path.name for path in finished.iterdir()) == [
        *("evaluation.json", "per_sample.npz", "plan.json", "report.html", "x_adv.safetensors"),
    ]


def test_the_evaluation_tells_what_its_contract_says(finished: Path, weights: Path) -> None:
    told = json.loads((finished / "evaluation.json").read_text())
    assert told["format"] == "harden-evaluation/1"
    assert told["weights"]["sha256"] == sha256_of(weights)
    assert told["threat"] == {"norm": "linf", "eps": "0.05", "low": 0.0, "high": 1.0}
    assert told["suite"]["attacks"] == ["pgd", "apgd_ce", "fab_t"]
    assert told["batch_size"] == 250
    assert {"harden", "torch"} <= told["versions"].keys()
    for one in [*told["attacks"], told["worst_case"]]:
        accuracy = one["accuracy"]
        assert accuracy.keys() == {"value", "low", "high", "n"}
        assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
        assert accuracy["n"] == 60
        assert min(one["forward"], one["backward"], one["seconds"]) > 0
    assert len(told["sanity"]) == 15
    assert len(told["curve"]["points"]) >= 9
    assert told["certified"]["both"] == 0
    assert told["certified"]["accuracy"]["value"] <= told["worst_case"]["accuracy"]["value"]
    assert told["against"]["p"] == 1.0
    assert len(told["unseen"]) == 2 + 1 + 15
    assert told["transfer"]["accuracy"][0][0] == told["transfer"]["accuracy"][1][1]


def test_flags_and_images_are_plain_arrays_that_belong_together(finished: Path) -> None:
    with np.load(finished / "per_sample.npz", allow_pickle=False) as columns:
        flags = {name: columns[name] for name in columns.files}
    images = load_file(finished / "x_adv.safetensors")
    told = json.loads((finished / "evaluation.json").read_text())
    robust = flags["clean"].copy()
    for one in told["attacks"]:
        flag = flags[f"{one['name']}.flag"]
        assert (flag >= 0).sum() == one["attacked"]
        assert (flag == 1).sum() == one["broken"] == len(images[f"{one['name']}.x_adv"])
        assert (images[f"{one['name']}.ids"].numpy() == flags["ids"][flag == 1]).all()
        assert np.isnan(flags[f"{one['name']}.distance"][flag != 1]).all()
        assert (flags[f"{one['name']}.distance"][flag == 1] <= 0.05 + 1e-6).all()
        robust &= flag != 1
    assert (robust == flags["robust"]).all()
    assert robust.mean() == pytest.approx(told["worst_case"]["accuracy"]["value"])


def test_two_evaluations_by_one_plan_are_equal(weights: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert main_of(harden.evaluate.main, f"weights={weights}", *QUICK, f"output={tmp_path / name}") == 0
    for name in ("per_sample.npz", "x_adv.safetensors"):
        assert sha256_of(tmp_path / "one" / name) == sha256_of(tmp_path / "two" / name)


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        ("suite=fast", 2, "there is no suite 'fast'"),
        ("suite=[pgd,pdg]", 2, "suite names the attack 'pdg'"),
        ("suite=standard attack=pgd", 2, "suite and attack contradict each other"),
        ("attack=n_fgsm", 2, "N-FGSM leaves the ball"),
        ("attack=art attack.name=HopSkipJmp", 2, "ART has no attack 'HopSkipJmp'; the nearest are: HopSkipJump"),
        ("attack=art attack.args.foo=3", 2, "HopSkipJump has no argument foo"),
        ("threat=linf threat.eps=8", 2, "threat.eps must lie within the pixel box"),
        ("threat=l2 threat.eps=9", 2, "threat.eps=9 lies outside the pixel box"),
        ("data=mnist data.download=false data.root=nowhere", 1, "nowhere"),
        ("certify=smooth smoothing.sigma=0", 2, "smoothing.sigma must be > 0"),
        ("against=none.safetensors", 1, "none.safetensors: there is no such file"),
        ("certify=crown_ibp threat=l2", 2, "certify=crown_ibp speaks of linf, the threat is in l2"),
        ("certify=smooth", 2, "certify=smooth speaks of l2, the threat is in linf"),
        ("eot=0", 2, "eot must be >= 1"),
        ("output=", 2, "output and against must name something"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_folder(
    words: str, code: int, error: str, ask: Ask, weights: Path, tmp_path: Path
) -> None:
    output = [] if "output=" in words else [f"output={tmp_path / 'out'}"]
    found, _, err = ask(f"weights={weights}", "tracking.uri=none", *words.split(), *output)
    told = [line for line in err.splitlines() if line.startswith("harden: error:")]
    assert (found, len(told)) == (code, 1), err
    assert error in told[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("action=verify", "evidence=DIR is missing"),
        ("action=verfy", "there is no action 'verfy'; there are: verify"),
        ("action=verify action=verify", "one action at a time"),
        ("action=verify evidence=x suite=quick", "there is no key suite"),
    ],
)
def test_actions_are_checked(words: str, error: str, ask: Ask) -> None:
    code, _, err = ask(*words.split())
    assert code == 2
    assert error in err


def test_a_folder_that_is_no_evaluation_is_no_evidence(ask: Ask, tmp_path: Path) -> None:
    code, _, err = ask("action=verify", f"evidence={tmp_path}")
    assert code == 4
    assert "there is no such file" in err


def test_a_finished_evaluation_is_replaced_only_when_that_is_said(ask: Ask, evidence: Path, weights: Path) -> None:
    words = [f"weights={weights}", *QUICK, f"output={evidence}"]
    code, _, err = ask(*words)
    assert code == 2
    assert "holds a finished evaluation" in err
    assert ask(*words, "overwrite=true")[0] == 0
    stranger = evidence.parent / "mine"
    stranger.mkdir()
    (stranger / "report.html").write_text("mine")
    assert "holds files that are no evaluation's" in ask(f"weights={weights}", *QUICK, f"output={stranger}")[2]


def test_without_a_folder_the_evidence_lies_beside_the_weights_a_new_one_each_time(
    ask: Ask, weights: Path, tmp_path: Path
) -> None:
    shutil.copytree(weights.parent, tmp_path / "run")
    for _ in range(2):
        code, out, _ = ask(
            f"weights={tmp_path / 'run' / weights.name}",
            "suite=quick",
            "images=10",
            "tracking.uri=none",
            "sanity=false",
        )
        assert code == 0
    assert sorted(p.name for p in (tmp_path / "run").glob("evaluation-*")) == ["evaluation-quick", "evaluation-quick-2"]
    assert "evaluation-quick-2" in out


def test_a_model_that_hides_its_weakness_is_called_unreliable_with_exit_code_3(
    ask: Ask, tmp_path: Path, weights: Path
) -> None:
    tensors = load_file(weights)
    last = max(name for name in tensors if name.endswith("weight"))
    for name in (last, last.replace("weight", "bias")):
        tensors[name] = tensors[name] * 3000  # saturates the softmax: no gradient of cross-entropy is left

    with safe_open(weights, framework="pt") as file:
        save_file(tensors, tmp_path / "masked.safetensors", metadata=file.metadata())
    code, out, _ = ask(
        f"weights={tmp_path / 'masked.safetensors'}", "suite=quick", "tracking.uri=none", f"output={tmp_path / 'out'}"
    )
    assert code == 3
    assert "UNRELIABLE" in out
    assert "Unreliable." in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.slow
def test_an_evaluation_killed_outright_goes_on_and_ends_as_if_it_had_never_been(weights: Path, tmp_path: Path) -> None:
    words = [f"weights={weights}", "suite=[apgd_ce,apgd_t,fab_t]", "batch_size=30", "tracking.uri=none"]
    line = [sys.executable, "-m", "harden.evaluate", *words]
    killed = tmp_path / "killed"
    process = subprocess.Popen([*line, f"output={killed}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 100
    while len(list(killed.rglob("*.safetensors"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = len(list(killed.rglob("parts/*/*.safetensors")))
    assert done >= 4
    assert not (killed / "evaluation.json").exists()
    for folder in (killed, tmp_path / "unbroken"):
        assert subprocess.run([*line, f"output={folder}"], capture_output=True, check=False).returncode == 0
    for name in ("per_sample.npz", "x_adv.safetensors"):
        assert sha256_of(killed / name) == sha256_of(tmp_path / "unbroken" / name)
    told = [json.loads((folder / "evaluation.json").read_text()) for folder in (killed, tmp_path / "unbroken")]
    for one, two in zip(told[0]["attacks"], told[1]["attacks"], strict=True):
        assert (one["forward"], one["backward"]) == (two["forward"], two["backward"])


def test_mlflow_holds_the_evaluation_and_below_it_a_run_for_each_attack(weights: Path, tmp_path: Path) -> None:
    code = subprocess.run(
        [sys.executable, "-m", "harden.evaluate", f"weights={weights}", "suite=[pgd,square]", "images=20",
         f"tracking.uri=sqlite:///{tmp_path / 'm.db'}", f"output={tmp_path / 'out'}"],
        capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert code.returncode == 0, code.stderr
    look = """
import sys, json, logging
from mlflow import MlflowClient
client = MlflowClient(sys.argv[1])
(experiment,) = [e for e in client.search_experiments() if e.name != "Default"]
runs = client.search_runs([experiment.experiment_id])
print(json.dumps([[
    r.info.run_id, r.info.run_name, r.data.tags.get("mlflow.parentRunId"), r.data.metrics,
    r.data.tags.get("harden.kind"), sorted(a.path for a in client.list_artifacts(r.info.run_id)),
] for r in runs]))
"""
    out = subprocess.run(
        [sys.executable, "-c", look, f"sqlite:///{tmp_path / 'm.db'}"], capture_output=True, check=True, text=True
    ).stdout
    runs = json.loads(out.splitlines()[-1])
    (parent,) = [run for run in runs if run[4] == "evaluate"]
    assert parent[5] == ["evaluation.json", "per_sample.npz", "report.html", "x_adv.safetensors"]
    assert {"clean_acc", "robust_acc", "forward"} <= parent[3].keys()
    assert sorted(run[1] for run in runs if run[2] == parent[0]) == ["PGD-7", "Square-5000 (whole)"]
