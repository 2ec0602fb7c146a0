"""Run a quarterly round: `python -m harden.round round=2026Q4 +attack=pgd`.

Plan, train, mark, validate, evaluate, compare, replay, seal, judge, propose, review; then the signed record. A killed
round goes on when the same command is given. `action=plan` shows the plan, `action=due` says whether a round is due,
`action=history` prints the rounds that were run. Exit code 3: the gates refused the model, or a round is due; 5: one
is overdue.
"""

import datetime as dt
import sys
from pathlib import Path
from typing import NoReturn

from harden import door
from harden.errors import ConfigError
from harden.files import write_bytes
from harden.planning import planned
from harden.rounding import RoundSession
from harden.rounds.history import drawing, rows
from harden.rounds.keys import chain_in
from harden.rounds.plan import yaml_of
from harden.rounds.quarter import Due, due_on
from harden.rounds.request import DueRequest, HistoryRequest, PlanRequest, RoundRequest
from harden.tables import history_sheet, plan_sheet, round_sheet


def main() -> NoReturn:
    """Runs the command line."""
    actions: door.Actions = {
        "round": (RoundRequest, work),
        "plan": (PlanRequest, show),
        "due": (DueRequest, due),
        "history": (HistoryRequest, history),
    }
    door.run("round", RoundRequest, work, actions)


def work(request: RoundRequest, overrides: list[str]) -> int:
    """One round; 0 where its model became the champion, 3 where the gates refused it."""
    session = RoundSession(request, overrides)
    plan_sheet(session.plan, session.minutes, to=sys.stderr)
    with door.stoppable() as stop:
        said = session.run(stop)
    round_sheet(said, session.rounds)
    return 0 if said["verdict"]["promoted"] else 3


def show(request: PlanRequest, overrides: list[str]) -> int:
    """Prints the plan of a round, or writes it to be edited; 0."""
    found, _ = planned(
        request, [one for one in overrides if not one.startswith("output=")], chain_in(Path(request.home))
    )
    if request.output is None:
        plan_sheet(found.plan, None, to=sys.stdout)
        sys.stdout.write(yaml_of(found.plan))
        return 0
    output = Path(request.output)
    if output.exists():
        raise ConfigError(f"output={output} exists", "choose another name")
    write_bytes(output, yaml_of(found.plan).encode())
    plan_sheet(found.plan, None, to=sys.stdout)
    sys.stdout.write(f"plan      {output}: edit it, then say plan={output} why='...'\n")
    return 0


def due(request: DueRequest, _overrides: list[str]) -> int:
    """Prints whether a round is due; 0 where this quarter's is done, 3 where it is due, 5 where one is overdue."""
    chain = chain_in(Path(request.home), request.trust)
    found = due_on(request.day or dt.datetime.now(dt.UTC).date(), chain[-1].quarter if chain else None)
    sys.stdout.write(f"{found.due.value}: {found.sentence}\n")
    if found.due is not Due.done:
        sys.stdout.write(f"next      python -m harden.round round={found.round.name} +attack=pgd home={request.home}\n")
    return {Due.done: 0, Due.due: 3, Due.overdue: 5}[found.due]


def history(request: HistoryRequest, _overrides: list[str]) -> int:
    """Prints the rounds as a table, and as a picture where one is asked for; 0."""
    chain = chain_in(Path(request.home), request.trust)
    if not chain:
        raise ConfigError(
            f"{request.home} holds no finished round", "run one: python -m harden.round round=2026Q4 +attack=pgd"
        )
    found = rows(Path(request.home), chain)
    history_sheet(found)
    if request.output is not None:
        drawing(found, Path(request.output))
        sys.stdout.write(f"picture   {request.output}\n")
    return 0


if __name__ == "__main__":
    main()
