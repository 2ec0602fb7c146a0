"""Whether the attack converged: the indicators of attack failure (Pintor et al. 2022, arXiv 2106.09947).

Of the six, unavailable gradients are row 6's. The others are looked at here, on the attack that measures: what its
passes through the model show of the samples that withstand it.
"""

import torch
from torch import Tensor, nn

from harden.attacks import Attack, Model, expectation, frozen
from harden.attacks.base import slack
from harden.attacks.losses import margin
from harden.evaluation.judge import exact
from harden.evaluation.sanity.radii import whole_box
from harden.evaluation.sanity.rows import Row, Subject, row
from harden.seeds import Stream

LATE = 0.1
"""The share of an attack's passes, its last ones, whose gain is looked at."""

NEAR, POINTS = 1e-3, 8
"""How far from an image, in linf, and at how many points the loss should hardly move (section 3.2)."""

ROUGH = 0.1
"""By what share of its size the loss may move there."""


def attack_converged(subject: Subject) -> Row:
    """14: late passes gain little, no success goes unnoticed or fails to carry over, the loss is smooth near images."""
    attack = subject.attack or subject.pgd
    left = subject.standing(attack, subject.threat).nonzero().squeeze(1)
    losses, silent = _watched(subject, attack, left)
    gain, rough = _late_gain(losses), _roughness(subject)
    lost = _lost_in_transfer(subject, attack)
    missed = int(subject.standing(subject.pgd, whole_box(subject)).sum())
    figure = (
        f"the last {LATE:.0%} of passes gain {gain:.1%} of the climb; {silent} silent successes; {lost} successes "
        f"that the judge does not see; {missed} failures without limit; the loss moves {rough:.1%} near images"
    )
    sure, near = (0, 0.5) if subject.eot == 1 else (subject.allowed(3.0), 3.0)  # other draws, other breaks
    good = gain <= 0.05 and silent <= sure and lost <= subject.allowed(near) and rough <= ROUGH
    good = good and missed <= max(int(0.01 * len(subject.ids)), 1)
    return row(14, "optimisation", good, figure, "an attack that was still climbing when it ended proves nothing")


class _Watched(nn.Module):
    """A model that notes how far ahead a wrong class is at each pass over all of the samples."""

    def __init__(self, model: Model, y: Tensor) -> None:
        super().__init__()
        self.model, self.y = model, y
        self.leads: list[Tensor] = []
        self.surely: list[Tensor] = []
        self.fewer = 0

    def forward(self, x: Tensor) -> Tensor:
        logits = self.model(x)
        if len(x) == len(self.y):
            lead = margin(logits.detach().float(), self.y)
            self.leads.append(lead)
            self.surely.append(lead > slack(logits.detach().float()))
        else:
            self.fewer = max(self.fewer, len(self.y) - len(x))
        return logits


def _watched(subject: Subject, attack: Attack, left: Tensor) -> tuple[Tensor, int]:
    """How far behind the label is at each pass of `attack`, (passes, survivors); how many were broken, and yet stand.

    Only those that withstand are attacked again, by the same draws: one that leaves the batch on the way, as
    broken samples do, was broken and has not been handed back broken.
    """
    if not len(left):
        return subject.x.new_empty(0, 0), 0
    rng, model = subject.rng.at(subject.ids[left]), subject.model
    if subject.eot > 1:
        model = expectation(model, subject.eot, rng=Stream(rng.child("watched").key))
    watched = _Watched(model, subject.y[left])
    with exact(), frozen(subject.model):
        attack(watched, subject.x[left], subject.y[left], subject.threat, rng=rng)
    met = int(torch.stack(watched.surely).any(dim=0).sum()) if watched.surely else 0
    losses = torch.stack(watched.leads) if watched.leads else subject.x.new_empty(0, 0)
    return losses, max(met, watched.fewer)


def _late_gain(losses: Tensor) -> float:
    """What the best loss gains in the last passes, as a share of what it gains in all, over all samples."""
    if losses.numel() == 0:
        return 0.0
    best, late = losses.cummax(dim=0).values, max(int(LATE * len(losses)), 1)
    whole = (best[-1] - best[0]).sum()
    return float((best[-1] - best[max(len(best) - 1 - late, 0)]).sum() / whole.clamp_min(1e-12))


def _roughness(subject: Subject) -> float:
    """How much the margin moves between an image and points close to it, over its size; both summed over images."""
    here = margin(subject.logits(subject.x), subject.y)
    moved = torch.zeros_like(here)
    for number in range(POINTS):
        noise = subject.rng.at(subject.ids).child("near", number).uniform(subject.x, -NEAR, NEAR)
        moved += (margin(subject.logits(subject.x + noise), subject.y) - here).abs() / POINTS
    return float(moved.sum() / here.abs().sum().clamp_min(1e-12))


def _lost_in_transfer(subject: Subject, attack: Attack) -> int:
    """How many candidates fool the model as the attack sees it, and do not fool the judge."""
    x_adv = subject.threat.project(subject.candidates(attack, subject.threat), subject.x)
    with exact(), torch.no_grad():
        logits = subject.seen(x_adv).float()
    surely = margin(logits, subject.y) > slack(logits)
    return int((surely & subject.withstood(x_adv, subject.threat)).sum())
