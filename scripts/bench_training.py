"""Images per second of Madry training: harden against ART's `AdversarialTrainerMadryPGD`, in one process.

    python scripts/bench_training.py --root FOLDER_WITH_MNIST --json bench.json

Every row trains the same network from the same weights on the same images with the same optimiser, batch
size, radius, step length and number of steps, in float32 on the CPU with the same threads. The rounds are
interleaved, each begins with another row, so that a change in the machine's load meets all rows alike.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported; spinning threads steal cores
os.environ.setdefault("TQDM_DISABLE", "1")  # two of ART's progress bars know no other switch

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harden.attacks import Keep, Pgd
from harden.data import DataSet, Mnist, Split, load
from harden.environment import environment
from harden.errors import DataError, HardenError, MissingExtra
from harden.files import write_json
from harden.models import Cnn
from harden.training import Recipe, Schedule, Shape, Training, Watchdog
from harden.training.loop import fresh_model

CLASSES = 10
HELD_OUT = 1  # images the loop validates on when a run ends; ART's trainer has no validation
OURS, OURS_BARE, SHIPPED, TUNED = "harden", "harden, no watchdog, no EMA", "ART as shipped", "ART tuned"


@dataclass(frozen=True)
class Contender:
    """A fresh model, the optimiser that moves it, and what trains it once over the images."""

    model: nn.Module
    optimiser: torch.optim.Optimizer
    train: Callable[[], None]


Builder = Callable[[Recipe, DataSet], Contender]


@dataclass(frozen=True)
class Proof:
    """What one run did: passes per training image, optimiser steps, and the clean loss before and after."""

    forward: float
    backward: float  # to the input or to the weights
    weights: float  # of these, the ones that computed the gradients of the weights
    updates: int
    loss_before: float
    loss_after: float


# -- the two sides ------------------------------------------------------------------------------------------


def of_harden(recipe: Recipe, data: DataSet) -> Contender:
    """The loop behind `harden.train`, of which all is timed: looks, averaging, validation at the end."""
    training = Training(recipe, data)

    def train() -> None:
        for _ in training:
            pass

    return Contender(training.learner.model, training.learner.optimiser, train)


def of_harden_bare(recipe: Recipe, data: DataSet) -> Contender:
    """The same without watchdog and averaged weights, which ART does not have."""
    schedule = replace(recipe.schedule, ema=0.0)
    return of_harden(replace(recipe, schedule=schedule, watchdog=Watchdog(every=0)), data)


def of_art(recipe: Recipe, data: DataSet) -> Contender:
    """ART's trainer with its defaults, among them an attack batch of 32; but for eps, which is 8 for 0..255."""
    model = fresh_model(recipe, data)
    optimiser = recipe.optim.over(model)
    trainer = _art_trainer(recipe, _art_classifier(model, optimiser))
    x, y = _images(recipe, data)
    return Contender(model, optimiser, lambda: trainer.fit(x, y, nb_epochs=1))


def of_art_tuned(recipe: Recipe, data: DataSet) -> Contender:
    """ART at its best: attacks whole batches, preprocesses nothing, is given the label format it converts to."""
    model = fresh_model(recipe, data)
    optimiser = recipe.optim.over(model)
    trainer = _art_trainer(recipe, _art_classifier(model, optimiser, preprocessing=None))
    trainer.attack.set_params(batch_size=recipe.schedule.batch_size)
    x, y = _images(recipe, data)
    one_hot = np.eye(CLASSES, dtype=np.float32)[y]
    return Contender(model, optimiser, lambda: trainer.fit(x, one_hot, nb_epochs=1))


def _art_classifier(model: nn.Module, optimiser: torch.optim.Optimizer, **options: Any) -> Any:
    from art.estimators.classification import PyTorchClassifier  # 7 s, hence not for --help

    return PyTorchClassifier(
        model,
        loss=nn.CrossEntropyLoss(),
        optimizer=optimiser,
        input_shape=(1, 28, 28),
        nb_classes=CLASSES,
        clip_values=(0.0, 1.0),
        device_type="cpu",
        **options,
    )


def _art_trainer(recipe: Recipe, classifier: Any) -> Any:
    from art.defences.trainer import AdversarialTrainerMadryPGD

    np.random.seed(recipe.seed)  # ART draws from NumPy's global generator
    eps, step = recipe.threat.radius, recipe.attack.share * recipe.threat.radius
    size, steps = recipe.schedule.batch_size, recipe.attack.steps
    return AdversarialTrainerMadryPGD(classifier, batch_size=size, eps=eps, eps_step=step, max_iter=steps)


