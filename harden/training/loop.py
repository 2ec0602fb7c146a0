"""The training loop, as something to iterate over: `for report in Training(recipe, data): ...`.

It knows neither ledger nor progress bar. Everything random is drawn by (seed, epoch, sample id), everything
scheduled is a function of the step, so that a run killed at any step and resumed ends with the same bits.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harden.attacks import Attack, Fgsm, Mixed, Pgd
from harden.attacks.replay import replaying
from harden.data import DataSet, epoch_order
from harden.errors import Interrupted, TrainingError, WeightsError
from harden.evaluation import judge
from harden.models import Classifier
from harden.seeds import Stream, seeded, stream
from harden.training import checkpoint
from harden.training.batches import Batches
from harden.training.device import autocast
from harden.training.held_out import held_out
from harden.training.learner import Learner
from harden.training.network import fresh_model
from harden.training.recipe import Recipe
from harden.training.reports import EpochStats, Event, Report, StepStats
from harden.training.state import State
from harden.training.tally import WIDTH, Means, Tally, means
from harden.training.team import ALONE, Team, check_size, mixes_samples
from harden.training.watchdog import STRONG, Look, Verdict, diverged, examine, stronger

PULSE = 10
"""Steps between two looks at the device's counters: the only host synchronisation of a step is there."""

ATTACKS: dict[str, type] = {"Pgd": Pgd, "Fgsm": Fgsm, "Mixed": Mixed}


Project = Callable[[nn.Module], None]
"""Puts weights back where a mark wants them, in place."""


def never() -> bool:
    """No wish to stop."""
    return False


