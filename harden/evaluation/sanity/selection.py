"""Whether the model was chosen without the images that it is measured on."""

import math

from harden.evaluation.sanity.rows import Row, Subject, Verdict, row


def selection_was_blind(subject: Subject) -> Row:
    """15: no test image was trained on, the checkpoint was chosen on validation images, and fares as it did there."""
    facts = subject.facts
    if facts.selected_on is None and facts.overlap is None:
        return Row(15, "selection", Verdict.not_applicable, "", "nothing is known of how the model was chosen")
    overlap = facts.overlap or 0
    figure = f"{overlap} test images were trained on; chosen on {facts.selected_on or 'unknown'} images"
    good = facts.selected_on in (None, "validation") and overlap <= 0.005 * len(subject.split)
    if facts.validation is not None:
        there = subject.on(facts.validation)
        first, second = (float(one.standing(one.pgd, one.threat).double().mean()) for one in (there, subject))
        figure += f"; robust {first:.1%} of {len(there.ids)} there, {second:.1%} of {len(subject.ids)} here"
        good = good and _agree(first, len(there.ids), second, len(subject.ids))
    return row(
        15, "selection", good, figure, "a model chosen on test images, or trained on the others, flatters itself"
    )


def _agree(first: float, n: int, second: float, m: int) -> bool:
    """Whether two shares lie no more than three standard errors and one image apart."""
    error = math.sqrt(first * (1 - first) / n + second * (1 - second) / m)
    return abs(first - second) <= 3 * error + max(1 / n, 1 / m)
