"""What a person sees while a run goes on, on stderr: bars on a terminal, one line an epoch elsewhere."""

import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from harden.evaluation import Begin, Judged
from harden.ledger import Ledger, MemoryLedger
from harden.training import EpochStats, Event, StepStats
from harden.training.folder import CURVES, EXAMPLES, WEIGHTS
from harden.training.job import News


class Watching:
    """Shows the reports of a job. Use as `with watching() as watch: watch(report)`."""

    def __init__(self, console: Console, progress: Progress | None) -> None:
        self.console, self.progress = console, progress
        self.task: TaskID | None = None

    def __call__(self, news: News) -> None:
        """Shows one report."""
        if isinstance(news, Begin):
            self._begin(news)
        elif isinstance(news, EpochStats):
            self._line(f"  epoch {news.epoch:g}: {_epoch_text(news)}", bars_too=False)
        elif isinstance(news, Event):
            self._line(f"  step {news.step}: {news.kind}: {news.text}", bars_too=True)
        elif self.progress is not None and self.task is not None:
            self._advance(news)

    def _begin(self, news: Begin) -> None:
        if self.progress is None:
            self.console.print(f"{news.text} ({news.steps})", highlight=False)
            return
        self._settle()
        self.task = self.progress.add_task(news.text, total=news.steps, speed="")

    def _settle(self) -> None:
        """Leaves the finished bar full."""
        if self.progress is not None and self.task is not None:
            self.progress.update(self.task, completed=self.progress.tasks[self.task].total)

    def _advance(self, news: StepStats | Judged) -> None:
        if self.progress is None or self.task is None:
            return
        if isinstance(news, StepStats):
            speed = f"{news.images_per_second:,.0f} img/s  loss {news.loss or math.nan:.3f}"
            self.progress.update(self.task, completed=news.step, speed=speed)
        else:
            self.progress.update(self.task, advance=news.images)

    def _line(self, text: str, *, bars_too: bool) -> None:
        if self.progress is None or bars_too:
            self.console.print(text, highlight=False, soft_wrap=True)


@contextmanager
def watching() -> Iterator[Watching]:
    """Progress on stderr while the block runs."""
    console = Console(stderr=True, markup=False)
    if not sys.stderr.isatty():
        yield Watching(console, None)
        return
    columns = (
        TextColumn("{task.description:<16}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[speed]}"),
    )
    with Progress(*columns, console=console) as progress:
        watch = Watching(console, progress)
        yield watch
        watch._settle()


@contextmanager
def downloads() -> Iterator["Downloads"]:
    """Progress on stderr while the block loads data."""
    shown = Downloads()
    try:
        yield shown
    finally:
        shown.progress.stop()


class Downloads:
    """A bar a file while data is downloaded; shown only on a terminal, and only once something is."""

    def __init__(self) -> None:
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True, markup=False),
            disable=not sys.stderr.isatty(),
        )
        self.tasks: dict[str, TaskID] = {}

    def __call__(self, file: str, done: int, total: int | None) -> None:
        """`done` of `total` bytes of `file` are here."""
        if file not in self.tasks:
            self.progress.start()
            self.tasks[file] = self.progress.add_task(file, total=total)
        self.progress.update(self.tasks[file], completed=done, total=total)


def _epoch_text(news: EpochStats) -> str:
    parts = [f"loss {news.loss:.3f}"] if news.loss is not None else []
    for name, value in (("train clean", news.train_clean), ("train robust", news.train_robust)):
        parts += [f"{name} {value:.1%}"] if value is not None else []
    parts += _validated("validation clean", news.val_clean, news.val_clean_ema)
    parts += _validated("robust", news.val_robust, news.val_robust_ema)
    return ", ".join([*parts, f"{news.images_per_second:,.0f} img/s"])


def _validated(name: str, raw: float | None, averaged: float | None) -> list[str]:
    if raw is None:
        return []
    return [f"{name} {raw:.1%}" + ("" if averaged is None else f" (averaged {averaged:.1%})")]


def result_table(summary: Mapping[str, Any], folder: Path, ledger: Ledger) -> None:
    """Prints on stdout what came out, where it lies and what to do next."""
    out = Console(soft_wrap=True, highlight=False, markup=False)
    threat, data = summary["threat"], summary["data"]["name"]
    table = Table(box=box.SIMPLE_HEAD, title=f"{data}, {threat['norm']} eps {threat['eps']}", title_justify="left")
    table.add_column("model")
    table.add_column("clean accuracy", justify="right")
    table.add_column(f"under {summary['attack']}", justify="right")
    before = [summary["baseline_clean_accuracy"], summary["baseline_robust_accuracy"]]
    after = [summary["clean_accuracy"], summary["robust_accuracy"]]
    if before[0]:
        table.add_row(f"before ({summary['baseline']})", *map(_percent, before))
    if summary["hardens"]:
        means = filter(None, (summary["objective"], summary["training_attack"]))
        table.add_row(f"after ({', '.join(means)})", *map(_percent, after))
        if before[0]:
            table.add_row("change", *map(_change, before, after), style="bold")
    out.print(table)
    out.print(
        f"accuracy on {after[0]['n']} test images, with 95 % Wilson intervals; eps {threat['eps']} in pixels of 0..1"
    )
    out.print(f"weights   {folder / WEIGHTS}")
    out.print(f"pictures  {folder / CURVES}, {folder / EXAMPLES}")
    if isinstance(ledger, MemoryLedger):
        out.print("run       not recorded: tracking is off")
    else:
        out.print(f"run       {ledger.run_id} in {ledger.location}")
    out.print(f"next      python -m harden.evaluate weights={folder / WEIGHTS}")
    if not isinstance(ledger, MemoryLedger):
        out.print(f"          {ledger.how_to_look}")


def _percent(accuracy: Mapping[str, float]) -> str:
    return f"{accuracy['value']:.1%}  [{accuracy['low']:.1%}, {accuracy['high']:.1%}]"


def _change(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    return f"{100 * (after['value'] - before['value']):+.1f} points"
