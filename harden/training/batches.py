"""Which images make up which step: an order for each epoch, drawn from the seed, and their augmentation."""

from torch import Tensor

from harden.data import Batch, DataChoice, Split, augment, epoch_order
from harden.seeds import Stream, stream
from harden.training.team import ALONE, Team


class Batches:
    """The batches of a run. A step's batch depends on seed, step and data alone.

    Only full batches are given out; what is left of an epoch's images differs from epoch to epoch.
    """

    def __init__(
        self, split: Split, ids: Tensor, choice: DataChoice, *, size: int, seed: int, team: Team = ALONE
    ) -> None:
        self.split, self.ids, self.choice, self.seed, self.team = split, ids, choice, seed, team
        self.size = min(size, len(ids))
        self._order: tuple[int, Tensor] = (-1, ids)

    @property
    def per_epoch(self) -> int:
        """Batches in an epoch."""
        return len(self.ids) // self.size

    def at(self, step: int) -> tuple[Batch, Stream]:
        """This process's part of the augmented batch of `step`, and the random numbers of its samples in this epoch."""
        epoch = step // self.per_epoch
        first = (step % self.per_epoch) * self.size
        batch = self.split.batch(self.team.part(self._ordered(epoch)[first : first + self.size]))
        rng = stream(self.seed, "train", epoch).at(batch.index)
        return augment(batch, shift=self.choice.shift, flip=self.choice.flip, rng=rng.child("augment")), rng

    def _ordered(self, epoch: int) -> Tensor:
        if self._order[0] != epoch:
            order = epoch_order(len(self.ids), stream(self.seed, "order", epoch))
            self._order = epoch, self.ids[order].to(self.split.y.device)  # where the images are
        return self._order[1]
