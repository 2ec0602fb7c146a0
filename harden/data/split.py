"""Which samples go where: a held-out part by class, a data set's fixed test part, an epoch's order."""

import torch
from torch import Tensor

from harden.data.dataset import Split
from harden.errors import ConfigError, DataError
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


def count_for_test(n: int, share: float, *, where: str) -> int:
    """How many of `n` samples are the test part of `share`. Raises DataError where either part is left empty."""
    count = round(share * n)
    if not 0 < count < n:
        part = "training" if count else "test"
        raise DataError(
            f"{where}: data.test_share={share:g} of {n} images leaves no {part} image",
            "change data.test_share, or give test images of their own: a test/ folder, or x_test and y_test",
        )
    return count


def mixed(split: Split) -> Split:
    """The split in an order in which its first samples stand for all of it.

    Where samples lie class by class, as they do in folders, they are put into a random order, always the same:
    else the first 1,000 images could all be of one class. Others, MNIST's for one, keep their published order.
    """
    y = split.y
    shares = torch.bincount(y).double() / len(y)
    expected = (len(y) - 1) * (1 - (shares**2).sum())  # changes of class from one sample to the next, if at random
    if (y[1:] != y[:-1]).sum() >= expected / 2:
        return split
    return split.take(epoch_order(len(y), stream(0, "data", "mixed")))


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
