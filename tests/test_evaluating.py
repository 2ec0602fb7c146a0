"""`harden.evaluate` from command line to evidence: files, numbers, resume after a kill, tampering, bad input."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from safetensors import safe_open
from safetensors.torch import load_file, save_file

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


def _main(main: Callable[[], Any], *words: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["harden", *words])
        GlobalHydra.instance().clear()
        with pytest.raises(SystemExit) as left:
            main()
    return int(left.value.code or 0)


@pytest.fixture
def ask(capfd: pytest.CaptureFixture[str]) -> Ask:
    """Runs `harden.evaluate`; exit code, stdout, stderr."""
    return lambda *words: (_main(harden.evaluate.main, *words), *capfd.readouterr())


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert _main(harden.train.main, "+attack=fgsm", *TINY, f"output={folder}") == 0
    return folder / "weights.safetensors"


@pytest.fixture(scope="module")
def finished(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation with everything beside it. Copied before it is changed."""
    folder = tmp_path_factory.mktemp("evaluated") / "evidence"
    extras = ["curve=true", "sanity=true", "unseen=true", "certify=ibp", f"against={weights}", f"transfer=[{weights}]"]
    extras.append("draws=2")
    assert _main(harden.evaluate.main, f"weights={weights}", *QUICK, *extras, f"output={folder}") in (0, 3)
    return folder


@pytest.fixture
def evidence(finished: Path, tmp_path: Path) -> Path:
    """A copy beside the original, so that the weights lie where it says."""
    return Path(shutil.copytree(finished, finished.parent / f"copy-{tmp_path.name}"))


def _edit(folder: Path, change: Callable[[dict[str, Any]], object], *, seal: bool = False) -> None:
    """Changes `evaluation.json`; `seal`: puts in the digests of the other files as they are now."""
    told = json.loads((folder / "evaluation.json").read_text())
    change(told)
    if seal:
        told["digests"] = {name: sha256_of(folder / name) for name in told["digests"]}
    (folder / "evaluation.json").write_text(json.dumps(told))


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
        assert _main(harden.evaluate.main, f"weights={weights}", *QUICK, f"output={tmp_path / name}") == 0
    for name in ("per_sample.npz", "x_adv.safetensors"):
        assert sha256_of(tmp_path / "one" / name) == sha256_of(tmp_path / "two" / name)


def test_every_number_is_found_again(ask: Ask, evidence: Path) -> None:
    code, out, _ = ask("action=verify", f"evidence={evidence}")
    assert code == 0
    holds, of = out.split(" numbers hold")[0].split()[-3::2]
    assert holds == of
    assert int(of) > 200


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "the worst case": lambda told: told["worst_case"]["accuracy"].update(value=0.99),
    "an attack": lambda told: told["attacks"][0].update(broken=59),
    "the clean accuracy": lambda told: told["clean"].update(high=1.0),
    "a class": lambda told: told["classes"][3].update(n=1),
    "the curve": lambda told: told["curve"]["points"][5]["accuracy"].update(value=0.9),
    "a recheck": lambda told: told["rechecks"][2].update(flips=7),
    "an unseen threat": lambda told: told["unseen"][4]["accuracy"].update(value=1.0),
    "the certificate": lambda told: told["certified"]["accuracy"].update(value=0.9),
    "the comparison": lambda told: told["against"].update(p=0.01),
    "the number of images": lambda told: told["data"].update(n=10_000),
    "the reliability": lambda told: told.update(reliable=not told["reliable"]),
    "the attack of the curve": lambda told: told["curve"].update(attack="AA"),
    "the other draws": lambda told: told["draws"].update(mean=0.9),
    "the transfer matrix": lambda told: told["transfer"]["accuracy"][1][0].update(value=0.9),
    "a row of the battery": lambda told: told["sanity"].pop(),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_number_that_somebody_changed_does_not_hold(what: str, ask: Ask, evidence: Path) -> None:
    _edit(evidence, CHANGES[what])
    code, out, _ = ask("action=verify", f"evidence={evidence}")
    assert code == 4
    assert out.count("does not hold") - out.count("does not hold: report") == 1


@pytest.mark.parametrize("name", ["per_sample.npz", "x_adv.safetensors"])
def test_evidence_with_another_digest_is_not_trusted(name: str, ask: Ask, evidence: Path) -> None:
    data = bytearray((evidence / name).read_bytes())
    data[-5] ^= 1
    (evidence / name).write_bytes(data)
    code, _, err = ask("action=verify", f"evidence={evidence}")
    assert code == 4
    assert f"{name}: its digest is" in err
    (evidence / name).unlink()
    assert ask("action=verify", f"evidence={evidence}")[0] == 4


def test_images_that_break_nothing_do_not_hold_even_with_digests_to_match(ask: Ask, evidence: Path) -> None:
    images, metadata = _images_of(evidence)
    key = _most(images)
    images[key] = torch.full_like(images[key], 0.5)
    save_file(images, evidence / "x_adv.safetensors", metadata=metadata)
    _edit(evidence, dict, seal=True)
    code, out, _ = ask("action=verify", f"evidence={evidence}")
    assert code == 4
    assert "worst_case.accuracy.value" in out


DAMAGE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "grey": lambda x_adv: torch.full_like(x_adv, 0.5),
    "not a number": lambda x_adv: torch.full_like(x_adv, torch.nan),
    "out of the box": lambda x_adv: x_adv + 1.0,
}


