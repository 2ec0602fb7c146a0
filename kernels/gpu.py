"""Where numba's CUDA target comes from: the one place to change when its package does.

numba-cuda installs itself as `numba.cuda`, in place of the target that numba itself still holds. With
NUMBA_ENABLE_CUDASIM=1 in the environment, both give a simulator: a Python thread for each CUDA thread, NumPy arrays
for device memory.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import cuda as _target
from numba.core import config

Function = TypeVar("Function", bound=Callable[..., Any])

cuda: Any = _target

SIMULATED = bool(cast(Any, config).ENABLE_CUDASIM)

THREADS = 4 if SIMULATED else 256
"""Threads of a block, a power of two: blocks are summed by halving."""


def device(function: Function) -> Function:
    """`function` for use inside kernels."""
    return cast(Function, cuda.jit(device=True, inline="always")(function))


if SIMULATED:

    def times(a: Any, b: Any) -> Any:
        """a * b, rounded before anything is added to it."""
        return a * b

else:
    from numba.cuda import libdevice

    @device
    def times(a: Any, b: Any) -> Any:
        """a * b, rounded before anything is added to it: left alone, the compiler fuses product and sum."""
        return libdevice.fmul_rn(a, b)  # type: ignore[no-untyped-call]


__all__ = ["SIMULATED", "THREADS", "cuda", "device", "times"]
