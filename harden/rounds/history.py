"""The rounds that were run, as rows of a table and as a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harden.pictures import rounds as picture
from harden.rounds.bench import COMPARE, EVALUATE, PLAN
from harden.rounds.plan import read_plan
from harden.rounds.record import CIRCUMSTANCES, Record


@dataclass(frozen=True)
class Line:
    """A round. worst, clean: as it measured itself; now: its model under the newest round's suite, where measured."""

    round: str
    eps: str
    suite: str
    clean: Mapping[str, float]
    worst: Mapping[str, float]
    now: Mapping[str, float] | None
    promoted: bool
    champion: str | None
    minutes: float


def rows(home: Path, chain: Sequence[Record]) -> list[Line]:
    """A row for each round, oldest first."""
    newest = {one["round"]: one["worst"] for one in chain[-1].result(COMPARE)["models"]}
    return [_line(home, record, newest) for record in chain]


def drawing(lines: Sequence[Line], path: Path) -> None:
    """The picture: each round's worst case and clean accuracy as it measured itself, and under the newest suite."""
    picture(
        path,
        names=[line.round for line in lines],
        own=[_bar(line.worst) for line in lines],
        now=[None if line.now is None else _bar(line.now) for line in lines],
        clean=[_bar(line.clean) for line in lines],
        promoted=[line.promoted for line in lines],
        title=f"worst case within each round's eps: {', '.join(line.eps for line in lines)}",
    )


def _line(home: Path, record: Record, newest: Mapping[str, Any]) -> Line:
    figures, name = record.result(EVALUATE), record.quarter.name
    plan = read_plan(home / name / PLAN / "plan.json")
    seconds = sum(one["seconds"] for one in record.said[CIRCUMSTANCES]["stages"].values())
    return Line(
        name,
        str(plan.recipe["threat"]["eps"]),
        str(figures["label"]),
        figures["clean"],
        figures["worst"],
        newest.get(name),
        record.promoted,
        record.said["verdict"]["champion"],
        round(seconds / 60, 1),
    )


def _bar(one: Mapping[str, float]) -> tuple[float, float, float]:
    return one["low"], one["value"], one["high"]
