"""Counting on the device: how many were right, how large the loss was, without waiting for it at each step."""

from dataclasses import dataclass

import torch
from torch import Tensor

from harden.training.objectives import Loss
from harden.training.team import ALONE, Team

WIDTH = 4  # loss times images, right when clean, right under attack, images


@dataclass(frozen=True)
class Means:
    """Means over the images counted, None where there were none; an accuracy where the objective does not look."""

    loss: float | None
    clean: float | None
    robust: float | None


class Tally:
    """`sums` collects on the device; `take` empties it into plain numbers."""

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(WIDTH, dtype=torch.float64, device=device)

    def add(self, loss: Loss, images: int) -> None:
        """Counts one step."""
        nothing = torch.zeros((), device=self.sums.device)
        parts = (loss.value.detach() * images, loss.clean, loss.robust, nothing + images)
        self.sums += torch.stack([(nothing if part is None else part).double() for part in parts])

    def take(self, team: Team = ALONE) -> list[float]:
        """The sums over the team as numbers, which waits for the device; counting starts again from 0."""
        sums: list[float] = team.total(self.sums).tolist()
        self.clear()
        return sums

    def clear(self) -> None:
        """Forgets what was counted."""
        self.sums = torch.zeros_like(self.sums)

    def restore(self, sums: Tensor) -> None:
        """Goes on from `sums`."""
        self.sums = sums.to(self.sums.device)

    @property
    def finite(self) -> bool:
        """Whether all that was counted is finite."""
        return bool(torch.isfinite(self.sums).all())


def means(sums: list[float], *, clean: bool, robust: bool) -> Means:
    """The means of `sums`; `clean`, `robust`: whether the objective looks at these."""
    loss, right, withstood, images = sums
    if not images:
        return Means(None, None, None)
    return Means(loss / images, right / images if clean else None, withstood / images if robust else None)
