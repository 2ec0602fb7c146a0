"""Where and how precisely a run computes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

import torch

from harden.errors import ConfigError


class Precision(Enum):
    """Arithmetic of training passes; evaluation is float32 whatever stands here."""

    auto = "auto"  # bf16 on a GPU that has it, float32 on a CPU
    fp32 = "fp32"
    bf16 = "bf16"


SMALL = 32768
"""Pixels of a batch below which one thread is as fast as two: torch's own grain size."""


@dataclass(frozen=True)
class Compute:
    """The device of a run (`auto`, `cpu`, `cuda`, `cuda:1`), its training precision, its CPU threads.

    `threads` 0 leaves the number to torch, but for small batches: a second thread gains nothing below
    `SMALL` pixels, and where the machine is shared it makes every step wait for its turn on the other core.
    """

    device: str = "auto"
    precision: Precision = Precision.auto
    threads: int = 0
    graph: bool = False  # on a GPU: the attack as one CUDA graph (written without a GPU, never run on one)
    compile: bool = False  # the network through torch.compile in training

    def __post_init__(self) -> None:
        if self.threads < 0:
            raise ConfigError(f"compute.threads must be >= 0, got {self.threads}")

    def threads_for(self, pixels: int) -> int:
        """CPU threads for batches of so many pixels; 0: leave them as they are."""
        return self.threads or (1 if pixels < SMALL else 0)

    def where(self) -> torch.device:
        """The torch device; ConfigError where it does not exist on this machine."""
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(self.device)
        except RuntimeError as error:
            raise ConfigError(f"no device is called '{self.device}'", "say cpu or cuda") from error
        if device.type not in ("cpu", "cuda"):
            raise ConfigError(f"the device must be cpu or cuda, got '{self.device}'")
        if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
            raise ConfigError(f"the device '{self.device}' is not there", "use cpu")
        return device

    def bf16(self, device: torch.device) -> bool:
        """Whether training passes run under bf16 autocast. Never fp16: its softmax underflows and fakes robustness."""
        if self.precision is Precision.auto:
            return device.type == "cuda" and torch.cuda.is_bf16_supported()
        return self.precision is Precision.bf16


@contextmanager
def autocast(device: torch.device, bf16: bool) -> Iterator[None]:
    """bf16 autocast, or nothing."""
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
        yield
