"""The pictures of a finished job: its curves, and a few test images with what the attack made of them."""

from pathlib import Path

import torch
from torch import Tensor

from harden import pictures
from harden.evaluation import exact
from harden.seeds import stream
from harden.training import Job, Measured
from harden.training import folder as place

EXAMPLES = 8


def draw(job: Job, folder: Path) -> list[Path]:
    """Writes `curves.svg` and `examples.png` into `folder`; their paths."""
    if job.hardened is None:
        raise ValueError("the job has not been run to its end")
    _curves(job, job.hardened, folder / place.CURVES)
    _examples(job, job.hardened, folder / place.EXAMPLES)
    return [folder / place.CURVES, folder / place.EXAMPLES]


def _curves(job: Job, hardened: Measured, path: Path) -> None:
    title = f"{job.data.name}, {type(job.recipe.objective).__name__}, {job.recipe.threat.label}"
    events = [(event.epoch, f"{event.kind}: {event.text}") for event in hardened.events]
    pictures.curves([row.figures() for row in hardened.epochs], path, title=title, events=events)


def _examples(job: Job, hardened: Measured, path: Path) -> None:
    """The first test images that the attacked model gets right when clean, attacked; and what each model says."""
    models = {"hardened": hardened} if job.recipe.objective.hardens else {}
    models = ({"ordinary": job.ordinary} if job.ordinary else {}) | models
    name, victim = next(iter(models.items()))
    ids = job.test_ids[victim.outcome.clean.to(job.device)][:EXAMPLES]
    if not len(ids):
        ids = job.test_ids[:EXAMPLES]
    batch, recipe = job.data.test.on(job.device).batch(ids), job.recipe
    with exact():
        rng = stream(recipe.seed, "judge").at(batch.index)
        x_adv = recipe.judge.attack(victim.model, batch.x, batch.y, recipe.threat, rng=rng)
        pictures.examples(
            path,
            clean=batch.x.cpu().numpy(),
            adversarial=x_adv.cpu().numpy(),
            labels=batch.y.tolist(),
            before={key: _says(one, batch.x) for key, one in models.items()},
            after={key: _says(one, x_adv) for key, one in models.items()},
            classes=job.data.classes,
            eps_text=f"{recipe.judge.attack.label} against the {name} model, {recipe.threat.label}",
        )


def _says(measured: Measured, x: Tensor) -> list[int]:
    with torch.no_grad():
        return [int(label) for label in measured.model(x).argmax(dim=1)]