@pytest.mark.parametrize("what", DAMAGE)
def test_one_image_that_breaks_nothing_any_more_does_not_hold(what: str, ask: Ask, evidence: Path) -> None:
    images, metadata = _images_of(evidence)
    key = _most(images)
    images[key][0] = DAMAGE[what](images[key][0])
    save_file(images, evidence / "x_adv.safetensors", metadata=metadata)
    _edit(evidence, dict, seal=True)
    code, out, _ = ask("action=verify", f"evidence={evidence}")
    assert code == 4
    assert f"does not hold: attacks.{key.removesuffix('.x_adv')}.broken" in out


def test_an_image_that_is_missing_is_told(ask: Ask, evidence: Path) -> None:
    images, metadata = _images_of(evidence)
    key = _most(images)
    images[key] = images[key][1:].contiguous()
    save_file(images, evidence / "x_adv.safetensors", metadata=metadata)
    _edit(evidence, dict, seal=True)
    code, _, err = ask("action=verify", f"evidence={evidence}")
    assert (code, "holds another number of images" in err) == (4, True)


def _drop_a_section(told: dict[str, Any]) -> None:
    del told["unseen"]


def _invent_a_section(told: dict[str, Any]) -> None:
    told["smoothed"] = {"sigma": 1.0, "n": 1, "alpha": 0.1, "points": [], "abstained": 0}


def _drop_what_was_asked_for(told: dict[str, Any]) -> None:
    del told["unseen"]
    told["asked"]["unseen"] = False


@pytest.mark.parametrize(
    ("change", "wrong"),
    [(_drop_a_section, "sections"), (_invent_a_section, "sections"), (_drop_what_was_asked_for, "x_adv.bound")],
)
def test_a_section_left_out_or_added_is_noticed(
    change: Callable[[dict[str, Any]], None], wrong: str, ask: Ask, evidence: Path
) -> None:
    _edit(evidence, change)
    code, out, _ = ask("action=verify", f"evidence={evidence}")
    assert (code, f"does not hold: {wrong}" in out) == (4, True)


def test_the_seed_belongs_to_the_evidence(ask: Ask, evidence: Path) -> None:
    _edit(evidence, lambda told: told.update(seed=7))
    code, out, _ = ask("action=verify", f"evidence={evidence}")
    assert code == 4
    assert "does not hold: x_adv.bound" in out


def test_a_report_that_tells_something_else_does_not_hold(ask: Ask, evidence: Path) -> None:
    page = evidence / "report.html"
    page.write_text(page.read_text().replace("%", "&#37;", 1))
    code, out, _ = ask("action=verify", f"evidence={evidence}")
    assert (code, out.count("does not hold")) == (4, 1)
    assert "does not hold: report" in out


def test_the_worst_case_that_is_printed_is_the_one_found(ask: Ask, evidence: Path) -> None:
    true = json.loads((evidence / "evaluation.json").read_text())["worst_case"]["accuracy"]["value"]
    _edit(evidence, lambda told: told["worst_case"]["accuracy"].update(value=0.99))
    _, out, _ = ask("action=verify", f"evidence={evidence}")
    assert f"worst case {true:.1%}" in out.split("numbers hold")[1]


def test_other_weights_that_are_gone_are_asked_for_or_skipped(ask: Ask, evidence: Path) -> None:
    _edit(evidence, lambda told: told["against"].update(file="gone.safetensors"))
    code, _, err = ask("action=verify", f"evidence={evidence}")
    assert (code, "the other weights are not there" in err) == (1, True)
    code, out, _ = ask("action=verify", f"evidence={evidence}", "skip=[against]")
    assert "does not hold" not in out.replace("does not hold: report", "")
    assert "not computed again: times and passes, against" in out
    assert ask("action=verify", f"evidence={evidence}", "skip=[worst_case]")[0] == 2


def _most(images: dict[str, torch.Tensor]) -> str:
    """The images of the suite's attack that broke most."""
    return max((f"{name}.x_adv" for name in ("pgd", "apgd_ce", "fab_t")), key=lambda key: len(images[key]))


def _images_of(evidence: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(evidence / "x_adv.safetensors", framework="pt") as file:
        return load_file(evidence / "x_adv.safetensors"), file.metadata()


def test_another_suite_cannot_be_called_autoattack_nor_another_eps_be_said(ask: Ask, evidence: Path) -> None:
    def forge(told: dict[str, Any]) -> None:
        told["suite"].update(name="standard", label="AA")
        told["threat"].update(eps="0.3")

    _edit(evidence, forge)
    code, out, _ = ask("action=verify", f"evidence={evidence}")
    assert code == 4
    assert "does not hold: suite.label: the evaluation says AA" in out
    assert "does not hold: x_adv.bound" in out


def test_a_certificate_is_computed_again_not_read(ask: Ask, evidence: Path) -> None:
    columns = dict(np.load(evidence / "per_sample.npz"))
    columns["certified"] = np.ones_like(columns["certified"])
    np.savez_compressed(evidence / "per_sample.npz", **columns)
    n = len(columns["certified"])
    whole = {"value": 1.0, "low": 0.0, "high": 1.0, "n": n}
    _edit(evidence, lambda told: told["certified"]["accuracy"].update(whole), seal=True)
    code, out, _ = ask("action=verify", f"evidence={evidence}")
    assert code == 4
    assert "does not hold: certified.accuracy.value" in out


def test_other_weights_are_not_those_that_were_evaluated(ask: Ask, evidence: Path, weights: Path) -> None:
    other = weights.parent / "ordinary.safetensors"
    assert _main(harden.train.main, *TINY, "seed=1", f"output={evidence.parent / 'other'}") == 0
    other = evidence.parent / "other" / "weights.safetensors"
    code, _, err = ask("action=verify", f"evidence={evidence}", f"weights={other}")
    assert code == 4
    assert "these are not the weights that were evaluated" in err


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
        ("against=none.safetensors", 2, "none.safetensors: there is no such file"),
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
    from safetensors import safe_open

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
