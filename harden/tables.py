"""What rounds came to, printed on stdout."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from harden.reviewing import Review


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
