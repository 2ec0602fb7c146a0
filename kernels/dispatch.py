"""Which engine computes: what the caller asked for, else what device and size make the fastest."""

import importlib.util
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from functools import cache

import torch
from torch import Tensor

from harden.errors import MissingExtra
from harden.kernels import eager
from harden.kernels.arguments import told
from harden.kernels.engine import Engine

ENGINES = ("torch", "numba", "cuda")


class Wanted(Enum):
    """Which engine a run is to prefer; `auto` leaves it to device and size."""

    auto = "auto"
    torch = "torch"
    numba = "numba"
    cuda = "cuda"


FEWEST = {"numba": 1, "cuda": 4_000_000}
"""Elements of the largest tensor from which an engine beats torch.

numba: ahead from one element on, 21 us against 27 for a linf step (2 CPU cores, torch 2.13, medians of 8). cuda: an
estimate, never measured, from a launch of 88 us against seven eager ones of 4 us each and 13 fewer passes over memory
at 4.3 TB/s. In a CUDA graph a launch costs nothing later: who captures one asks for cuda whatever the size.
"""

_log = logging.getLogger(__name__)
_forced: ContextVar[str | None] = ContextVar("_forced", default=None)
_preferred: ContextVar[str | None] = ContextVar("_preferred", default=None)


def available() -> tuple[str, ...]:
    """The engines that can be had here. Imports none of them."""
    has_numba = importlib.util.find_spec("numba") is not None
    here = {"torch": True, "numba": has_numba, "cuda": has_numba and (_simulated() or torch.cuda.is_available())}
    return tuple(name for name in ENGINES if here[name])


@contextmanager
def using(name: str) -> Iterator[None]:
    """Inside, engine `name` computes everything, and a tensor it cannot take is a ValueError.

    Holds for the current thread. Raises ValueError for an unknown engine, MissingExtra for one that
    cannot be imported.
    """
    _check_name(name)
    if _module(name) is None:
        raise MissingExtra(f"engine '{name}' cannot be imported", _HINTS[name])
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


@contextmanager
def preferring(wanted: Wanted) -> Iterator[None]:
    """Inside, engine `wanted` computes what it can take; one that is missing is told of once, and torch computes."""
    name = None if wanted is Wanted.auto else wanted.value
    if name is not None and _module(name) is None:
        _warn_missing(name)
        name = "torch"
    token = _preferred.set(name)
    try:
        yield
    finally:
        _preferred.reset(token)


def engine_for(*tensors: Tensor) -> str:
    """The name of the engine that computes on `tensors`."""
    forced = _forced.get()
    if forced is not None:
        if not _takes(forced, tensors):
            given = ", ".join(map(told, tensors))
            where = "CPU" if forced == "numba" else "CUDA"
            raise ValueError(
                f"engine '{forced}' takes contiguous {where} tensors in float32, int64 or bool, got {given}"
            )
        return forced
    preferred = _preferred.get()
    if preferred is not None and _takes(preferred, tensors):
        return preferred
    return _fastest(tensors)


def engine(*tensors: Tensor) -> Engine:
    """The engine that computes on `tensors`; told in the log when it is a new one for the device."""
    name = engine_for(*tensors)
    _tell(name, tensors[0].device.type)
    return _module(name) or eager


def _fastest(tensors: tuple[Tensor, ...]) -> str:
    device, size = tensors[0].device.type, max(one.numel() for one in tensors)
    if device == "cpu" and size >= FEWEST["numba"] and _takes("numba", tensors) and _module("numba") is not None:
        return "numba"
    if device == "cuda" and _takes("cuda", tensors):
        return "cuda" if size >= FEWEST["cuda"] and _module("cuda") is not None else "torch"
    return "torch"


def _takes(name: str, tensors: tuple[Tensor, ...]) -> bool:
    if name == "torch":
        return True
    place = "cuda" if name == "cuda" and not _simulated() else "cpu"
    return all(
        t.device.type == place and t.dtype in (torch.float32, torch.int64, torch.bool) and t.is_contiguous()
        for t in tensors
    )


def _simulated() -> bool:
    return os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"


def _check_name(name: str) -> None:
    if name not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {name!r}")


_HINTS = {
    "numba": "install numba, or leave the choice to the library",
    "cuda": "it needs a CUDA device and the extra harden[cuda]; or leave the choice to the library",
}


def _module(name: str) -> Engine | None:
    return {"numba": _numba, "cuda": _cuda}[name]() if name != "torch" else eager


@cache
def _tell(name: str, device: str) -> None:
    _log.info("kernels: %s computes perturbations on %s", name, device)


@cache
def _warn_missing(name: str) -> None:
    _log.warning("kernels=%s is not to be had here (%s); torch computes instead", name, _HINTS[name])


@cache
def _numba() -> Engine | None:
    """The numba engine, imported at its first use: `import numba` takes 0.7 s."""
    try:
        from harden.kernels import cpu
    except ImportError as error:
        _log.warning("numba cannot be imported (%s); perturbations are computed by torch, slower", error)
        return None
    return cpu


@cache
def _cuda() -> Engine | None:
    """The CUDA engine; None without a device, or without numba's CUDA target."""
    if not (_simulated() or torch.cuda.is_available()):
        return None
    try:
        from harden.kernels import cuda

        cuda.probe()
    except Exception as error:  # a driver, toolkit or library that does not fit raises whatever it likes
        _log.warning("numba's CUDA target cannot be used (%s); perturbations are computed by torch", error)
        return None
    return cuda