def _images(recipe: Recipe, data: DataSet) -> tuple[Any, Any]:
    """As many images as harden trains on, float32 in 0..1, and their labels, as arrays."""
    batch = data.train.batch(torch.arange(len(data.train) - HELD_OUT))
    return batch.x.numpy(), batch.y.numpy()


ROWS: dict[str, Builder] = {OURS: of_harden, OURS_BARE: of_harden_bare, SHIPPED: of_art, TUNED: of_art_tuned}


# -- measuring ----------------------------------------------------------------------------------------------


def speeds(recipe: Recipe, data: DataSet, *, rounds: int) -> dict[str, list[float]]:
    """Training images per second of wall time by row, one figure a round; building is not timed."""
    found: dict[str, list[float]] = {name: [] for name in ROWS}
    for one in range(rounds):
        names = list(ROWS)
        for name in names[one % len(names) :] + names[: one % len(names)]:
            contender = ROWS[name](recipe, data)
            began = time.perf_counter()
            contender.train()
            found[name].append((len(data.train) - HELD_OUT) / (time.perf_counter() - began))
            print(f"round {one + 1} of {rounds}: {name}: {found[name][-1]:.0f} images/s", file=sys.stderr)
    return found


def prove(contender: Contender, data: DataSet) -> Proof:
    """Trains once, uncounted in time (so it warms up too), and counts what the model is put through."""
    images = len(data.train) - HELD_OUT
    before = clean_loss(contender.model, data)
    with counting(contender) as count:
        contender.train()
    passes = (count[name] / images for name in ("forward", "backward", "weights"))
    return Proof(*passes, count["updates"], before, clean_loss(contender.model, data))


@contextmanager
def counting(contender: Contender) -> Iterator[dict[str, int]]:
    """Inside, counts images in forward and backward passes, images whose weight gradients were computed, updates."""
    count = {"forward": 0, "backward": 0, "weights": 0, "updates": 0, "batch": 0}

    def add(name: str, images: int) -> None:
        count[name] += images

    def forward(_model: nn.Module, _inputs: Any, logits: Tensor) -> None:
        count["batch"] = len(logits)
        add("forward", len(logits))
        if logits.requires_grad:
            logits.register_hook(lambda gradient: add("backward", len(gradient)))

    first = next(contender.model.parameters())
    hooks = (
        contender.model.register_forward_hook(forward),
        first.register_post_accumulate_grad_hook(lambda _: add("weights", count["batch"])),
        contender.optimiser.register_step_post_hook(lambda *_: add("updates", 1)),
    )
    try:
        yield count
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def clean_loss(model: nn.Module, data: DataSet) -> float:
    """Mean cross-entropy on the first 512 training images."""
    batch = data.train.batch(torch.arange(min(512, len(data.train))))
    return float(F.cross_entropy(model.eval()(batch.x), batch.y))


def check(proofs: dict[str, Proof], *, batches: int) -> None:
    """Nothing where every row has done the same work and learned from it; HardenError otherwise."""
    for name, proof in proofs.items():
        if proof.updates != batches:
            raise HardenError(f"{name}: {proof.updates} optimiser steps, wanted {batches}")
        if not proof.loss_after < proof.loss_before:
            raise HardenError(f"{name}: the loss went from {proof.loss_before:.3f} to {proof.loss_after:.3f}")


@dataclass(frozen=True)
class Ratio:
    """How much faster one row is than another: of the medians, and of the rounds one by one."""

    of_medians: float
    paired_median: float
    paired_low: float
    paired_high: float


def ratio(fast: Sequence[float], slow: Sequence[float]) -> Ratio:
    """The ratio of two rows' speeds, figures of one round at the same place."""
    paired = [a / b for a, b in zip(fast, slow, strict=True)]
    return Ratio(median(fast) / median(slow), median(paired), min(paired), max(paired))


# -- telling ------------------------------------------------------------------------------------------------


def facts(data: DataSet, options: argparse.Namespace, batches: int) -> dict[str, str]:
    """What the figures rest on, by name."""
    return environment() | {
        "adversarial-robustness-toolbox": metadata.version("adversarial-robustness-toolbox"),
        "threads": str(torch.get_num_threads()),
        "OMP_WAIT_POLICY": os.environ["OMP_WAIT_POLICY"],
        "data": data.name,
        "work": f"{batches} batches of {options.batch_size} a round, {options.rounds} rounds, PGD-{options.steps}",
    }
