"""Attacks in the order of their strength, and the ways to climb against each other."""

from dataclasses import replace

from torch import Tensor

from harden.attacks import Fgsm, Loss, Square
from harden.evaluation.sanity.rows import Row, Subject, Verdict, row
from harden.evaluation.transfer import LUCK


def stronger_attacks_break_more(subject: Subject) -> Row:
    """5: noise leaves at least what FGSM leaves, FGSM what PGD leaves; random search finds hardly more than PGD.

    Nor do the images of other models, where there are any. Up to two points of images that only random search
    breaks are a warning: honest models show as much.
    """
    threat, rng = subject.threat, subject.rng.at(subject.ids)
    noise = int(subject.withstood(threat.random_start(subject.x, rng.child("noise")), threat).sum())
    single = int(subject.standing(Fgsm(), threat).sum())
    standing = subject.standing(subject.pgd, threat)
    left = int(standing.sum())
    white = standing & subject.standing(subject.strong, threat)
    more = int((white & ~_against_random_search(subject)).sum())
    slack = subject.allowed(0.5)
    ordered = single <= noise + slack and left <= single + slack
    figure = (
        f"noise leaves {noise}, FGSM {single}, PGD {left} of {len(subject.ids)}, "
        f"with APGD {int(white.sum())}; random search breaks {more} more"
    )
    if subject.facts.transfer is not None:
        name, ahead = subject.facts.transfer
        ordered = ordered and ahead <= LUCK
        figure += f"; images made on {name} break {max(ahead, 0):.1f} points more than its own"
    reason = "where a weaker attack wins, the stronger one is led astray by its gradients"
    if ordered and more > subject.allowed(0.2):
        return Row(5, "order", Verdict.warned if more <= subject.allowed(2.0) else Verdict.failed, figure, reason)
    return row(5, "order", ordered, figure, reason)


def losses_agree(subject: Subject) -> Row:
    """8: the model's answers are no probabilities; that PGD by cross-entropy breaks as much as by margin is wished.

    More than three points between the two are a warning: cross-entropy saturates on honest models too, and no suite
    goes by it alone.
    """
    logits = subject.logits(subject.x)
    sums = logits.double().sum(dim=1)
    distribution = bool((logits >= 0).all()) and bool(((sums - 1).abs() < 1e-4).all())
    by_margin = int(subject.standing(subject.pgd, subject.threat).sum())
    by_ce = int(subject.standing(replace(subject.pgd, loss=Loss.ce), subject.threat).sum())
    figure = (
        f"{'probabilities' if distribution else 'logits'}; by margin {by_margin}, by cross-entropy {by_ce} withstand"
    )
    reason = "a softmax before the loss, or one that saturates, hides the gradient of cross-entropy"
    if not distribution and abs(by_ce - by_margin) > subject.allowed(3.0):
        return Row(8, "logits", Verdict.warned, figure, reason)
    return row(8, "logits", not distribution, figure, reason)


def _against_random_search(subject: Subject) -> Tensor:
    return subject.standing(Square(queries=subject.knobs.queries), subject.threat)
