"""Run a quarterly round: `python -m harden.round round=2026Q4 +attack=pgd`.

Plan, train, mark, validate, evaluate, compare, replay, seal, judge, propose, review; then the signed record. A killed
round goes on when the same command is given. `action=plan` shows the plan, `action=due` says whether a round is due,
`action=history` prints the rounds that were run. Exit code 3: the gates refused the model.
"""

from typing import NoReturn

from harden import door
from harden.rounding import RoundSession
from harden.rounds.request import RoundRequest
from harden.tables import round_sheet


def main() -> NoReturn:
    """Runs the command line."""
    door.run("round", RoundRequest, work)


def work(request: RoundRequest, overrides: list[str]) -> int:
    """One round; 0 where its model became the champion, 3 where the gates refused it."""
    session = RoundSession(request, overrides)
    with door.stoppable() as stop:
        said = session.run(stop)
    round_sheet(said, session.rounds)
    return 0 if said["verdict"]["promoted"] else 3


if __name__ == "__main__":
    main()
