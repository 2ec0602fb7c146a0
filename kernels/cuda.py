"""The CUDA engine: contiguous tensors of one device, handed to the kernels of `blocks` on torch's current stream.

Nothing here waits for the device or allocates on it, so that a caller may capture it in a CUDA graph once each kernel
has been compiled by a first call. No GPU was at hand when it was written: it is tested in numba's simulator and by
compiling to PTX, and has never been run on one.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harden.kernels import blocks, gpu

WAVES = 32
"""Blocks that a grid over elements has for each multiprocessor, at most."""


def probe() -> None:
    """Nothing where a kernel can be compiled and run here; else whatever numba raises."""
    if not gpu.SIMULATED:
        x = torch.zeros(1, 1, device="cuda")
        step_linf(x, x, x, step=0.0, eps=0.0, low=0.0, high=1.0, out=torch.empty_like(x))
        torch.cuda.synchronize()


def step_linf(
    x_adv: Tensor, gradient: Tensor, x: Tensor, *, step: float, eps: float, low: float, high: float, out: Tensor
) -> Tensor:
    _over_elements(blocks.step_linf, x_adv, gradient, x, *_singles(step, eps, low, high), out.numel(), out)
    return out


def project_linf(x_adv: Tensor, x: Tensor, *, eps: float, low: float, high: float, out: Tensor) -> Tensor:
    _over_elements(blocks.project_linf, x_adv, x, *_singles(eps, low, high), out.numel(), out)
    return out


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
    numbers = _singles(share, rest, eps, low, high)
    tensors = x_adv, before, gradient, x, size
    _over_elements(blocks.apgd_linf, *tensors, *numbers, _pixels(out), out.numel(), out)
    return out


def keep_best(
    x_adv: Tensor, gradient: Tensor, loss: Tensor, *, best: Tensor, best_gradient: Tensor, best_loss: Tensor
) -> Tensor:
    found, kept = (x_adv, gradient, loss), (best, best_gradient, best_loss)
    _over_samples(blocks.keep_best, *found, _pixels(best), len(best), *kept, writes=kept)
    return best_loss


def step_l2(
    x_adv: Tensor, gradient: Tensor, x: Tensor, *, step: float, eps: float, low: float, high: float, out: Tensor
) -> Tensor:
    numbers = _singles(step, eps, low, high)
    _over_samples(blocks.step_l2, x_adv, gradient, x, *numbers, _pixels(out), len(out), out)
    return out


def project_l2(x_adv: Tensor, x: Tensor, *, eps: float, low: float, high: float, out: Tensor) -> Tensor:
    _over_samples(blocks.project_l2, x_adv, x, *_singles(eps, low, high), _pixels(out), len(out), out)
    return out


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
    tensors, numbers = (x_adv, gradient, gradient.detach().view(torch.int32), x), _singles(step, eps, low, high)
    _over_samples(blocks.step_l1, *tensors, *numbers, count, _pixels(out), len(out), out)
    return out


def project_l1(x_adv: Tensor, x: Tensor, *, eps: float, low: float, high: float, out: Tensor) -> Tensor:
    _over_samples(blocks.project_l1, x_adv, x, *_singles(eps, low, high), _pixels(out), len(out), out)
    return out


def onto_plane(
    point: Tensor, normal: Tensor, offset: Tensor, *, euclidean: bool, low: float, high: float, out: Tensor
) -> Tensor:
    numbers = *_singles(low, high), int(euclidean), _pixels(out), len(out)
    _over_samples(blocks.onto_plane, point, normal, offset, *numbers, out)
    return out


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
    changed = torch.empty(len(x_adv), dtype=torch.bool, device=x_adv.device)
    numbers = side, *_singles(eps, low, high), *x_adv.shape[1:], len(x_adv)
    _over_samples(blocks.paste, x_adv, x, corner, leap, *numbers, old, changed, writes=(x_adv, old))
    return changed


def take_back(x_adv: Tensor, corner: Tensor, kept: Tensor, *, side: int, old: Tensor) -> Tensor:
    numbers = side, *x_adv.shape[1:], len(x_adv)
    _over_samples(blocks.take_back, x_adv, corner, kept, *numbers, old, writes=(x_adv,))
    return x_adv


def uniform(key: int, rows: Tensor, *, low: float, span: float, draw: int, out: Tensor) -> Tensor:
    numbers = draw, *_singles(low, span), _pixels(out), len(out)
    _over_elements(blocks.uniform, *_words(key), rows, *numbers, out)
    return out


def start_linf(
    key: int, rows: Tensor, x: Tensor, *, eps: float, low: float, high: float, draw: int, out: Tensor
) -> Tensor:
    numbers = *_singles(eps, low, high), _pixels(out), len(out)
    _over_elements(blocks.start_linf, *_words(key), rows, draw, x, *numbers, out)
    return out


def margin(logits: Tensor, y: Tensor, *, value: Tensor, gradient: Tensor) -> Tensor:
    _over_elements(blocks.margin, logits, y, logits.shape[1], len(y), gradient, value, writes=(gradient, value))
    return value


def dlr(logits: Tensor, y: Tensor, *, value: Tensor, gradient: Tensor) -> Tensor:
    _over_elements(blocks.dlr, logits, y, logits.shape[1], len(y), gradient, value, writes=(gradient, value))
    return value


def targeted_dlr(logits: Tensor, y: Tensor, target: Tensor, *, value: Tensor, gradient: Tensor) -> Tensor:
    numbers = logits.shape[1], len(y)
    _over_elements(blocks.targeted_dlr, logits, y, target, *numbers, gradient, value, writes=(gradient, value))
    return value


def _over_elements(kernel: Callable[..., None], *arguments: Any, writes: tuple[Tensor, ...] = ()) -> None:
    """Runs `kernel` on a grid that strides over the elements of the last argument, which is written."""
    last: Tensor = arguments[-1]
    wanted = -(-last.numel() // gpu.THREADS)
    _launch(kernel, min(wanted, WAVES * _multiprocessors(last.device)), arguments, writes or (last,))


def _over_samples(kernel: Callable[..., None], *arguments: Any, writes: tuple[Tensor, ...] = ()) -> None:
    """Runs `kernel` with a block for each sample of the last argument."""
    last: Tensor = arguments[-1]
    _launch(kernel, len(last), arguments, writes or (last,))


def _launch(kernel: Callable[..., None], grid: int, arguments: tuple[Any, ...], writes: tuple[Tensor, ...]) -> None:
    if grid == 0 or 0 in writes[0].shape:
        return
    views = [_view(one) if isinstance(one, Tensor) else one for one in arguments]
    if gpu.SIMULATED:
        _compiled(kernel)[grid, gpu.THREADS](*views)
    else:
        device = writes[0].device
        stream = gpu.cuda.external_stream(torch.cuda.current_stream(device).cuda_stream)
        with gpu.cuda.gpus[device.index]:
            _compiled(kernel)[grid, gpu.THREADS, stream](*views)
    for one in writes:
        torch.autograd.graph.increment_version(one)  # autograd cannot see writes that bypass torch


@cache
def _compiled(kernel: Callable[..., None]) -> Any:
    """Compiled at its first call with arguments of some types."""
    return gpu.cuda.jit(kernel)


@cache
def _multiprocessors(device: torch.device) -> int:
    return 1 if gpu.SIMULATED else torch.cuda.get_device_properties(device).multi_processor_count


def _view(tensor: Tensor) -> Any:
    flat = tensor.detach().view(-1)
    flat = flat.view(torch.uint8) if flat.dtype == torch.bool else flat
    return flat.numpy() if gpu.SIMULATED else gpu.cuda.as_cuda_array(flat)


def _singles(*numbers: float) -> tuple[np.float32, ...]:
    return tuple(np.float32(one) for one in numbers)


def _words(key: int) -> tuple[int, int]:
    return key & 0xFFFFFFFF, key >> 32


def _pixels(tensor: Tensor) -> int:
    return math.prod(tensor.shape[1:])
