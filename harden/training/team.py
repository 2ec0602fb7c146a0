"""Several processes that train one model: who one is, what is averaged, what is decided together.

`torchrun --nproc-per-node N -m harden.train +attack=pgd` starts them. Each takes its part of every batch; random
numbers are drawn by sample id, so a sample is attacked alike in any process. Gradients are averaged in one piece after
the backward pass and not by torch's DistributedDataParallel, which wraps the forward pass: attacks and bounds work on
the bare network, and every objective trains in several processes. BatchNorm's statistics are of a process's part, as in
DDP, and their running means are averaged at each step, so that all processes hold the same model at any time.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from harden.errors import ConfigError

TIMEOUT = timedelta(minutes=10)
"""How long a process waits for the others before it fails."""


@dataclass(frozen=True)
class Team:
    """Process `rank` of `size`. Alone, every method returns what it was given."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process owns files, record and progress."""
        return self.rank == 0

    def part(self, ids: Tensor) -> Tensor:
        """This process's part of `ids`; the parts of all are `ids`, each once."""
        return ids.tensor_split(self.size)[self.rank]

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replaces each tensor, all of one dtype and device, by its mean over the processes, in one exchange."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([one.reshape(-1) for one in tensors])
        distributed.all_reduce(flat)
        flat /= self.size
        for one, mean in zip(tensors, torch.split(flat, [one.numel() for one in tensors]), strict=True):
            one.copy_(mean.view_as(one))

    def total(self, numbers: Tensor) -> Tensor:
        """The sum over the processes."""
        if self.size > 1:
            numbers = numbers.clone()
            distributed.all_reduce(numbers)
        return numbers

    def any(self, wish: bool, device: torch.device) -> bool:
        """Whether any process says yes."""
        return bool(self.total(torch.tensor([float(wish)], device=device)) > 0) if self.size > 1 else wish

    def told(self, value: Any) -> Any:
        """What the leading process says: text, numbers, None."""
        if self.size == 1:
            return value
        given = [None if value is None or not self.leads else str(value)]
        distributed.broadcast_object_list(given, src=0)
        return given[0]

    def joined(self, part: Tensor) -> Tensor:
        """The processes' parts of one vector, in the order of `part`."""
        if self.size == 1:
            return part
        counts = [torch.zeros(1, dtype=torch.int64, device=part.device) for _ in range(self.size)]
        distributed.all_gather(counts, torch.tensor([len(part)], device=part.device))
        longest = max(int(count) for count in counts)
        padded = torch.zeros(longest, dtype=torch.float64, device=part.device)
        padded[: len(part)] = part
        found = [torch.empty_like(padded) for _ in range(self.size)]
        distributed.all_gather(found, padded)
        return torch.cat([one[: int(count)] for one, count in zip(found, counts, strict=True)]).to(part.dtype)

    def wait(self) -> None:
        """Returns once all are here."""
        if self.size > 1:
            distributed.barrier()


ALONE = Team()


def called() -> Team:
    """Who torchrun says this process is; alone without it."""
    return Team(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


@contextmanager
def together(device: torch.device) -> Iterator[Team]:
    """Inside, the processes that torchrun started can talk: by nccl on GPUs, by gloo on CPUs."""
    team = called()
    if team.size == 1:
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield team
    finally:
        distributed.destroy_process_group()


def own_device(device: torch.device, team: Team) -> torch.device:
    """The GPU that belongs to this process of its machine, where GPUs were not named by number."""
    if team.size == 1 or str(device) != "cuda":
        return device
    index, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if index >= there:
        raise ConfigError(f"process {index} of this machine has no GPU: there are {there}", "start fewer processes")
    return torch.device("cuda", index)


def check_size(batch: int, team: Team) -> None:
    """Raises ConfigError unless a batch falls into equal parts: unequal ones would weigh samples unequally."""
    if batch % team.size:
        raise ConfigError(
            f"{team.size} processes cannot share a batch of {batch} images equally",
            f"say schedule.batch_size={batch - batch % team.size or team.size}",
        )


def mixes_samples(model: nn.Module) -> bool:
    """Whether a sample's answer in training depends on the others of its part of the batch."""
    return any(isinstance(module, _BatchNorm) for module in model.modules())


def floats(model: nn.Module) -> list[Tensor]:
    """The running statistics, which each process counts on its own part."""
    return [one for one in model.buffers() if one.is_floating_point()]
