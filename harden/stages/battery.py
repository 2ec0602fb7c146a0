"""The sanity battery, on the model, the images and the attack of the evaluation."""

from dataclasses import replace
from typing import Any

from harden.attacks import Apgd, Pgd
from harden.evaluation import Begin, Judged
from harden.evaluation.sanity import CHECKS, Battery, Facts, Row, Subject, checked, is_reliable
from harden.stages.desk import Desk, News


def sanity_checks(desk: Desk, facts: Facts) -> News:
    """The battery's rows, and whether the number can be relied on."""
    first = next(iter(desk.suite.plain.values()))
    subject = Subject(
        desk.subject.model,
        desk.split,
        desk.index,
        desk.threat,
        desk.rng.child("sanity"),
        attack=first if isinstance(first, Apgd | Pgd) else None,
        batch_size=desk.size,
        eot=desk.asked.eot,
        facts=replace(facts, transfer=desk.transfer),
        knobs=Battery(),
    )
    yield Begin("sanity", "sanity checks", len(CHECKS))
    rows: list[dict[str, Any]] = []
    for number in range(1, len(CHECKS) + 1):
        rows.append(desk.journal.told("sanity", number, lambda number=number: _told(checked(subject, number))))  # type: ignore[misc]
        yield Judged(1)
    yield {"sanity": rows, "reliable": is_reliable(rows)}


def _told(row: Row) -> dict[str, Any]:
    return {**vars(row), "verdict": row.verdict.value}
