"""Whether the attack converged: the indicators of attack failure (Pintor et al. 2022, arXiv 2106.09947)."""

import torch
from torch import Tensor

from harden.attacks import frozen, input_gradient
from harden.attacks.losses import margin
from harden.evaluation.judge import exact
from harden.evaluation.sanity.radii import whole_box
from harden.evaluation.sanity.rows import Row, Subject, row

LAST = 10
"""The steps at the end whose gain is looked at."""


def attack_converged(subject: Subject) -> Row:
    """14: the last steps gain little, no success goes unnoticed, the unlimited attack succeeds, answers are stable."""
    losses, x_adv = _trace(subject)
    gain = _late_gain(losses[:, subject.clean])
    with exact():
        silent = subject.clean & (losses > 0).any(dim=0) & (margin(subject.logits(x_adv), subject.y) <= 0)
    missed = int(subject.standing(subject.pgd, whole_box(subject)).sum())
    unstable = int((subject.logits(x_adv).argmax(1) != subject.logits(x_adv).argmax(1)).sum())
    figure = (
        f"last {LAST} steps gain {gain:.1%} of the climb; {int(silent.sum())} silent successes; "
        f"{missed} failures without limit; {unstable} unstable predictions"
    )
    good = gain <= 0.05 and not bool(silent.any()) and missed <= max(int(0.01 * len(subject.ids)), 1) and not unstable
    return row(14, "optimisation", good, figure, "an attack that was still climbing when it ended proves nothing")


def _trace(subject: Subject) -> tuple[Tensor, Tensor]:
    """The margin at each iterate, (steps + 1, n), and the best iterate, of a climb with falling steps."""
    threat, x, y, steps = subject.threat, subject.x, subject.y, subject.knobs.steps
    x_adv, best, top, losses = x, x, torch.full((len(x),), -torch.inf, device=x.device), []
    with exact(), frozen(subject.model):
        for step in range(steps + 1):
            gradient, logits = input_gradient(subject.model, x_adv, lambda z: margin(z, y))
            loss = margin(logits, y)
            losses.append(loss)
            better = (loss > top).view(-1, *[1] * (x.dim() - 1))
            best, top = torch.where(better, x_adv, best), torch.maximum(top, loss)
            size = 2 * threat.radius / (1 + 10 * step / steps)
            x_adv = threat.step(x_adv, gradient, x, size=size, out=torch.empty_like(x))
    return torch.stack(losses), best


def _late_gain(losses: Tensor) -> float:
    """What the best loss gains in the last steps, as a share of what it gains in all, over all samples."""
    best = losses.cummax(dim=0).values
    whole = (best[-1] - best[0]).sum()
    return float((best[-1] - best[-1 - LAST]).sum() / whole.clamp_min(1e-12)) if losses.numel() else 0.0
