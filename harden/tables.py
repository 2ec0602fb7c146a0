"""What rounds came to, printed on stdout."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table

from harden.reviewing import Review
from harden.rounds.history import Line
from harden.rounds.plan import Plan


def round_sheet(said: Mapping[str, Any], rounds: Path) -> None:
    """Prints a finished round: its gates, whether its model is the champion, where things lie."""
    out = Console(soft_wrap=True, highlight=False, markup=False)
    table = Table(box=box.SIMPLE_HEAD, title=f"{said['programme']}, round {said['round']}", title_justify="left")
    for name in ("gate", "", "got", "wanted"):
        table.add_column(name)
    for gate in said["stages"]["gates"]["result"]["gates"]:
        table.add_row(gate["name"], gate["answer"], gate["got"], gate["wanted"])
    out.print(table)
    verdict = said["verdict"]
    home = rounds / said["round"]
    out.print(f"promoted  {'yes' if verdict['promoted'] else 'no'}; champion is {verdict['champion'] or 'nobody'}")
    out.print(f"record    {home / 'record.json'}")


def review_sheet(made: Review, folder: Path) -> None:
    """Prints what a review says first, and where it lies."""
    out = Console(soft_wrap=True, highlight=False, markup=False)
    out.print(f"{made.title}, {made.programme}: {made.verdict}")
    out.print(made.summary)
    for one in made.top:
        out.print(f"{one.weight:<9} {one.title}: {one.text}")
    out.print(f"review    {folder / 'review.html'}")


def plan_sheet(plan: Plan, minutes: float | None, *, to: TextIO) -> None:
    """Prints what a round is going to do, and why."""
    out = Console(file=to, soft_wrap=True, highlight=False, markup=False)
    recipe = plan.recipe
    after = f", after {plan.after}" if plan.after else ""
    table = Table(
        box=box.SIMPLE_HEAD, title=f"plan of {plan.programme}, round {plan.round}{after}", title_justify="left"
    )
    for name in ("rule", "decision", "because"):
        table.add_column(name)
    for reason in plan.reasons:
        table.add_row(reason.rule, reason.decision, reason.because)
    out.print(table)
    out.print(f"threat    {recipe['threat']['norm']} eps {recipe['threat']['eps']}, measured by suite {plan.suite}")
    forecast = "" if minutes is None else f", forecast {minutes:.1f}"
    out.print(f"budget    {plan.minutes:g} minutes{forecast}")


def history_sheet(lines: Sequence[Line]) -> None:
    """Prints the rounds as a table."""
    out = Console(soft_wrap=True, highlight=False, markup=False)
    out.width = max(out.width, 150)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("round")
    for name in ("eps", "suite", "clean", "worst case", "under the newest suite", "promoted", "champion", "minutes"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in lines:
        now = "" if line.now is None else _percent(line.now)
        promoted = "yes" if line.promoted else "no"
        figures = (_percent(line.clean), _percent(line.worst), now)
        table.add_row(line.round, line.eps, line.suite, *figures, promoted, line.champion or "", f"{line.minutes:g}")
    out.print(table)


def _percent(one: Mapping[str, float]) -> str:
    return f"{100 * one['value']:.1f} % ({100 * one['low']:.1f}-{100 * one['high']:.1f})"
