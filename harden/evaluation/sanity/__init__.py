"""Fifteen checks that tell a robust model from one that only hides its weakness (design after Athalye et al. 2018,
arXiv 1802.00420, Carlini et al. 2019, arXiv 1902.06705, and Pintor et al. 2022, arXiv 2106.09947).

A failed row makes every accuracy beside it unreliable: it says why the attacks may have been led astray.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from harden.errors import HardenError
from harden.evaluation.sanity.answers import modes_are_right, precision_is_single, same_answer
from harden.evaluation.sanity.gradients import gradients_are_there, gradients_are_true
from harden.evaluation.sanity.optimisation import attack_converged
from harden.evaluation.sanity.order import losses_agree, stronger_attacks_break_more
from harden.evaluation.sanity.pixels import pixels_are_right
from harden.evaluation.sanity.radii import (
    falls_with_eps,
    keeps_the_budget,
    more_effort_gains_little,
    nothing_at_zero,
    nothing_stands_without_limit,
)
from harden.evaluation.sanity.rows import Battery, Facts, Row, Subject, Verdict
from harden.evaluation.sanity.selection import selection_was_blind

__all__ = ["CHECKS", "Battery", "Facts", "Row", "Subject", "Verdict", "battery", "checked", "is_reliable"]

CHECKS: tuple[tuple[str, Callable[[Subject], Row]], ...] = (
    ("eps 0", nothing_at_zero),
    ("unlimited eps", nothing_stands_without_limit),
    ("more eps", falls_with_eps),
    ("more effort", more_effort_gains_little),
    ("order", stronger_attacks_break_more),
    ("gradients", gradients_are_there),
    ("finite differences", gradients_are_true),
    ("logits", losses_agree),
    ("same answer", same_answer),
    ("modes", modes_are_right),
    ("precision", precision_is_single),
    ("budget", keeps_the_budget),
    ("pixels", pixels_are_right),
    ("optimisation", attack_converged),
    ("selection", selection_was_blind),
)
"""The checks in the order of their numbers."""


def battery(subject: Subject) -> Iterator[Row]:
    """The fifteen rows, one after the other."""
    return (checked(subject, number) for number in range(1, len(CHECKS) + 1))


def checked(subject: Subject, number: int) -> Row:
    """The row of this number, from 1; a check that breaks down is a row that failed."""
    name, check = CHECKS[number - 1]
    try:
        return check(subject)
    except (RuntimeError, ValueError, TypeError, HardenError) as error:
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Row(number, name, Verdict.failed, "", f"the check broke down: {told}")


def is_reliable(rows: Iterable[Mapping[str, Any]]) -> bool:
    """Whether no row failed, of rows as `evaluation.json` has them."""
    return all(row["verdict"] != Verdict.failed.value for row in rows)
