"""Which engine computes: numba for the CPU tensors it can take, torch for everything else."""

import importlib.util
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from harden.errors import MissingExtra
from harden.kernels import eager
from harden.kernels.arguments import told

ENGINES = ("torch", "numba")

_log = logging.getLogger(__name__)
_forced: ContextVar[str | None] = ContextVar("_forced", default=None)


class Engine(Protocol):
    """What each engine's module offers. Arguments are checked and rounded before they come here."""

    def step_linf(
        self,
        x_adv: Tensor,
        gradient: Tensor,
        x: Tensor,
        *,
        step: float,
        eps: float,
        low: float,
        high: float,
        out: Tensor,
    ) -> Tensor: ...

    def step_l2(
        self,
        x_adv: Tensor,
        gradient: Tensor,
        x: Tensor,
        *,
        step: float,
        eps: float,
        low: float,
        high: float,
        out: Tensor,
    ) -> Tensor: ...

    def step_l1(
        self,
        x_adv: Tensor,
        gradient: Tensor,
        x: Tensor,
        *,
        step: float,
        eps: float,
        low: float,
        high: float,
        count: int,
        out: Tensor,
    ) -> Tensor: ...

    def project_linf(self, x_adv: Tensor, x: Tensor, *, eps: float, low: float, high: float, out: Tensor) -> Tensor: ...

    def project_l2(self, x_adv: Tensor, x: Tensor, *, eps: float, low: float, high: float, out: Tensor) -> Tensor: ...

    def project_l1(self, x_adv: Tensor, x: Tensor, *, eps: float, low: float, high: float, out: Tensor) -> Tensor: ...

    def onto_plane(
        self, point: Tensor, normal: Tensor, offset: Tensor, *, euclidean: bool, low: float, high: float, out: Tensor
    ) -> Tensor: ...

    def paste(
        self,
        x_adv: Tensor,
        x: Tensor,
        corner: Tensor,
        leap: Tensor,
        *,
        side: int,
        eps: float,
        low: float,
        high: float,
        old: Tensor,
    ) -> Tensor: ...

    def take_back(self, x_adv: Tensor, corner: Tensor, kept: Tensor, *, side: int, old: Tensor) -> Tensor: ...

    def uniform(self, key: int, rows: Tensor, *, low: float, span: float, draw: int, out: Tensor) -> Tensor: ...


def available() -> tuple[str, ...]:
    """The engines that can be had here. Imports none of them."""
    return tuple(name for name in ENGINES if name == "torch" or importlib.util.find_spec(name) is not None)


@contextmanager
def using(name: str) -> Iterator[None]:
    """Inside, engine `name` computes everything, and a tensor it cannot take is a ValueError.

    Holds for the current thread. Raises ValueError for an unknown engine, MissingExtra for one that
    cannot be imported.
    """
    if name not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {name!r}")
    if name == "numba" and _numba() is None:
        raise MissingExtra("engine 'numba' cannot be imported", "install numba, or leave the choice to the library")
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


def engine_for(*tensors: Tensor) -> str:
    """The name of the engine that computes on `tensors`."""
    forced = _forced.get()
    if forced == "numba" and not _numba_takes(tensors):
        given = ", ".join(map(told, tensors))
        raise ValueError(f"engine 'numba' takes contiguous CPU tensors in float32, int64 or bool, got {given}")
    if forced is not None:
        return forced
    return "numba" if _numba_takes(tensors) and _numba() is not None else "torch"


def engine(*tensors: Tensor) -> Engine:
    """The engine that computes on `tensors`."""
    found = _numba() if engine_for(*tensors) == "numba" else None
    return eager if found is None else found


def _numba_takes(tensors: tuple[Tensor, ...]) -> bool:
    return all(
        t.device.type == "cpu" and t.dtype in (torch.float32, torch.int64, torch.bool) and t.is_contiguous()
        for t in tensors
    )


@cache
def _numba() -> Engine | None:
    """The numba engine, imported at its first use: `import numba` takes 0.7 s."""
    try:
        from harden.kernels import cpu
    except ImportError as error:
        _log.warning("numba cannot be imported (%s); perturbations are computed by torch, slower", error)
        return None
    return cpu
