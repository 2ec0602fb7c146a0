"""The numba engine: contiguous tensors in main memory, float32 or int64, handed to compiled loops.

For the main process only: a forked worker that calls a parallel loop after its parent did is killed.
"""

import math
import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harden.kernels import ascents, loops
from harden.kernels.loops import Floats


def _launch() -> int:
    """Starts numba's threads; how many the CPU affinity, or NUMBA_NUM_THREADS, allows.

    Their start sets the thread count of the OpenMP runtime that torch may share: torch gets its own back.
    """
    of_torch = torch.get_num_threads()
    numba.set_num_threads(numba.get_num_threads())
    torch.set_num_threads(of_torch)
    return int(numba.get_num_threads())


_LIMIT = _launch()

_TURN = threading.Lock() if numba.threading_layer() == "workqueue" else nullcontext()  # type: ignore[attr-defined]
"""numba's layer of last resort, where there is neither OpenMP nor TBB, ends the process when two threads call it."""


def step_linf(
    x_adv: Tensor,
    gradient: Tensor,
    x: Tensor,
    *,
    step: float,
    eps: float,
    low: float,
    high: float,
    out: Tensor,
) -> Tensor:
    return _run(loops.step_linf, (x_adv, gradient, x), (step, eps, low, high), out)


def step_l2(
    x_adv: Tensor,
    gradient: Tensor,
    x: Tensor,
    *,
    step: float,
    eps: float,
    low: float,
    high: float,
    out: Tensor,
) -> Tensor:
    return _run(loops.step_l2, (x_adv, gradient, x), (step, eps, low, high), out)


def step_l1(
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
) -> Tensor:
    return _run(loops.step_l1, (x_adv, gradient, x), (step, eps, low, high), out, count)


def project_linf(x_adv: Tensor, x: Tensor, *, eps: float, low: float, high: float, out: Tensor) -> Tensor:
    return _run(loops.project_linf, (x_adv, x), (eps, low, high), out)


def project_l2(x_adv: Tensor, x: Tensor, *, eps: float, low: float, high: float, out: Tensor) -> Tensor:
    return _run(loops.project_l2, (x_adv, x), (eps, low, high), out)


def project_l1(x_adv: Tensor, x: Tensor, *, eps: float, low: float, high: float, out: Tensor) -> Tensor:
    return _run(loops.project_l1, (x_adv, x), (eps, low, high), out)


def onto_plane(
    point: Tensor, normal: Tensor, offset: Tensor, *, euclidean: bool, low: float, high: float, out: Tensor
) -> Tensor:
    arrays = _array(point), _array(normal), offset.detach().numpy()
    return _compute(loops.onto_plane, *arrays, np.float32(low), np.float32(high), euclidean, out=out)


def paste(
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
) -> Tensor:
    changed = torch.empty(len(x_adv), dtype=torch.bool)
    arrays, limits = [numpy_of(one) for one in (x_adv, x, corner, leap)], [np.float32(one) for one in (eps, low, high)]
    arguments: list[Any] = [*arrays, side, *limits, numpy_of(old), numpy_of(changed)]
    _share_threads(old)
    with _TURN:
        loops.paste(*arguments)
    torch.autograd.graph.increment_version(x_adv)
    torch.autograd.graph.increment_version(old)
    return changed


def take_back(x_adv: Tensor, corner: Tensor, kept: Tensor, *, side: int, old: Tensor) -> Tensor:
    _share_threads(old)
    with _TURN:
        loops.take_back(numpy_of(x_adv), numpy_of(corner), numpy_of(kept), side, numpy_of(old))
    torch.autograd.graph.increment_version(x_adv)
    return x_adv


def uniform(key: int, rows: Tensor, *, low: float, span: float, draw: int, out: Tensor) -> Tensor:
    words = key & 0xFFFFFFFF, key >> 32
    return _compute(loops.uniform, *words, rows.numpy(), draw, np.float32(low), np.float32(span), out=out)


def start_linf(
    key: int, rows: Tensor, x: Tensor, *, eps: float, low: float, high: float, draw: int, out: Tensor
) -> Tensor:
    words = key & 0xFFFFFFFF, key >> 32
    limits = np.float32(eps), np.float32(low), np.float32(high)
    return _compute(ascents.start_linf, *words, rows.numpy(), draw, _array(x), *limits, out=out)


def apgd_linf(
    x_adv: Tensor,
    before: Tensor,
    gradient: Tensor,
    x: Tensor,
    *,
    size: Tensor,
    share: float,
    rest: float,
    eps: float,
    low: float,
    high: float,
    out: Tensor,
) -> Tensor:
    arrays = *map(_array, (x_adv, before, gradient, x)), numpy_of(size)
    return _compute(ascents.apgd_linf, *arrays, *map(np.float32, (share, rest, eps, low, high)), out=out)


def keep_best(
    x_adv: Tensor, gradient: Tensor, loss: Tensor, *, best: Tensor, best_gradient: Tensor, best_loss: Tensor
) -> Tensor:
    arrays = _array(x_adv), _array(gradient), numpy_of(loss), _array(best), _array(best_gradient), numpy_of(best_loss)
    _share_threads(best)
    with _TURN:
        ascents.keep_best(*arrays)
    for one in (best, best_gradient, best_loss):
        torch.autograd.graph.increment_version(one)
    return best_loss


def margin(logits: Tensor, y: Tensor, *, value: Tensor, gradient: Tensor) -> Tensor:
    return _loss(ascents.margin, logits, y, value=value, gradient=gradient)


def dlr(logits: Tensor, y: Tensor, *, value: Tensor, gradient: Tensor) -> Tensor:
    return _loss(ascents.dlr, logits, y, value=value, gradient=gradient)


def targeted_dlr(logits: Tensor, y: Tensor, target: Tensor, *, value: Tensor, gradient: Tensor) -> Tensor:
    return _loss(ascents.targeted_dlr, logits, y, target, value=value, gradient=gradient)


def _loss(loop: Callable[..., None], *tensors: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
    _share_threads(gradient)
    with _TURN:
        loop(*map(numpy_of, tensors), numpy_of(gradient), numpy_of(value))
    torch.autograd.graph.increment_version(gradient)
    torch.autograd.graph.increment_version(value)
    return value


def _run(
    loop: Callable[..., None],
    tensors: tuple[Tensor, ...],
    numbers: tuple[float, ...],
    out: Tensor,
    *counts: int,
) -> Tensor:
    return _compute(loop, *map(_array, tensors), *map(np.float32, numbers), *counts, out=out)


def _compute(loop: Callable[..., None], *arguments: Any, out: Tensor) -> Tensor:
    _share_threads(out)
    with _TURN:
        loop(*arguments, _array(out))
    torch.autograd.graph.increment_version(out)  # autograd cannot see writes that bypass torch
    return out


def run(loop: Callable[..., None], *arguments: Any, size: int) -> None:
    """A loop over samples of `size` elements in all."""
    _share(size)
    with _TURN:
        loop(*arguments)


def numpy_of(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().numpy()
    return array


def _array(tensor: Tensor) -> Floats:
    array = numpy_of(tensor)
    return array.reshape(len(array), math.prod(array.shape[1:]))


def _share_threads(out: Tensor) -> None:
    _share(out.numel())


def _share(elements: int) -> None:
    """One thread for each 32,768 elements, torch's own measure, and no more than torch may use.

    Left alone, numba takes one for each CPU the process may run on. On a busy machine a small loop
    then waits milliseconds for its second thread.
    """
    wanted = max(1, elements // 32768)
    numba.set_num_threads(min(wanted, torch.get_num_threads(), _LIMIT))
