"""Images per second of Madry training: harden against ART's `AdversarialTrainerMadryPGD`, in one process.

    python scripts/bench_training.py --root FOLDER_WITH_MNIST --json bench.json

Every row trains the same network from the same weights on the same images with the same optimiser, batch
size, radius, step length and number of steps, in float32 on the CPU with the same threads. The rounds are
interleaved, each begins with another row, so that a change in the machine's load meets all rows alike.

The row `harden` trains as many batches a round as lie between two looks of its watchdog, so that a round has
exactly one look, as often as in a real run; the other rows have nothing to wait for and train `--batches`.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported; spinning threads steal cores
os.environ.setdefault("TQDM_DISABLE", "1")  # two of ART's progress bars know no other switch

import argparse
import importlib.util
import logging
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
from harden.training.network import fresh_model

CLASSES = 10
HELD_OUT = 1  # images the loop validates on when a run ends; ART's trainer has no validation
OURS, OURS_BARE, SHIPPED, TUNED = "harden", "harden, no watchdog, no EMA", "ART as shipped", "ART tuned"
PAIRS = tuple((ours, theirs) for theirs in (SHIPPED, TUNED) for ours in (OURS, OURS_BARE))
SPEEDS = """\
| row | images/s, median | min to max | CPU ms an image | passes an image | batches a round | clean loss |
|---|--:|--:|--:|--:|--:|--:|
"""
RATIOS = """\
| ratio | of medians | median of paired | paired, min to max |
|---|--:|--:|--:|
"""


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
    x, y = _arrays(data)
    return Contender(model, optimiser, lambda: trainer.fit(x, y, nb_epochs=1))


def of_art_tuned(recipe: Recipe, data: DataSet) -> Contender:
    """ART at its best: attacks whole batches, preprocesses nothing, is given the label format it converts to."""
    model = fresh_model(recipe, data)
    optimiser = recipe.optim.over(model)
    trainer = _art_trainer(recipe, _art_classifier(model, optimiser, preprocessing=None))
    trainer.attack.set_params(batch_size=recipe.schedule.batch_size)
    x, y = _arrays(data)
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


def _arrays(data: DataSet) -> tuple[Any, Any]:
    """As many images as harden trains on, float32 in 0..1, and their labels."""
    batch = data.train.batch(torch.arange(images_of(data)))
    return batch.x.numpy(), batch.y.numpy()


ROWS: dict[str, Builder] = {OURS: of_harden, OURS_BARE: of_harden_bare, SHIPPED: of_art, TUNED: of_art_tuned}


# -- measuring ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lap:
    """One timed round of a row: training images a second of wall time, CPU milliseconds of all threads an image."""

    images_per_second: float
    cpu_ms: float


def batches_of(recipe: Recipe, *, fewest: int) -> dict[str, int]:
    """Batches a round by row."""
    size, steps = recipe.schedule.batch_size, recipe.attack.steps
    stride = recipe.watchdog.stride(steps_per_epoch=fewest, batch_size=size, passes=steps)
    return dict.fromkeys(ROWS, fewest) | {OURS: max(stride, fewest)}


def race(recipe: Recipe, parts: dict[str, DataSet], *, rounds: int) -> dict[str, list[Lap]]:
    """The laps of every row, one a round; `parts`: the images of a round by row."""
    laps: dict[str, list[Lap]] = {name: [] for name in ROWS}
    for one in range(rounds):
        names = list(ROWS)
        for name in names[one % len(names) :] + names[: one % len(names)]:
            laps[name].append(lap(ROWS[name](recipe, parts[name]), images_of(parts[name])))
            print(f"round {one + 1}/{rounds}: {name}: {laps[name][-1].images_per_second:.0f} images/s", file=sys.stderr)
    return laps


def lap(contender: Contender, images: int) -> Lap:
    """How fast `contender`, which was built untimed, trains on its `images`."""
    wall, cpu = time.perf_counter(), time.process_time()
    contender.train()
    return Lap(images / (time.perf_counter() - wall), 1000 * (time.process_time() - cpu) / images)


def prove(contender: Contender, data: DataSet) -> Proof:
    """Trains once and counts what the model is put through; serves as warm-up too."""
    before = clean_loss(contender.model, data)
    with counting(contender) as count:
        contender.train()
    forward, backward, weights = (count[name] / images_of(data) for name in ("forward", "backward", "weights"))
    return Proof(forward, backward, weights, count["updates"], before, clean_loss(contender.model, data))


@contextmanager
def counting(contender: Contender) -> Iterator[dict[str, int]]:
    """Inside, counts images in forward and backward passes, images whose weight gradients were computed, updates."""
    count = dict.fromkeys(("forward", "backward", "weights", "updates", "batch"), 0)

    def add(name: str, images: int) -> None:
        count[name] += images

    def forward(_model: nn.Module, _inputs: Any, logits: Tensor) -> None:
        count["batch"] = len(logits)
        add("forward", len(logits))
        if logits.requires_grad:
            logits.register_hook(lambda gradient: add("backward", len(gradient)))  # type: ignore[no-untyped-call]

    def at_weights(_first: Tensor) -> None:
        add("weights", count["batch"])

    first = next(contender.model.parameters())
    hooks = (
        contender.model.register_forward_hook(forward),
        first.register_post_accumulate_grad_hook(at_weights),  # type: ignore[no-untyped-call]
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


def check(name: str, proof: Proof, *, batches: int) -> None:
    """Nothing where a row made a step a batch and learned from it; HardenError otherwise."""
    if proof.updates != batches:
        raise HardenError(f"{name}: {proof.updates} optimiser steps, wanted {batches}")
    if not proof.loss_after < proof.loss_before:
        raise HardenError(f"{name}: does not train: loss {proof.loss_before:.3f}, then {proof.loss_after:.3f}")


@dataclass(frozen=True)
class Ratio:
    """How many times as fast one row is as another: by the medians, and round by round."""

    of_medians: float
    paired_median: float
    paired_low: float
    paired_high: float


def ratio(fast: Sequence[float], slow: Sequence[float]) -> Ratio:
    """The ratio of two rows' speeds; figures of one round stand at the same place."""
    paired = [a / b for a, b in zip(fast, slow, strict=True)]
    return Ratio(median(fast) / median(slow), median(paired), min(paired), max(paired))