class Training:
    """One model being trained by `recipe` on `data`; iterate to run it, then ask for `selected()`.

    With `folder`, checkpoints are written there at least every `every` seconds and a run found there is
    continued. `stop` is asked after each step; when it says yes, a checkpoint is written and Interrupted raised.
    `project` is called each epoch behind the warm-up, for the weights that are trained and for their average.
    In a `team` each process trains on its part of every batch, and the first one alone writes.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: DataSet,
        *,
        device: torch.device | None = None,
        bf16: bool = False,
        folder: Path | None = None,
        every: float = 60.0,
        stop: Callable[[], bool] = never,
        project: Project | None = None,
        team: Team = ALONE,
        graph: bool = False,
        compiled: bool = False,
    ) -> None:
        self.recipe, self.data, self.bf16, self.team = recipe, data, bf16, team
        self.graph, self.compiled, self.project = graph, compiled, project
        self.device = device or torch.device("cpu")
        self.folder, self.every, self.stop = folder, every, stop
        self.split = data.train.on(self.device)
        part = held_out(data, recipe.schedule.validation, recipe.seed)
        self.train_ids, self.val_ids = part.kept, part.held
        mixed = epoch_order(len(self.train_ids), stream(recipe.seed, "watched"))  # data may lie in class order
        self.watched_ids = self.train_ids[mixed[: recipe.watchdog.images]]
        size = recipe.schedule.batch_size
        self.batches = Batches(self.split, self.train_ids, recipe.data, size=size, seed=recipe.seed, team=team)
        check_size(self.batches.size, team)
        self.learner = Learner(self._placed(fresh_model(recipe, data)), recipe.optim, recipe.schedule)
        if compiled:
            self.learner.model.compile()
        self.state = State(attack=recipe.attack)
        self.tally = Tally(self.device)
        self.good = self.learner.capture()
        self.best = checkpoint.below(self.learner.capture(), "model/")  # a copy of its own
        self._saved = self._began = time.monotonic()

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return max(1, math.ceil(self.recipe.schedule.epochs * self.batches.per_epoch))

    def __iter__(self) -> Iterator[Report]:
        """Runs to the end. Raises TrainingError when the watchdogs give up, Interrupted when asked to stop."""
        with replaying() if self.graph else nullcontext():
            yield from self._run()

    def _run(self) -> Iterator[Report]:
        yield from self._resume()
        self._saved = self._began = time.monotonic()
        while self.state.step < self.steps:
            with seeded(self._chance(), self.device):
                self._step()
            yield from self._after_step()
            if self.team.size > 1 and self.state.step % PULSE:
                continue  # to agree on anything costs a host sync, and between pulses each has counts of its own
            if self.team.any(self.stop(), self.device):
                self._save()
                raise Interrupted("stopped on request")
            if time.monotonic() - self._saved > self.every:
                self._save()
        if self.state.validated < self.steps:  # a roll-back came between
            yield self._close_epoch()
        self._save()

    def selected(self) -> Classifier:
        """The weights that did best on validation, in a model of their own, in eval mode."""
        model = copy.deepcopy(self.learner.model).eval()
        model.load_state_dict(self.best)
        return model

    def _placed(self, model: Classifier) -> Classifier:
        """The model on its device; on a GPU that computes in bf16, channels-last convolutions are the fast ones."""
        model = model.to(self.device)
        fast = self.bf16 and self.device.type == "cuda"
        return model.to(memory_format=torch.channels_last) if fast else model  # type: ignore[call-overload]

    def _chance(self) -> Stream:
        """What dropout and the like draw from in this step; other processes of a team draw otherwise."""
        return stream(self.recipe.seed, "step", self.state.step, *([self.team.rank] if self.team.rank else []))

    def _step(self) -> None:
        state, schedule, learner = self.state, self.recipe.schedule, self.learner
        batch, rng = self.batches.at(state.step)
        threat = self.recipe.threat.scaled(schedule.eps_share(state.step, self.steps, self.recipe.objective.own_ramp))
        learner.model.train()
        with autocast(self.device, self.bf16):
            loss = self.recipe.objective(learner.model, batch, state.attack, threat, rng=rng.child("attack"))
        learner.learn(loss.value, lr=self._rate(state.step), step=state.step, team=self.team)
        self.tally.add(loss, len(batch.y))
        state.step += 1

    def _rate(self, step: int) -> float:
        return float(self.recipe.optim.lr * self.state.lr_scale * self.recipe.schedule.rate(step, self.steps))

    # -- between steps ----------------------------------------------------------------------------------

    def _after_step(self) -> Iterator[Report]:
        step, look, validation = self.state.step, self._look_due(), self._validation_due()
        epoch_over = step % self.batches.per_epoch == 0 or step == self.steps
        if epoch_over and self.project is not None and step > self.recipe.schedule.warmup * self.steps:
            for model in self.learner.candidates.values():
                self.project(model)
        if step % PULSE == 0 or epoch_over or look or validation:
            yield self._pulse()
            yield from self._check_divergence()
        try:
            if look:
                yield from self._look()
            if epoch_over or validation:
                yield self._close_epoch()
        except WeightsError as error:  # finite weights whose logits overflow
            yield self._diverge(error.message)

    def _pulse(self) -> StepStats:
        """Reads the device's counters."""
        sums, state = self.tally.take(self.team), self.state
        self._clock(training=True)
        now = self._means(sums)
        state.losses = [*state.losses[-99:], now.loss or 0.0]
        state.tally = [a + b for a, b in zip(state.tally, sums, strict=True)]
        speed = self.images_per_second
        return StepStats(state.step, self.steps, self._progress(), now.loss, now.clean, now.robust, speed)

    def _means(self, sums: list[float]) -> Means:
        clean, robust = self.recipe.objective.looks
        return means(sums, clean=clean, robust=robust)

    def _clock(self, *, training: bool) -> None:
        """Adds the time since the last call to the run's time, and to the training's unless it was a measurement."""
        now = time.monotonic()
        self.state.seconds += now - self._began
        self.state.training += (now - self._began) if training else 0.0
        self._began = now

    @property
    def images_per_second(self) -> float:
        """Training images per second of training steps, measurements left out."""
        return self.state.step * self.batches.size / max(self.state.training, 1e-9)

    def _progress(self) -> float:
        return self.state.step / self.batches.per_epoch

    def _validation_due(self) -> bool:
        step, since = self.state.step, self.state.step - self.state.validated
        return step == self.steps or since >= max(
            1, round(self.recipe.schedule.validate_every * self.batches.per_epoch)
        )

    def _close_epoch(self) -> EpochStats:
        """The row of an epoch, or of the part of one that a validation ends."""
        state, schedule = self.state, self.recipe.schedule
        validation = self._validate() if self._validation_due() else {}
        epoch = self._means(state.tally)
        state.tally = [0.0] * WIDTH
        row = EpochStats(
            step=state.step,
            epoch=self._progress(),
            loss=epoch.loss,
            lr=self._rate(state.step - 1),
            eps=self.recipe.threat.radius * schedule.eps_share(state.step - 1, self.steps),
            images_per_second=self.images_per_second,
            train_clean=epoch.clean,
            train_robust=epoch.robust,
            **validation,
        )
        state.epochs.append(row)
        return row

    # -- validation and selection -----------------------------------------------------------------------

    def _validate(self) -> dict[str, float]:
        self._clock(training=True)
        figures: dict[str, float] = {}
        for suffix, model in self.learner.candidates.items():
            clean, robust = self._accuracy(model, self.recipe.judge.validation_attack, self.val_ids)
            figures |= {f"val_clean{suffix}": clean, f"val_robust{suffix}": robust}
            score = (robust, clean) if self.recipe.objective.hardens else (clean, robust)
            if score >= self.state.best:
                self.state.best = score
                self.state.chosen = f"{'averaged' if suffix else 'raw'}, step {self.state.step}"
                self.best = {name: value.clone() for name, value in model.state_dict().items()}
        if not self.state.looks:
            self.good = self.learner.capture()  # nobody has looked yet, or ever will
        self.state.validated = self.state.step
        self._clock(training=False)
        return figures

    def _accuracy(self, model: nn.Module, attack: Attack, ids: Tensor) -> tuple[float, float]:
        """Clean and robust accuracy on training-set images; always the same start noise."""
        counts = torch.zeros(3, dtype=torch.float64, device=self.device)  # right, withstood, parts that failed
        part = self.team.part(ids).to(self.device)
        try:
            if len(part):
                outcome = judge(
                    model,
                    self.split,
                    part,
                    attack,
                    self.recipe.threat,
                    rng=stream(self.recipe.seed, "look"),
                    batch_size=self.recipe.judge.batch_size,
                )
                counts[0], counts[1] = outcome.clean.sum(), outcome.robust.sum()
        except WeightsError:
            if self.team.size == 1:
                raise
            counts[2] = 1  # told to the others, who would wait for ever
        clean, robust, failed = self.team.total(counts).tolist()
        if failed:
            raise WeightsError("the model's logits are not finite", "the weights hold NaN or overflow on this data")
        return clean / len(ids), robust / len(ids)

    # -- watchdogs --------------------------------------------------------------------------------------

    def _look_due(self) -> bool:
        watchdog, attack = self.recipe.watchdog, self.state.attack
        if attack is None or not watchdog.every:
            return False
        passes = attack.steps if isinstance(attack, Pgd | Mixed) else 1
        stride = watchdog.stride(
            steps_per_epoch=self.batches.per_epoch, batch_size=self.recipe.schedule.batch_size, passes=passes
        )
        stride = max(1, stride // 2) if self.state.alert else stride
        return self.state.step - self.state.looked >= stride

    def _look(self) -> Iterator[Event]:
        state = self.state
        look = self._measured_look()
        verdict = examine(state.looks, look, self.recipe.watchdog)
        state.looked, state.alert = state.step, verdict is Verdict.falling
        figures = f"{look.own:.1%} on its own attack, {look.strong:.1%} on {STRONG.label}"
        if verdict is Verdict.collapse and state.attack is not None:
            state.attack = stronger(state.attack)
            yield self._roll_back("overfitting", f"{figures}; going on with {state.attack.label}", asdict(look))
            return
        state.looks.append(look)
        if verdict is Verdict.fine:
            self.good = self.learner.capture()
        else:
            yield self._note("warning", f"both accuracies fall, {figures}; looking twice as often", asdict(look))

    def _measured_look(self) -> Look:
        self._clock(training=True)
        model, attack = self.learner.model, self.state.attack or STRONG
        _, own = self._accuracy(model, attack, self.watched_ids)
        _, strong = self._accuracy(model, STRONG, self.watched_ids)
        self._clock(training=False)
        return Look(self.state.step, own, strong)

    def _check_divergence(self) -> Iterator[Event]:
        why = diverged(self.state.losses, len(self.data.classes))
        if not why and not self.learner.finite:
            why = "the weights are not finite"
        if why:
            yield self._diverge(why)

    def _diverge(self, why: str) -> Event:
        self.state.lr_scale /= 2
        return self._roll_back("divergence", f"{why}; going on at {self.state.lr_scale:g} of the learning rate", {})

    def _roll_back(self, kind: str, text: str, figures: dict[str, float]) -> Event:
        """Back to the last good tensors; the schedule goes on. TrainingError after too many trips."""
        state = self.state
        state.trips += 1
        state.looks, state.losses, state.tally = [], [], [0.0] * WIDTH  # they may hold NaN
        self.tally.clear()
        self.learner.restore(self.good)
        event = self._note(kind, text, figures)
        if state.trips >= self.recipe.watchdog.trips:
            state.stopped = (
                f"training was stopped after {state.trips} roll-backs; the last: {kind}: {text.split(';')[0]}"
            )
            self._save()
            raise self._given_up()
        if state.attack is not None and self.recipe.watchdog.every:
            state.looks = [self._measured_look()]  # what the next look is compared with
        return event

    def _given_up(self) -> TrainingError:
        kept = f"the last good weights are kept in {self.folder}; " if self.folder else ""
        return TrainingError(self.state.stopped, f"{kept}lower optim.lr, or look at the data")

    def _note(self, kind: str, text: str, figures: dict[str, float]) -> Event:
        event = Event(kind, self.state.step, self._progress(), text, figures)
        self.state.events.append(event)
        return event

    # -- checkpoints ------------------------------------------------------------------------------------

    def _save(self) -> None:
        """A checkpoint of this very step, unless the numbers since the last pulse are not finite."""
        self._saved = time.monotonic()
        if self.folder is None or not self.team.leads or not self.tally.finite:
            return
        self._clock(training=True)
        tensors = {f"now/{name}": value for name, value in self.learner.capture().items()}
        tensors |= {f"good/{name}": value for name, value in self.good.items()}
        tensors |= {f"best/{name}": value for name, value in self.best.items()} | {"sums": self.tally.sums}
        state: dict[str, Any] = {
            "recipe": self.recipe.digest,
            "data": self.data.digest,
            "setting": self._setting(),
            "state": self.state.plain(),
        }
        checkpoint.write(self.folder, self.state.step, tensors, state)

    def _resume(self) -> Iterator[Event]:
        found = checkpoint.newest(self.folder) if self.folder else None
        self._check_shared(found[1]["state"]["step"] if found else -1)
        if found is None:
            return
        tensors, saved = found
        for name, digest in (("recipe", self.recipe.digest), ("data", self.data.digest)):
            if saved[name] != digest:
                raise TrainingError(
                    f"{self.folder}: the checkpoint belongs to another {name}", "choose another output folder"
                )
        self.learner.restore(checkpoint.below(tensors, "now/"))
        self.good, self.best = checkpoint.below(tensors, "good/"), checkpoint.below(tensors, "best/")
        self.tally.restore(tensors["sums"])
        self.state = State.of(saved["state"], ATTACKS)
        if self.state.stopped:
            raise self._given_up()
        mine = self._setting()
        self._check_processes(saved["setting"].get("processes", "1"))
        other = [name for name in mine if saved["setting"].get(name, "1") != mine[name]]
        exact = f"; another {', '.join(other)} than before: not exact to the bit" if other else ""
        yield self._note("resume", f"continued at step {self.state.step} of {self.steps}{exact}", {})

    def _setting(self) -> dict[str, str]:
        """What the last bits of a result depend on besides recipe and data."""
        threads = str(torch.get_num_threads()) if self.device.type == "cpu" else "any"
        computed = {"device": self.device.type, "threads": threads, "torch": torch.__version__}
        return computed | {"processes": str(self.team.size)} | ({"compiled": "yes"} if self.compiled else {})

    def _check_shared(self, step: int) -> None:
        """Raises TrainingError where another process of the team found another checkpoint, or none."""
        first = int(self.team.told(step))
        if self.team.any(step != first, self.device):
            raise TrainingError(
                f"{self.folder}: the processes find different checkpoints there", "name a folder that all of them share"
            )

    def _check_processes(self, before: str) -> None:
        """Raises TrainingError where as many processes as now cannot go on with what `before` began."""
        if before != str(self.team.size) and mixes_samples(self.learner.model):
            raise TrainingError(
                f"{self.folder}: was begun by {before} processes and cannot be continued by {self.team.size}: "
                "BatchNorm sees a process's part of a batch",
                f"go on with torchrun --nproc-per-node {before}" if before != "1" else "go on without torchrun",
            )
