"""What a finished job leaves behind: weights with their card, `summary.json`; and how to load it again."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harden.data import DataSet, Split
from harden.errors import HardenError
from harden.evaluation import Accuracy
from harden.files import write_json
from harden.models import Card, Classifier, CustomModel, arguments_of, load, name_of, save
from harden.spelling import read, spell
from harden.threat import ThreatModel
from harden.training import folder as place
from harden.training.held_out import PART, digest, held_out, told
from harden.training.job import Job, Measured
from harden.training.network import network
from harden.training.recipe import Recipe

FORMAT = 1


def card_of(recipe: Recipe, data: DataSet, *, role: str) -> Card:
    """The description that goes into the weights file. It names no local path."""
    choice = network(recipe, data)
    objective = "clean" if role == "ordinary" else type(recipe.objective).__name__.lower()
    return Card(
        model=name_of(choice),
        arguments=arguments_of(choice),
        shape=data.shape,
        classes=data.classes,
        data={key: value for key, value in spell(recipe.data).items() if key != "root"},
        data_name=data.name,
        data_digest=data.digest,
        threat=asdict(recipe.threat) | {"norm": recipe.threat.norm.value},
        training={"role": role, "objective": objective, "seed": recipe.seed, "recipe": recipe.digest},
    )


def write(job: Job, folder: Path, *, run_id: str) -> dict[str, Any]:
    """Weights and, last of all, `summary.json`, which says that the run is finished; returns the summary."""
    hardened, ordinary = _both(job)
    digest = _save(job, hardened, folder / place.WEIGHTS, "hardened" if job.recipe.objective.hardens else "ordinary")
    if ordinary is not None and ordinary is not hardened and not job.from_sealed:
        _save(job, ordinary, folder / place.ORDINARY, "ordinary")
    summary = summary_of(job) | {"run_id": run_id, "weights_sha256": digest}
    write_json(folder / place.SUMMARY, summary)
    place.settle(folder)
    return summary


def summary_of(job: Job) -> dict[str, Any]:
    """The figures of a finished job as plain data. Accuracies are `{value, low, high, n}`, shares of 1."""
    hardened, ordinary = _both(job)
    recipe, attack = job.recipe, job.recipe.attack
    return {
        "format": FORMAT,
        "clean_accuracy": asdict(hardened.clean),
        "robust_accuracy": asdict(hardened.robust),
        "baseline_clean_accuracy": asdict(ordinary.clean) if ordinary else None,
        "baseline_robust_accuracy": asdict(ordinary.robust) if ordinary else None,
        "baseline": ("as given" if recipe.init else "ordinary") if ordinary else None,
        "attack": recipe.judge.attack.label,
        "training_attack": attack.label if attack else None,
        "hardens": recipe.objective.hardens,
        "objective": type(recipe.objective).__name__.lower(),
        "threat": asdict(recipe.threat) | {"norm": recipe.threat.norm.value},
        "data": {"name": job.data.name, "sha256": job.data.digest},
        "model": name_of(network(recipe, job.data)),
        "seed": recipe.seed,
        "recipe_sha256": recipe.digest,
        "selected": hardened.chosen,
        "chosen_on": told(job.data, held_out(job.data, recipe.schedule.validation, recipe.seed)),
        "largest_excess": hardened.outcome.excess,  # how far the worst candidate lay outside the ball before projection
        "seconds": round(sum(one.seconds for one in {id(m): m for m in (hardened, ordinary) if m}.values()), 3),
        "images_per_second": round(hardened.images_per_second, 1),
        "events": [spell(event) for event in hardened.events],
        "epochs": [row.figures() for row in hardened.epochs],
    }


@dataclass(frozen=True)
class Finished:
    """A run's folder, read back: `summary` as `summary_of` made it, `model` in eval mode, `ordinary` if kept."""

    folder: Path
    summary: dict[str, Any]
    model: Classifier
    card: Card
    ordinary: Classifier | None

    @property
    def threat(self) -> ThreatModel:
        """The threat model that the figures are for."""
        return threat_of(self.card)

    def accuracy(self, name: str) -> Accuracy:
        """An accuracy of the summary, such as `robust_accuracy`."""
        return Accuracy(**self.summary[name])


def finished(folder: Path | str, *, custom: CustomModel | None = None) -> Finished:
    """The finished run in `folder`; `custom`: the network, where it is the user's own.

    Raises HardenError where there is no finished run, WeightsError for bad weights.
    """
    folder = Path(folder)
    try:
        summary = json.loads((folder / place.SUMMARY).read_text())
    except (OSError, ValueError) as error:
        raise HardenError(f"{folder}: there is no finished run here", "run harden.train first") from error
    model, card = load(folder / place.WEIGHTS, custom=custom)
    before = folder / place.ORDINARY
    return Finished(folder, summary, model, card, load(before, custom=custom)[0] if before.is_file() else None)


def record_of(weights: Path, sha256: str) -> dict[str, Any]:
    """The summary beside a weights file, where it speaks of these very weights; else nothing."""
    try:
        summary = json.loads((weights.parent / place.SUMMARY).read_text())
    except (OSError, ValueError):
        return {}
    is_ours = isinstance(summary, dict) and summary.get("weights_sha256") == sha256
    return summary if is_ours else {}


def chosen_on(record: Mapping[str, Any], data: DataSet) -> tuple[str | None, Split | None]:
    """On which images of `data` the checkpoint was chosen, as its record says; and they, where they are validation's.

    Not taken on trust: the validation part is drawn again, and its digest must be the record's.
    """
    chosen = record.get("chosen_on")
    if not chosen:
        return None, None
    part = data.train.take(held_out(data, int(chosen["images"]), int(record["seed"])).held)
    if (chosen["part"], chosen["sha256"]) == (PART, digest(part)):
        return PART, part
    return "other than validation's", None


def threat_of(card: Card) -> ThreatModel:
    """The threat model named in a weights file."""
    if card.threat is None:
        return ThreatModel()
    value: ThreatModel = read({"is": "ThreatModel", **card.threat}, {"ThreatModel": ThreatModel})
    return value


def _both(job: Job) -> tuple[Measured, Measured | None]:
    if job.hardened is None:
        raise ValueError("the job has not been run to its end")
    return job.hardened, job.ordinary


def _save(job: Job, measured: Measured, path: Path, role: str) -> str:
    return save(path, measured.model, card_of(job.recipe, job.data, role=role))
