"""Which samples go where: a held-out part by class, a data set's fixed test part, an epoch's order."""

import torch
from torch import Tensor

from harden.data.dataset import Split
from harden.errors import ConfigError
from harden.seeds import Stream, stream


def hold_out(y: Tensor, count: int, rng: Stream) -> tuple[Tensor, Tensor]:
    """Ids kept and the `count` ids held out, both (m,) int64 on the CPU, rising.

    Every class gives its share, rounded by largest remainder (ties to the lower class). Which of its samples
    go is drawn per sample id, so that it rests on `rng` and `y` alone. y: (n,) int64 class numbers.
    Raises ConfigError unless 0 <= count < n.
    """
    labels = y.cpu()
    if not 0 <= count < len(labels):
        raise ConfigError(f"cannot hold out {count} of {len(labels)} samples, wanted 0..{len(labels) - 1}")
    sizes = torch.bincount(labels)
    held = _ranks(labels, sizes, rng) < _shares(sizes, count)[labels]
    return (~held).nonzero().flatten(), held.nonzero().flatten()


def with_test_part(whole: Split, count: int) -> tuple[Split, Split]:
    """Train and test part of data that came in one piece; `count` samples, by class, are the test part.

    It is the same for every run and seed: figures are comparable only on one and the same test set.
    Raises ConfigError unless 0 <= count < n.
    """
    kept, held = hold_out(whole.y, count, stream(0, "data", "test part"))
    return whole.take(kept), whole.take(held)


def epoch_order(n: int, rng: Stream) -> Tensor:
    """The order in which an epoch visits `n` samples: a permutation of 0..n-1, (n,) int64 on the CPU."""
    return torch.randperm(n, generator=rng.generator())


def _ranks(labels: Tensor, sizes: Tensor, rng: Stream) -> Tensor:
    """The place of each sample in a random order of its own class, from 0."""
    ids = torch.arange(len(labels))
    by_draw = rng.at(ids).uniform(ids).argsort(stable=True)
    order = by_draw[labels[by_draw].argsort(stable=True)]
    first = sizes.cumsum(0) - sizes
    ranks = torch.empty_like(ids)
    ranks[order] = ids - first[labels[order]]
    return ranks


def _shares(sizes: Tensor, count: int) -> Tensor:
    """Whole numbers that sum to `count`, in proportion to `sizes` (Hamilton's method)."""
    exact = sizes * count  # in units of 1 / total: whole numbers, hence no rounding
    shares, remainders = exact // sizes.sum(), exact % sizes.sum()
    missing = count - int(shares.sum())
    shares[remainders.argsort(descending=True, stable=True)[:missing]] += 1
    return shares
