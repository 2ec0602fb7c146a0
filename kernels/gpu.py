"""Where numba's CUDA target comes from: the one place to change when its package does.

numba-cuda installs itself as `numba.cuda`, in place of the target that numba itself still holds. With
NUMBA_ENABLE_CUDASIM=1 in the environment, both give a simulator: a Python thread for each CUDA thread, NumPy arrays
for device memory.
"""

from numba import cuda
from numba.core import config

SIMULATED = bool(config.ENABLE_CUDASIM)

THREADS = 4 if SIMULATED else 256
"""Threads of a block, a power of two: blocks are summed by halving."""

if SIMULATED:

    def times(a: float, b: float) -> float:
        """a * b, rounded before anything is added to it."""
        return a * b

else:
    from numba.cuda import libdevice

    @cuda.jit(device=True, inline="always")
    def times(a: float, b: float) -> float:
        """a * b, rounded before anything is added to it: left alone, the compiler fuses product and sum."""
        return libdevice.fmul_rn(a, b)


def device(function):  # type: ignore[no-untyped-def]
    """`function` for use inside kernels."""
    return cuda.jit(device=True, inline="always")(function)


__all__ = ["SIMULATED", "THREADS", "cuda", "device", "times"]
