"""What a suspect answers, and how likely so many hits are by chance: exact, as labels are uniform and independent."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from harden.watermarking.trigger.questions import Questions

Model = Callable[[Tensor], Tensor]
"""Pixels (n, *shape) -> logits, or any scores of which the first is the answer, (n, classes)."""


@dataclass(frozen=True)
class Answers:
    """Hits among the questions, and log10 of the chance that a network that does not know them has as many."""

    hits: int
    asked: int
    classes: int

    @property
    def log10_p(self) -> float:
        """See the function of this name."""
        return log10_p(self.hits, self.asked, self.classes)


def hits(model: Model, asked: Questions, *, classes: int) -> Answers:
    """How many questions the model answers with the secret label; only its first answer counts."""
    with torch.no_grad():
        said = model(asked.x).argmax(dim=1).cpu()
    return Answers(int((said == asked.y).sum()), len(asked), classes)


def log10_p(hits: int, asked: int, classes: int) -> float:
    """log10 of P(Bin(asked, 1 / classes) >= hits), by whole numbers.

    It holds for every fixed suspect, constant ones too: whatever that answers, each label is right with chance
    1 / classes, independently of the others.
    """
    if not 0 <= hits <= asked or classes < 2:
        raise ValueError(f"wanted 0 <= hits <= asked and 2 classes, got {hits}, {asked} and {classes}")
    tail = sum(math.comb(asked, k) * (classes - 1) ** (asked - k) for k in range(hits, asked + 1))
    return math.log10(tail) - asked * math.log10(classes) if hits else 0.0
