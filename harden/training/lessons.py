"""Madry's objective with lessons from earlier rounds: classes that break more weigh more, and old attacks are replayed.

The replay bank's images take the place of nothing: they are added to the batch, a share of its size, drawn by the
batch's own random numbers, with their labels and as they are.
"""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from harden.attacks import Attack
from harden.data import Batch
from harden.errors import ConfigError, DataError
from harden.seeds import Stream
from harden.threat import ThreatModel
from harden.training.objectives import Loss, Objective


@dataclass(frozen=True)
class Lessons(Objective):
    """Cross-entropy on the attacked batch and on images of the bank, each sample by the weight of its class.

    `classes`: a weight for each class, empty for equal ones; `replay`: a file with `x_adv` and `y`, of attacks on
    training images; `share`: how many of its images are added to a batch, as a share of the batch.
    """

    classes: list[float] = field(default_factory=list)
    replay: str | None = None
    share: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", list(self.classes))
        if any(not weight > 0 for weight in self.classes):
            raise ConfigError(f"objective.classes must be > 0, got {self.classes}")
        if not 0 < self.share <= 1:
            raise ConfigError(f"objective.share must lie in (0, 1], got {self.share:g}")

    @property
    def looks(self) -> tuple[bool, bool]:
        """Counted are attacked images."""
        return False, True

    def check(self, model: nn.Module, threat: ThreatModel) -> None:
        """Raises DataError where the bank cannot be read."""
        if self.replay is not None:
            bank(self.replay)

    def __call__(
        self, model: nn.Module, batch: Batch, attack: Attack | None, threat: ThreatModel, *, rng: Stream
    ) -> Loss:
        """The weighted mean over the attacked batch and the replayed images."""
        if attack is None:
            raise TypeError("training with lessons was called without an attack")
        x, y = attack(model, batch.x, batch.y, threat, rng=rng), batch.y
        count = len(y)
        if self.replay is not None:
            old_x, old_y = self._drawn(batch, rng)
            x, y = torch.cat([x, old_x]), torch.cat([y, old_y])
        logits = model(x)
        losses = F.cross_entropy(logits.float(), y, reduction="none")
        weight = self._weight(y, losses)
        right = (logits.detach()[:count].argmax(dim=1) == batch.y).sum()
        return Loss((weight * losses).sum() / weight.sum(), robust=right)

    def _drawn(self, batch: Batch, rng: Stream) -> tuple[Tensor, Tensor]:
        x, y = bank(str(self.replay))
        count = min(max(1, round(self.share * len(batch.y))), len(batch.y))
        draw = rng.child("replay").uniform(batch.y)[:count]
        index = (draw * len(y)).long().clamp_max(len(y) - 1).cpu()
        return x[index].to(batch.x), y[index].to(batch.y)

    def _weight(self, y: Tensor, like: Tensor) -> Tensor:
        if not self.classes:
            return torch.ones_like(like)
        return torch.tensor(self.classes, dtype=like.dtype, device=like.device)[y]


@cache
def bank(path: str) -> tuple[Tensor, Tensor]:
    """The images and labels of a replay bank, on the CPU. Raises DataError."""
    try:
        found = load_file(Path(path))
        x, y = found["x_adv"], found["y"]
    except (OSError, SafetensorError, KeyError) as error:
        raise DataError(
            f"{path}: is no replay bank: {error}", "a round writes one as replay/train.safetensors"
        ) from error
    if not len(y) or len(x) != len(y):
        raise DataError(f"{path}: holds {len(x)} images and {len(y)} labels, wanted equally many, and some")
    return x, y
