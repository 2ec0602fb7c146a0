"""The training stage: the plan's recipe, and in the first round an ordinary model to compare with."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from harden.evaluation import Begin
from harden.files import write_json
from harden.models import save
from harden.rounds.bench import BANK, ORDINARY, WEIGHTS, Bench
from harden.rounds.stage import Done
from harden.training import Clean, EpochStats, Event, Recipe, Training, held_out
from harden.training import folder as place
from harden.training.lessons import Lessons
from harden.training.results import card_of

TRAINING = "training.json"
EVERY = 20.0
"""Seconds between two checkpoints: what a kill may cost."""

TIMED = {"images_per_second"}


def train(bench: Bench, folder: Path) -> Done:
    """Weights, and how they came about. Killed, it goes on from its checkpoint and ends with the same bits."""
    told = _trained(bench, folder, bench.recipe, WEIGHTS, "hardened")
    if not bench.chain and bench.recipe.objective.hardens:
        plain = replace(bench.recipe, attack=None, objective=Clean())
        told["ordinary"] = _trained(bench, folder, plain, ORDINARY, "ordinary")
    write_json(folder / TRAINING, told)
    write_json(folder / place.SUMMARY, beside(bench, told["weights_sha256"], told["selected"]))
    return Done(
        {name: told[name] for name in ("images", "weights_sha256", "selected", "validation", "events", "steps_held")}
    )


def beside(bench: Bench, weights: str, selected: str) -> dict[str, Any]:
    """What stands beside weights of this SHA-256, so that an evaluation knows which images chose them."""
    part = held_out.held_out(bench.data, bench.recipe.schedule.validation, bench.recipe.seed)
    told = {"format": 1, "weights_sha256": weights, "selected": selected, "seed": bench.recipe.seed}
    return told | {"chosen_on": held_out.told(bench.data, part)}


def recipe_with(bench_recipe: Recipe, plan_classes: tuple[float, ...], replay: float, bank: Path | None) -> Recipe:
    """The recipe with the plan's lessons: weights of classes, and the bank's file of training images."""
    objective = bench_recipe.objective
    if not isinstance(objective, Lessons):
        return bench_recipe
    share = replay or objective.share
    file = str(bank / BANK / "train.safetensors") if bank is not None and replay else None
    if file is not None and not Path(file).is_file():
        file = None
    return replace(bench_recipe, objective=Lessons(classes=list(plan_classes), replay=file, share=share))


def _trained(bench: Bench, folder: Path, recipe: Recipe, name: str, role: str) -> dict[str, Any]:
    device = bench.device
    training = Training(
        recipe,
        bench.data,
        device=device,
        bf16=bench.compute.bf16(device),
        folder=folder / f".{role}",
        every=EVERY,
        stop=bench.stop,
    )
    bench.watch(Begin(role, f"train {role}", training.steps))
    for news in training:
        bench.watch(news)
    state = training.state
    robust, clean = state.best if recipe.objective.hardens else state.best[::-1]
    return {
        "images": len(training.train_ids),
        "weights_sha256": save(folder / name, training.selected(), card_of(recipe, bench.data, role=role)),
        "selected": state.chosen,
        "validation": {"clean": clean, "robust": robust, "images": len(training.val_ids)},
        "epochs": [_untimed(row) for row in state.epochs],
        "events": [_event(one) for one in state.events if one.kind != "resume"],
        "steps_held": getattr(state.attack, "steps", None) if state.trips else None,
    }


def _untimed(row: EpochStats) -> dict[str, float]:
    return {name: value for name, value in row.figures().items() if name not in TIMED}


def _event(event: Event) -> dict[str, Any]:
    return {"kind": event.kind, "step": event.step, "epoch": event.epoch, "text": event.text}