# -- images -------------------------------------------------------------------------------------------------


def images_of(data: DataSet) -> int:
    """Images that a round trains on."""
    return len(data.train) - HELD_OUT


def mnist(root: str | None, *, images: int) -> DataSet:
    """MNIST from `root` or the cache; where neither is given, `images` images of noise in its place."""
    try:
        return load(Mnist(root=root, download=False))
    except DataError:
        if root is not None:
            raise
        return noise(images)


def noise(count: int) -> DataSet:
    """`count` images of uint8 noise around one random image a class, so that there is something to learn."""
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(count) % CLASSES
    centres = torch.randint(0, 192, (CLASSES, 1, 28, 28), generator=rng)
    x = (centres[y] + torch.randint(0, 64, (count, 1, 28, 28), generator=rng)).to(torch.uint8)
    split = Split(x, y)
    names = tuple(str(label) for label in range(CLASSES))
    return DataSet("synthetic noise (no MNIST found)", names, split, split.take(torch.arange(CLASSES)), source="drawn")


def cut(data: DataSet, images: int) -> DataSet:
    """The first `images` training images of `data` and the held-out one; DataError where there are fewer."""
    wanted = images + HELD_OUT
    if len(data.train) < wanted:
        raise DataError(f"{data.name}: {len(data.train)} training images, wanted {wanted}", "say fewer --batches")
    return replace(data, train=data.train.take(torch.arange(wanted)))


# -- telling ------------------------------------------------------------------------------------------------


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """All figures of the comparison, as plain data."""
    schedule = Schedule(
        epochs=1, batch_size=options.batch_size, shape=Shape.constant, ramp=0.0, validation=HELD_OUT
    )  # ART's trainer has neither ramp nor warm-up
    attack = Pgd(steps=options.steps, keep=Keep.last)
    recipe = Recipe(data=Mnist(), model=Cnn(options.channels, options.hidden), attack=attack, schedule=schedule)
    batches = batches_of(recipe, fewest=options.batches)
    data = mnist(options.root, images=max(batches.values()) * options.batch_size + HELD_OUT)
    parts = {name: cut(data, count * options.batch_size) for name, count in batches.items()}
    proofs = {name: prove(build(recipe, parts[name]), parts[name]) for name, build in ROWS.items()}
    for name, proof in proofs.items():
        check(name, proof, batches=batches[name])
    laps = race(recipe, parts, rounds=options.rounds)
    return {
        "facts": facts(data, recipe, rounds=options.rounds),
        "batches": batches,
        "proofs": {name: asdict(proof) for name, proof in proofs.items()},
        "laps": {name: [asdict(one) for one in row] for name, row in laps.items()},
        "ratios": {f"{ours} / {theirs}": asdict(_ratio_of(laps, ours, theirs)) for ours, theirs in PAIRS},
    }


