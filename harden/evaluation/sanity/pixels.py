"""Whether images are what the model was made for, and breaks survive being stored as pictures."""

import math

import torch

from harden.evaluation.recheck import rounded
from harden.evaluation.sanity.rows import Row, Subject, row

MANY = 2000
"""Samples that the clean accuracy is measured on: passes without an attack are cheap."""


def pixels_are_right(subject: Subject) -> Row:
    """13: images fill the box, breaks survive 8 bits, and clean accuracy is the training record's."""
    x, threat = subject.x, subject.threat
    x_adv = threat.project(subject.candidates(subject.pgd, threat), x)
    before = int(subject.withstood(x_adv, threat).sum())
    after = int(subject.withstood(rounded(x_adv, x), threat).sum())
    low, high = float(x.min()), float(x.max())
    in_box = threat.low <= low and high <= threat.high and high - low > 0.5 * (threat.high - threat.low)
    clean, n = _clean(subject)
    recorded = subject.facts.clean_accuracy
    known = f", clean {clean:.1%}, recorded {recorded[0]:.1%}" if recorded else ", no record of the clean accuracy"
    figure = f"pixels {low:g}..{high:g}; {after - before} breaks lost at 8 bits{known}"
    good = in_box and after - before <= subject.allowed(1.0) and (not recorded or _agree(clean, n, *recorded))
    reason = "images of another scale, or normalised twice, are not what the model was trained on"
    return row(13, "pixels", good, figure, reason)


def _clean(subject: Subject) -> tuple[float, int]:
    """The share of up to `MANY` samples that are right, and their number."""
    ids = subject.index[:MANY]
    right = [
        (subject.logits(b.x).argmax(1) == b.y) for b in map(subject.split.batch, torch.split(ids, subject.batch_size))
    ]
    return int(torch.cat(right).sum()) / len(ids), len(ids)


def _agree(first: float, n: int, second: float, m: int) -> bool:
    """Whether two shares can be of one population: three standard errors and one image apart at most."""
    pooled = (first * n + second * m) / (n + m)
    error = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    return abs(first - second) <= 3 * error + 1 / n
