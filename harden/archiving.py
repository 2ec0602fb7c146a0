"""An evaluation in the ledger: one run, and nested below it one for each attack."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harden.environment import environment
from harden.evaluation import evidence
from harden.evaluation.journal import PARTS
from harden.evaluation.request import EvaluateRequest
from harden.ledger import Ledger, open_ledger
from harden.loading import Opened
from harden.spelling import spell
from harden.training import folder as place


def archive(request: EvaluateRequest, subject: Opened, told: Mapping[str, Any], folder: Path) -> str:
    """Records the evaluation; where it was recorded, for people to read.

    Beside a run of `harden.train` it goes into that run's store, nested below that run.
    """
    run = place.read_record(subject.path.parent)
    home = subject.path.resolve().parent
    wish: dict[str, Any] = {
        "uri": request.tracking.uri,
        "folder": home.parent if run else home,
        "experiment": request.tracking.experiment or subject.data.name,
    }
    name = f"{subject.path.resolve().parent.name}-{told['suite']['label']}"
    parent = run if run and run != "memory" else None
    with open_ledger(**wish, name=name, parent=parent) as ledger:
        _whole(ledger, request, subject, told, folder)
        if ledger.run_id == "memory":
            return "not recorded: tracking is off"
        for one in told["attacks"]:
            with open_ledger(**wish, name=one["label"], parent=ledger.run_id) as nested:
                _attack(nested, one, told)
        return f"{ledger.run_id} in {ledger.location}"


def _whole(ledger: Ledger, request: EvaluateRequest, subject: Opened, told: Mapping[str, Any], folder: Path) -> None:
    ledger.note(spell(request) | {"suite": told["suite"]["label"], "attack": None})
    ledger.tag(environment() | {"harden.kind": "evaluate", "harden.weights.sha256": subject.sha256})
    ledger.tag({"harden.norm": told["threat"]["norm"], "harden.eps": told["threat"]["eps"]})
    ledger.tag({"harden.suite": told["suite"]["label"], "harden.reliable": str(told["reliable"]).lower()})
    ledger.tag({"mlflow.note.content": _note(told)})
    ledger.data(name=subject.data.name, digest=subject.data.digest, source=subject.data.source, context="evaluation")
    worst = told["worst_case"]
    figures = _figures("clean_acc", told["clean"]) | _figures("robust_acc", worst["accuracy"])
    figures |= {name: worst[name] for name in ("forward", "backward", "seconds")}
    if "certified" in told:
        figures |= _figures("certified_acc", told["certified"]["accuracy"])
    ledger.log(figures, 0)
    for point in told.get("curve", {}).get("points", ()):
        ledger.log({"curve_acc": point["accuracy"]["value"]}, round(1000 * point["radius"]))
    for file in (evidence.SAMPLES, evidence.IMAGES, evidence.REPORT):
        ledger.keep(folder / file)
    ledger.keep(folder / PARTS / evidence.EVALUATION)


def _attack(ledger: Ledger, one: Mapping[str, Any], told: Mapping[str, Any]) -> None:
    ledger.note(told["suite"]["knobs"][one["name"]])
    ledger.tag({"harden.kind": "attack", "harden.attack": one["label"]})
    figures = _figures("robust_acc", one["accuracy"])
    ledger.log(figures | {name: one[name] for name in ("attacked", "broken", "forward", "backward", "seconds")}, 0)


def _figures(name: str, accuracy: Mapping[str, float]) -> dict[str, float]:
    return {name: accuracy["value"], f"{name}.low": accuracy["low"], f"{name}.high": accuracy["high"]}


def _note(told: Mapping[str, Any]) -> str:
    """The attacks as a Markdown table, which MLflow shows as the run's description."""
    threat = told["threat"]
    lines = [
        f"{told['data']['name']}, {threat['norm']} eps {threat['eps']}, {told['suite']['label']}",
        "",
        "| attack | broke | accuracy after it |",
        "|---|--:|--:|",
        f"| none (clean) | | {told['clean']['value']:.1%} |",
    ]
    lines += [f"| {one['label']} | {one['broken']} | {one['accuracy']['value']:.1%} |" for one in told["attacks"]]
    return "\n".join([*lines, f"| **worst case** | | **{told['worst_case']['accuracy']['value']:.1%}** |"])
