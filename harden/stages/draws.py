"""The same suite with other random draws: how much of the figure is the attacker's luck."""

from harden.stages.desk import Desk, News

COLUMN = "draw.{}"


def other_draws(desk: Desk) -> News:
    """The suite again, once for each further draw; the first draw is the evaluation itself."""
    columns = []
    for number in range(2, desk.asked.draws + 1):
        name = COLUMN.format(number)
        yield from desk.standing(name, desk.suite.plain, desk.threat, desk.findings.ids)
        desk.columns[name] = desk.columns[name] == 1
        columns.append(name)
    yield {"draws": {"columns": ["robust", *columns]}}
