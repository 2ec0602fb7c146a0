"""A round in MLflow: a run for the round, nested ones for its parts, files, tags and metrics that tell the story alone.

A round is published whole or not at all: what a killed sitting left half-told is taken away and told anew.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harden.files import write_json
from harden.ledger import Ledger, Store, open_ledger
from harden.reviewing.render import escaped
from harden.rounds.bench import BANK, COMPARE, EVALUATE, GATES, MARK, NEXT, SEAL, TRAIN, VALIDATE
from harden.rounds.record import digest_of
from harden.rounds.sealing import model_id
from harden.rounds.stage import Entry

KEY, PUBLISHED, ROUND, PROGRAMME, KIND = (
    "harden.key",
    "harden.published",
    "harden.round",
    "harden.programme",
    "harden.kind",
)
ENTRIES = "entries.json"
KEPT: dict[str, tuple[str, ...]] = {
    "plan": ("plan.json", "proposed.json", "edits.json"),
    TRAIN: ("training.json",),
    MARK: ("mark.json",),
    VALIDATE: ("validation.json",),
    EVALUATE: ("evaluation.json", "figures.json", "per_sample.npz", "x_adv.safetensors", "report.html"),
    COMPARE: ("comparison.json",),
    BANK: ("replay.json",),
    SEAL: ("model.sealed", "model.sealed.manifest.json"),
    GATES: ("gates.json",),
    NEXT: ("plan.json",),
}
"""Which files of a stage go into the store. Plain weights are not among them."""


@dataclass(frozen=True)
class Place:
    """Where a programme is told."""

    uri: str | None
    folder: Path
    programme: str
    round: str

    @property
    def experiment(self) -> str:
        """The experiment: the programme."""
        return self.programme


def publish(store: Store, place: Place, home: Path, entries: Mapping[str, Entry], facts: Mapping[str, str]) -> str:
    """The id of the round's run, which holds all of it. `facts`: tags besides."""
    plain = {
        name: entry.record() | {"began": entry.began, "seconds": entry.seconds, "timed": dict(entry.timed)}
        for name, entry in entries.items()
    }
    digest = digest_of({name: entry.record() | {"timed": dict(entry.timed)} for name, entry in entries.items()})
    with _run(store, place, "round", place.round, None, digest) as (ledger, run):
        if ledger is None:
            return run
        _tell_round(ledger, home, entries, plain, facts)
        for kind, tell in PARTS.items():
            if kind in entries:
                with _run(store, place, kind, f"{place.round} {kind}", run, digest) as (nested, _):
                    if nested is not None:
                        tell(nested, entries[kind], home / kind)
        _attacks(store, place, run, digest, home)
    return run


@contextmanager
def _run(
    store: Store, place: Place, kind: str, name: str, parent: str | None, digest: str
) -> Iterator[tuple[Ledger | None, str]]:
    """A ledger for the run of this key, None where it has been told already; half-told ones are removed."""
    key = f"{place.programme}/{place.round}/{kind}/{name}"
    for run in store.runs(f"tags.`{KEY}` = '{key}'", [place.experiment]):
        if run.tags.get(PUBLISHED) == digest:
            yield None, run.id
            return
        store.remove(run.id)
    ledger = open_ledger(uri=place.uri, folder=place.folder, experiment=place.experiment, name=name, parent=parent)
    with ledger:
        ledger.tag({KEY: key, KIND: kind, ROUND: place.round, PROGRAMME: place.programme})
        yield ledger, ledger.run_id
        ledger.tag({PUBLISHED: digest})


def _tell_round(
    ledger: Ledger, home: Path, entries: Mapping[str, Entry], plain: Mapping[str, Any], facts: Mapping[str, str]
) -> None:
    plan = json.loads((home / "plan" / "plan.json").read_text())
    ledger.note(
        {key: plan[key] for key in ("recipe", "start", "replay", "suite", "images", "gates", "minutes", "after")}
    )
    ledger.tag(facts)
    for name, files in KEPT.items():
        for file in files:
            if (home / name / file).is_file():
                ledger.keep(home / name / file, name)
    with tempfile.TemporaryDirectory() as folder:
        write_json(Path(folder) / ENTRIES, dict(plain))
        ledger.keep(Path(folder) / ENTRIES)
    ledger.log(_headline(entries), 0)
    ledger.tag({"mlflow.note.content": _note(entries, plan)})  # the first thing on the run's page


def _headline(entries: Mapping[str, Entry]) -> dict[str, float]:
    """What MLflow's table of runs compares: the figures of a round."""
    told: dict[str, float] = {}
    if EVALUATE in entries:
        figures = entries[EVALUATE].result
        told |= _accuracy("clean_acc", figures["clean"]) | _accuracy("robust_acc.worst", figures["worst"])
        told |= {f"robust_acc.{name}": one["value"] for name, one in figures["attacks"].items()}
    if VALIDATE in entries:
        told |= _accuracy("validation.robust_acc", entries[VALIDATE].result["worst"])
    if BANK in entries:
        told |= {
            f"bank.{key}": entries[BANK].result[key]
            for key in ("entries", "size", "lost", "gained")
            if key in entries[BANK].result
        }
    for name, entry in entries.items():
        told[f"seconds.{name}"] = entry.seconds
    return told | {"seconds": round(sum(entry.seconds for entry in entries.values()), 3)}


