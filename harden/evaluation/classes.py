"""Which classes withstand, and what the broken ones are taken for."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harden.evaluation.intervals import Accuracy, wilson


@dataclass(frozen=True)
class ClassRow:
    """One class: its images, right when clean and under attack; the commonest mistake under attack, None without."""

    name: str
    n: int
    clean: Accuracy
    robust: Accuracy
    mistaken_for: str | None


def by_class(names: Sequence[str], y: Tensor, clean: Tensor, robust: Tensor, attacked_as: Tensor) -> list[ClassRow]:
    """A row for each class that has images, in the order of `names`.

    y, attacked_as: (n,) int64, the label and what the model says under attack, -1 where nothing was broken;
    clean, robust: (n,) bool.
    """
    rows = []
    for label, name in enumerate(names):
        here = y == label
        n = int(here.sum())
        if n:
            wrong = attacked_as[here & (attacked_as >= 0) & (attacked_as != label)]
            mistaken = names[int(torch.bincount(wrong, minlength=len(names)).argmax())] if len(wrong) else None
            held, withstood = (wilson(int(flags[here].sum()), n) for flags in (clean, robust))
            rows.append(ClassRow(name, n, held, withstood, mistaken))
    return rows