def _ratio_of(laps: dict[str, list[Lap]], fast: str, slow: str) -> Ratio:
    return ratio(*([one.images_per_second for one in laps[name]] for name in (fast, slow)))


def facts(data: DataSet, recipe: Recipe, *, rounds: int) -> dict[str, str]:
    """What the figures rest on, by name."""
    return environment() | {
        "ART": metadata.version("adversarial-robustness-toolbox"),
        "threads": str(torch.get_num_threads()),
        "OMP_WAIT_POLICY": os.environ["OMP_WAIT_POLICY"],
        "data": data.name,
        "network": f"cnn, channels {recipe.model.channels}, hidden {recipe.model.hidden}",
        "recipe": f"{type(recipe.optim).__name__}, {recipe.attack.label}, {recipe.threat.label}, "
        f"batch {recipe.schedule.batch_size}, {rounds} rounds",
    }


def markdown(found: dict[str, Any]) -> str:
    """The figures as Markdown: speeds, ratios, and what they rest on."""
    speeds = "\n".join(_speed_line(found, name) for name in ROWS)
    ratios = "\n".join(_ratio_line(name, one) for name, one in found["ratios"].items())
    rest = "\n".join(f"- {name}: {fact}" for name, fact in found["facts"].items())
    return f"{SPEEDS}{speeds}\n\n{RATIOS}{ratios}\n\n{rest}"


def _speed_line(found: dict[str, Any], name: str) -> str:
    speeds = [one["images_per_second"] for one in found["laps"][name]]
    cpu, proof = median(one["cpu_ms"] for one in found["laps"][name]), found["proofs"][name]
    passes = " + ".join(f"{proof[kind]:.2f}" for kind in ("forward", "backward", "weights"))
    loss = f"{proof['loss_before']:.2f} to {proof['loss_after']:.2f}"
    spread = f"{min(speeds):.0f} to {max(speeds):.0f}"
    return f"| {name} | {median(speeds):.0f} | {spread} | {cpu:.2f} | {passes} | {found['batches'][name]} | {loss} |"


def _ratio_line(name: str, one: dict[str, float]) -> str:
    spread = f"{one['paired_low']:.2f} to {one['paired_high']:.2f}"
    return f"| {name} | {one['of_medians']:.2f} | {one['paired_median']:.2f} | {spread} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints; leaves with a message where that cannot be done."""
    options = _parser().parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    logging.getLogger("art").setLevel(logging.ERROR)
    try:
        if importlib.util.find_spec("art") is None:
            raise MissingExtra("ART is not installed", 'pip install -e ".[dev]"')
        found = measured(options)
        if options.json:
            write_json(options.json, found)
    except HardenError as error:
        raise SystemExit(f"bench_training: {error.message}; {error.hint}".rstrip("; ")) from error
    print(markdown(found))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--root", help="folder with MNIST's files; without it the cache, then noise")
    parser.add_argument("--rounds", type=_positive, default=7)
    parser.add_argument("--batches", type=_positive, default=10, help="training batches a round (default 10)")
    parser.add_argument("--batch-size", type=_positive, default=128)
    parser.add_argument("--steps", type=_positive, default=7, help="PGD steps (default 7)")
    parser.add_argument("--channels", type=_positive, nargs=2, default=[16, 32], help="the network's (default 16 32)")
    parser.add_argument("--hidden", type=_positive, default=100, help="its hidden units (default 100)")
    parser.add_argument("--threads", type=_positive, help="CPU threads; without it torch's own number")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be >= 1, got {number}")
    return number


if __name__ == "__main__":
    main()
