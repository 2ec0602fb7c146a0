"""A batch shared out among threads: each attacks samples of its own, on its part of the cores.

On a CPU, threads that work on the same layer of a small network wait for each other at its end, thousands of
times a second, and much of what an attack does besides is done by one of them. Threads with samples of their own
wait for nobody (docs/benchmarks.md has the ratios).
"""

import contextvars
import copy
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool

import torch
from torch import Tensor, nn

from harden.attacks.base import Attack, Model
from harden.attacks.counting import Counted
from harden.attacks.swift import swift

LEAST = 25
"""So many samples at least make a share: with fewer, Python's one lock is what the threads wait for."""

Work = Callable[[Model, slice], Tensor]
"""A model and a range of samples -> what was found for them, (k, *pixel)."""


@dataclass(frozen=True)
class Found:
    """What was found for each sample, (n, *pixel), and the samples that went through the model for it."""

    x_adv: Tensor
    forwards: int
    backwards: int


def shared(work: Work, model: Model, count: int, shares: int) -> Found:
    """`work` on all of `count` samples, in so many shares at once, each with a copy of the model.

    `work` sees a model that counts passes and has fast input gradients. What it does to one sample must not
    depend on the others. An exception in one share is raised here; the others are not waited for.
    """
    models = [model, *(copy.deepcopy(model) for _ in range(shares - 1))]
    meters = [Counted(one) for one in models]

    def do(number: int) -> Tensor:
        first, last = number * count // shares, (number + 1) * count // shares
        with swift(models[number]):
            return work(meters[number], slice(first, last))

    parts = [do(0)] if shares == 1 else _at_once(do, shares)
    return Found(torch.cat(parts), sum(one.forwards for one in meters), sum(one.backwards for one in meters))


def shares_for(attack: Attack, model: Model, count: int, device: torch.device) -> int:
    """Into how many shares `count` samples fall: on a CPU, one for each of torch's threads, if all goes well.

    One on a GPU, for an attack that draws from the process's generators, and for a model that cannot be copied.
    """
    shares = min(torch.get_num_threads(), count // LEAST)
    if device.type != "cpu" or attack.alone or shares < 2 or not _copies(model):
        return 1
    return shares


def _copies(model: Model) -> bool:
    try:
        return isinstance(model, nn.Module) and copy.deepcopy(model) is not model
    except (RuntimeError, TypeError, NotImplementedError):  # tensors inside a graph, locks, open files
        return False


def _at_once(do: Callable[[int], Tensor], shares: int) -> list[Tensor]:
    """One thread a share; torch's own threads are divided among them, and its setting put back."""
    threads, contexts = torch.get_num_threads(), [contextvars.copy_context() for _ in range(shares)]
    try:
        with ThreadPool(shares, torch.set_num_threads, (max(1, threads // shares),)) as pool:
            return pool.map(lambda number: contexts[number].run(do, number), range(shares), chunksize=1)
    finally:
        torch.set_num_threads(threads)
