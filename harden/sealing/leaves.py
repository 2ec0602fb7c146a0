"""The hash list: one digest for each started MiB of payload, and the root that is signed.

    leaf i = hash(0x00 | payload MiB i)      root = hash(0x01 | u64 count | leaves)

A tree of depth one: the leaves of 50 GiB hash in 1.2 ms, and any MiB can be checked by itself.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from harden.sealing.layout import LEAF

Digests = Callable[[], bytes]
"""Waits for digests that are being computed, and gives them one after the other."""
Hashing = Callable[[memoryview], Digests]
"""Begins to compute the leaves of the bytes; the buffer must stay as it is until their digests are there."""

MOST_THREADS = 4
WORTH_THREADS = 4
"""Leaves from which on threads pay."""


def leaf(digest: str, payload: memoryview) -> bytes:
    """The leaf of up to a MiB of payload."""
    hasher = hashlib.new(digest, b"\0", usedforsecurity=True)
    hasher.update(payload)
    return hasher.digest()


def root(digest: str, leaves: bytes | bytearray, count: int) -> bytes:
    """The root over all leaves, given one after the other."""
    hasher = hashlib.new(digest, b"\1" + count.to_bytes(8, "big"), usedforsecurity=True)
    hasher.update(leaves)
    return hasher.digest()


@contextmanager
def hashing(digest: str, leaves: int) -> Iterator[Hashing]:
    """What computes the leaves of consecutive bytes, `leaves` of them in all; in threads where that pays.

    hashlib lets go of the interpreter, so that hashing (1.4 GiB/s a core) runs beside encryption and disk.
    """
    threads = min(MOST_THREADS, len(os.sched_getaffinity(0)))
    if leaves < WORTH_THREADS or threads < 2:
        yield lambda view: _all([leaf(digest, one) for one in _cut(view)])
        return
    with ThreadPoolExecutor(threads, "sealing") as pool:

        def begin(view: memoryview) -> Digests:
            futures = [pool.submit(leaf, digest, one) for one in _cut(view)]
            return lambda: b"".join(future.result() for future in futures)

        yield begin


def _all(digests: list[bytes]) -> Digests:
    return lambda: b"".join(digests)


def _cut(view: memoryview) -> Iterator[memoryview]:
    return (view[at : at + LEAF] for at in range(0, len(view), LEAF))
