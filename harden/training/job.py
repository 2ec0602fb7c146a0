"""One job of hardening: train an ordinary model, train the hardened one, measure both on the same test images."""

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from harden.data import DataSet
from harden.errors import Interrupted
from harden.evaluation import Accuracy, Begin, Judged, Outcome, joined, judging
from harden.models import Classifier, is_sealed
from harden.seeds import stream
from harden.training.device import Compute
from harden.training.loop import Training, never
from harden.training.network import fresh_model
from harden.training.objectives import Clean
from harden.training.recipe import Recipe
from harden.training.reports import EpochStats, Event, Report


@dataclass(frozen=True)
class Measured:
    """A trained model and what it is worth on the test images."""

    model: Classifier
    outcome: Outcome
    epochs: tuple[EpochStats, ...] = ()
    events: tuple[Event, ...] = ()
    chosen: str = ""
    seconds: float = 0.0
    images_per_second: float = 0.0

    @property
    def clean(self) -> Accuracy:
        """Accuracy on clean test images."""
        return self.outcome.clean_accuracy

    @property
    def robust(self) -> Accuracy:
        """Accuracy on the same images under the judge's attack."""
        return self.outcome.robust_accuracy


News = Begin | Judged | Report


class Mark(Protocol):
    """What keeps a mark alive in weights that are trained."""

    def project(self, model: nn.Module) -> None:
        """Gives the mark back what training took from it."""

    def finish(self, model: nn.Module) -> None:
        """Puts the whole mark into the weights that were chosen."""


class Job:
    """`run` it; then `hardened` and `ordinary` hold what came out (`ordinary` None where not asked for).

    `ordinary` is what hardening started from: the weights of `recipe.init` where given, else a model trained
    without an attack from the same initial weights on the same images in the same order. A recipe without
    an attack is itself the ordinary model. `from_sealed`: what it starts from must not be written in the clear.
    `mark` goes into the model that the recipe trains, not into the one before.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: DataSet,
        *,
        compute: Compute,
        baseline: bool = True,
        every: float = 60.0,
        stop: Callable[[], bool] = never,
        mark: Mark | None = None,
    ) -> None:
        self.mark = mark
        self.recipe, self.data, self.compute, self.baseline = recipe, data, compute, baseline
        self.every, self.stop = every, stop
        self.device = compute.where()
        self.from_sealed = bool(recipe.init) and is_sealed(Path(str(recipe.init)))
        self.hardened: Measured | None = None
        self.ordinary: Measured | None = None
        # a network, weights or an objective that do not fit are told before anything is written
        recipe.objective.check(fresh_model(recipe, data), recipe.threat)

    def run(self, folder: Path | None = None) -> Iterator[News]:
        """Runs the job, with checkpoints below `folder`; raises what `Training` raises.

        From sealed weights there are none: the first would hold those weights in the clear.
        """
        self.folder = None if self.from_sealed else folder
        if not self.recipe.objective.hardens:
            self.hardened = self.ordinary = yield from self._train("ordinary", self.recipe)
            return
        if self.baseline and self.recipe.init:
            self.ordinary = yield from self._as_given(Path(self.recipe.init))
        elif self.baseline:
            plain = replace(self.recipe, attack=None, objective=Clean())
            self.ordinary = yield from self._train("ordinary", plain)
        self.hardened = yield from self._train("hardened", self.recipe)

    @property
    def test_ids(self) -> Tensor:
        """The test images that results are measured on: the first `judge.images`."""
        limit = self.recipe.judge.images or len(self.data.test)
        return torch.arange(min(limit, len(self.data.test)), device=self.device)

    def _train(self, name: str, recipe: Recipe) -> Generator[News, None, Measured]:
        mark = self.mark if recipe == self.recipe else None
        training = Training(
            recipe,
            self.data,
            device=self.device,
            bf16=self.compute.bf16(self.device),
            folder=self.folder / name if self.folder else None,
            every=self.every,
            stop=self.stop,
            project=mark.project if mark else None,
        )
        yield Begin(name, f"train {name}", training.steps)
        yield from training
        model, state = training.selected(), training.state
        if mark is not None:
            mark.finish(model)
        began = time.monotonic()
        outcome = yield from self._judge(name, model)
        return Measured(
            model,
            outcome,
            tuple(state.epochs),
            tuple(state.events),
            state.chosen,
            state.seconds + time.monotonic() - began,
            training.images_per_second,
        )

    def _as_given(self, path: Path) -> Generator[News, None, Measured]:
        model = fresh_model(self.recipe, self.data).eval().to(self.device)
        outcome = yield from self._judge("given", model)
        return Measured(model, outcome, chosen=f"as given in {path.name}")

    def _judge(self, name: str, model: Classifier) -> Generator[News, None, Outcome]:
        recipe, parts = self.recipe, []
        yield Begin(f"judge-{name}", f"attack {name}", len(self.test_ids))
        for part in judging(
            model,
            self.data.test.on(self.device),
            self.test_ids,
            recipe.judge.attack,
            recipe.threat,
            rng=stream(recipe.seed, "judge"),
            batch_size=recipe.judge.batch_size,
        ):
            parts.append(part)
            yield Judged(len(part.clean))
            if self.stop():
                raise Interrupted("stopped on request")
        return joined(parts)
