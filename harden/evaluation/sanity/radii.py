"""Checks over the radius: none, all of the box, and in between."""

from dataclasses import replace
from itertools import pairwise

import torch

from harden.evaluation.campaign import whole
from harden.evaluation.sanity.rows import Row, Subject, Verdict, counted, row
from harden.threat import Norm, ThreatModel

TOLERANCE = 1e-6
"""By how much of a pixel rounding may move an image."""


def nothing_at_zero(subject: Subject) -> Row:
    """1: at eps 0 every sample comes out as when clean, and the attack that measures proposes the clean images."""
    none = replace(subject.threat, eps="0")
    differ = subject.standing(subject.pgd, none) != subject.clean
    proposed = subject.candidates(subject.attack or subject.pgd, none)
    moved = (proposed - subject.x).abs().flatten(1).amax(dim=1) > TOLERANCE
    figure = f"{counted(differ)} differ, {counted(moved)} moved"
    reason = "an attack that may change nothing must change nothing"
    return row(1, "eps 0", not bool((differ | moved).any()), figure, reason)


def nothing_stands_without_limit(subject: Subject) -> Row:
    """2: once the whole box is allowed, at most 1 % withstand."""
    still = subject.standing(subject.attack or subject.pgd, whole_box(subject))
    good = int(still.sum()) <= max(int(0.01 * len(still)), 1)
    reason = "an attack that may draw any image must succeed; else gradients are masked or eps is not what it says"
    return row(2, "unlimited eps", good, f"{counted(still)} withstand", reason)


def falls_with_eps(subject: Subject) -> Row:
    """3: over five radii, attacked afresh each time, accuracy never rises by more than half a point."""
    counts = [int(subject.standing(subject.pgd, one).sum()) for one in _radii(subject)]
    rise = max([later - earlier for earlier, later in pairwise(counts)], default=0)
    figure = f"{', '.join(map(str, counts))} of {len(subject.ids)} withstand"
    return row(3, "more eps", rise <= subject.allowed(0.5), figure, "a larger ball holds the smaller one's images too")


def more_effort_gains_little(subject: Subject) -> Row:
    """4: twice the steps, or five starts, break at most a point more.

    Up to two points are a warning: on MNIST at 0.3 honest models show as much, which is why a suite does not end
    with gradients.
    """
    strong = subject.strong
    base = int(subject.standing(strong, subject.threat).sum())
    longer = int(subject.standing(replace(strong, steps=2 * strong.steps), subject.threat).sum())
    often = int(subject.standing(replace(strong, restarts=5), subject.threat).sum())
    gain = base - min(longer, often)
    figure = f"{strong.label} leaves {base}, twice the steps {longer}, 5 starts {often}"
    reason = "an attack that more effort helps was not done"
    if subject.allowed(1.0) < gain <= subject.allowed(2.0):
        return Row(4, "more effort", Verdict.warned, figure, reason)
    return row(4, "more effort", gain <= subject.allowed(1.0), figure, reason)


def keeps_the_budget(subject: Subject) -> Row:
    """12: no candidate lies outside ball or box, and for linf the largest reaches the ball's edge."""
    threat, x = subject.threat, subject.x
    x_adv = subject.candidates(subject.attack or subject.pgd, threat)
    largest = threat.distance(x_adv, x).max().item()
    outside = bool((x_adv < threat.low).any() or (x_adv > threat.high).any()) or not bool(torch.isfinite(x_adv).all())
    slack = threat.radius * 1e-5 + 1e-7
    used = threat.norm is not Norm.linf or largest >= 0.99 * threat.radius
    good = largest <= threat.radius + slack and used and not outside
    figure = f"largest distance {largest:.5g}, eps {threat.radius:.5g}" + ", outside the box" * outside
    return row(12, "budget", good, figure, "an attack must use the budget that its table names, no more and no less")


def whole_box(subject: Subject) -> ThreatModel:
    """The threat whose ball around any image holds the box."""
    return replace(subject.threat, eps=repr(whole(subject.threat, subject.x[0].numel())))


def _radii(subject: Subject) -> list[ThreatModel]:
    most = whole_box(subject).radius
    shares = (0.25, 0.5, 1.0, 1.5, 2.0)
    return [replace(subject.threat, eps=repr(min(share * subject.threat.radius, most))) for share in shares]
