"""Whether the model was chosen without the images that it is measured on."""

import math

from harden.evaluation.sanity.rows import Row, Subject, Verdict, row


def selection_was_blind(subject: Subject) -> Row:
    """15: no test image was trained on, the checkpoint was chosen on validation images, and fares as it did there."""
    facts = subject.facts
    if facts.selected_on is None and facts.overlap is None:
        return Row(15, "selection", Verdict.not_applicable, "", "nothing is known of how the model was chosen")
    overlap = facts.overlap or 0
    figure = f"{overlap} test images were trained on; chosen on {facts.selected_on or 'unknown images'}"
    good = facts.selected_on in (None, "validation") and overlap <= 0.005 * len(subject.split)
    if facts.validation_robust is not None:
        share, n = facts.validation_robust
        here = float(subject.standing(subject.pgd, subject.threat).double().mean())
        figure += f"; robust {share:.1%} there, {here:.1%} here"
        good = good and _no_worse(here, len(subject.ids), share, n)
    return row(15, "selection", good, figure, "a model chosen on test images flatters itself")


def _no_worse(here: float, n: int, there: float, m: int) -> bool:
    """Whether the test figure lies no more than three standard errors below the validation figure."""
    error = math.sqrt(here * (1 - here) / n + there * (1 - there) / m)
    return there - here <= 3 * error + 1 / n