def _note(entries: Mapping[str, Entry], plan: Mapping[str, Any]) -> str:
    """The round in Markdown: verdict, figures, gates, what comes next."""
    figures, verdict, after = entries[EVALUATE].result, entries[GATES].result, entries[NEXT].result
    threat = plan["recipe"]["threat"]
    lines = [
        f"**{'Promoted to champion' if verdict['promoted'] else 'Refused by its gates'}**",
        "",
        f"| {threat['norm']} eps {threat['eps']} | accuracy | 95 % interval |",
        "|---|--:|--:|",
        *(_figure(name, one) for name, one in (("clean", figures["clean"]), (figures["label"], figures["worst"]))),
        "",
        "| gate | answer | got |",
        "|---|---|---|",
        *(f"| {gate['name']} | {gate['answer']} | {escaped(gate['got'])} |" for gate in verdict["gates"]),
        "",
        f"Next, {after['round']}:",
        "",
        *(f"- {escaped(one['rule'])}: {escaped(one['decision'])}" for one in after["reasons"]),
    ]
    return "\n".join([*lines, "", "The whole review is among the artifacts: `review/review.html`."])


def _figure(name: str, one: Mapping[str, float]) -> str:
    return f"| {escaped(name)} | {100 * one['value']:.1f} % | {100 * one['low']:.1f}-{100 * one['high']:.1f} % |"


def _train(ledger: Ledger, entry: Entry, folder: Path) -> None:
    told = json.loads((folder / "training.json").read_text())
    for row in told["epochs"]:
        ledger.log({name: value for name, value in row.items() if name != "step"}, int(row["step"]))
    for event in told["events"]:
        ledger.tag({f"harden.event.{event['step']}.{event['kind']}": event["text"]})
    ledger.tag({"harden.weights.sha256": told["weights_sha256"], "harden.selected": told["selected"]})
    ledger.log({"seconds": entry.seconds}, 0)


def _validate(ledger: Ledger, entry: Entry, _folder: Path) -> None:
    told = entry.result
    ledger.log(_accuracy("clean_acc", told["clean"]) | _accuracy("robust_acc.worst", told["worst"]), 0)
    ledger.log({f"broken.{name}": count for name, count in told["broken"].items()}, 0)


def _evaluate(ledger: Ledger, _entry: Entry, folder: Path) -> None:
    told = json.loads((folder / "evaluation.json").read_text())
    ledger.tag({"harden.norm": told["threat"]["norm"], "harden.eps": told["threat"]["eps"]})
    ledger.tag({"harden.suite": told["suite"]["label"], "harden.reliable": str(told["reliable"]).lower()})
    ledger.tag({"harden.weights.sha256": told["weights"]["sha256"]})
    ledger.data(
        name=told["data"]["name"], digest=told["data"]["digest"], source="the round's plan", context="evaluation"
    )
    ledger.log(_accuracy("clean_acc", told["clean"]) | _accuracy("robust_acc.worst", told["worst_case"]["accuracy"]), 0)
    for point in told.get("curve", {}).get("points", ()):
        ledger.log({"curve_acc": point["accuracy"]["value"]}, round(1000 * point["radius"]))


def _seal(ledger: Ledger, entry: Entry, _folder: Path) -> None:
    ledger.tag({f"harden.seal.{name}": str(value) for name, value in entry.result.items()})


def _gates(ledger: Ledger, entry: Entry, _folder: Path) -> None:
    for gate in entry.result["gates"]:
        ledger.tag({f"harden.gate.{gate['name']}": f"{gate['answer']}: {gate['got']}"})


PARTS = {TRAIN: _train, VALIDATE: _validate, EVALUATE: _evaluate, SEAL: _seal, GATES: _gates}
"""What each nested run holds."""


def _attacks(store: Store, place: Place, parent: str, digest: str, home: Path) -> None:
    """A nested run for each attack that the model was measured with."""
    told = json.loads((home / EVALUATE / "evaluation.json").read_text())
    for one in told["attacks"]:
        with _run(store, place, "attack", f"{place.round} {one['label']}", parent, digest) as (ledger, _):
            if ledger is not None:
                ledger.note(told["suite"]["knobs"][one["name"]])
                ledger.tag({"harden.attack": one["label"], "harden.eps": told["threat"]["eps"]})
                figures = _accuracy("robust_acc", one["accuracy"])
                counts = {name: one[name] for name in ("attacked", "broken", "forward", "backward", "seconds")}
                ledger.log(figures | counts, 0)


def _accuracy(name: str, one: Mapping[str, float]) -> dict[str, float]:
    return {name: one["value"], f"{name}.low": one["low"], f"{name}.high": one["high"], f"{name}.n": one["n"]}


def register(store: Store, place: Place, run: str, home: Path, *, promoted: bool) -> None:
    """The sealed file as a version of the programme's registered model; `candidate`, and `champion` where promoted."""
    with tempfile.TemporaryDirectory() as folder:  # the registry copies a folder whole
        for name in KEPT[SEAL]:
            (Path(folder) / name).write_bytes((home / SEAL / name).read_bytes())
        tags = {ROUND: place.round, PROGRAMME: place.programme}
        version = store.register(model_name(place.programme), Path(folder), run=run, tags=tags)
    store.point(model_name(place.programme), "candidate", version)
    if promoted:
        store.point(model_name(place.programme), "champion", version)


def model_name(programme: str) -> str:
    """The registered model's name."""
    return model_id(programme)
