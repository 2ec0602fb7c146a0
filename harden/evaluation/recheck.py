"""The archived images judged once more: at the recorded batch size, at another one, and as 8-bit pictures.

An accuracy that moves with the batch size stands on the edge; a break that is gone once the image is stored
as a picture exists in floating point only.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from harden.attacks import Model
from harden.data import Split
from harden.evaluation.campaign import Findings
from harden.evaluation.inference import judging_logits
from harden.evaluation.intervals import Accuracy, wilson

OTHER = 64
"""The batch size of the second judgement (32 where this is the recorded one)."""

TOUCH = 1e-3
"""How much of a grey level float32 may lack of a whole one and still stand for it."""


@dataclass(frozen=True)
class Recheck:
    """The worst case judged in another way: `flips` samples came out otherwise than in the evaluation."""

    name: str
    accuracy: Accuracy
    flips: int


def rechecks(model: Model, split: Split, findings: Findings, *, batch_size: int, eot: int = 1) -> Iterator[Recheck]:
    """The three judgements, in the order above; where the model answers at random, image by image, two of them."""
    if eot > 1:
        batch_size = 1
    other = OTHER if batch_size != OTHER else OTHER // 2
    for name, size, alter in (
        (f"batch of {batch_size}", batch_size, _as_they_are),
        (f"batch of {other}", other, _as_they_are),
        ("8-bit pixels", batch_size, rounded),
    ):
        if eot > 1 and size == other:
            continue
        robust = standing(judging_logits(model, size, eot), split, findings, batch_size, alter)
        flips = int((robust != findings.robust).sum())
        yield Recheck(name, wilson(int(robust.sum()), len(robust)), flips)


def standing(
    logits: Callable[[Tensor], Tensor],
    split: Split,
    findings: Findings,
    batch_size: int,
    alter: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Whether each sample is right on the clean image and on every archived one, as `alter` makes them, (n,) bool."""
    robust = right_on(logits, split, findings.ids, batch_size)
    for one in findings.tried:
        ids = one.part.ids[one.part.broken]
        for few, x_adv in zip(torch.split(ids, batch_size), torch.split(one.part.x_adv, batch_size), strict=True):
            if len(few):
                batch = split.batch(few)
                wrong = logits(alter(x_adv.to(batch.x), batch.x)).argmax(dim=1) != batch.y
                robust[torch.searchsorted(findings.ids, few[wrong.cpu()])] = False
    return robust


def attacked_as(logits: Callable[[Tensor], Tensor], split: Split, findings: Findings, batch_size: int) -> Tensor:
    """What the model says to the first archived image of each sample, (n,) int64; -1 where nothing was broken."""
    said = torch.full((len(findings.ids),), -1, dtype=torch.int64)
    for one in findings.tried:
        ids = one.part.ids[one.part.broken]
        for few, x_adv in zip(torch.split(ids, batch_size), torch.split(one.part.x_adv, batch_size), strict=True):
            if len(few):
                at = torch.searchsorted(findings.ids, few)
                answers = logits(x_adv.to(split.batch(few[:1]).x)).argmax(dim=1).cpu()
                said[at] = torch.where(said[at] < 0, answers, said[at])
    return said


def right_on(logits: Callable[[Tensor], Tensor], split: Split, ids: Tensor, batch_size: int) -> Tensor:
    """Whether the model is right on each clean image, (n,) bool on the CPU."""
    parts = []
    for few in torch.split(ids, batch_size):
        batch = split.batch(few)
        parts.append((logits(batch.x).argmax(dim=1) == batch.y).cpu())
    return torch.cat(parts)


def rounded(x_adv: Tensor, x: Tensor) -> Tensor:
    """`x_adv` on the grid of 256 grey levels, rounded towards the clean image, so that it stays in the ball."""
    levels = x_adv * 255
    towards = torch.where(x_adv > x, (levels + TOUCH).floor(), (levels - TOUCH).ceil())
    return torch.where(x_adv == x, x, towards.clamp(0, 255) / 255)


def _as_they_are(x_adv: Tensor, _x: Tensor) -> Tensor:
    return x_adv
