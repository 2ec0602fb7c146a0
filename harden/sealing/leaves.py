"""The hash list: one digest for each started MiB of payload, and the root that is signed.

    leaf i = hash(0x00 | payload MiB i)      root = hash(0x01 | u64 count | leaves)

A tree of depth one: the leaves of 50 GiB hash in 1.2 ms, and any MiB can be checked by itself.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from harden.sealing.layout import LEAF

Digests = Callable[[], bytes]
"""Waits for digests that are being computed, and gives them one after the other."""
Hashing = Callable[[memoryview], Digests]
"""Begins to compute the leaves of the bytes; the buffer must stay as it is until their digests are there."""

WORTH_A_THREAD = 4
"""Leaves from which on a thread pays."""


def leaf(digest: str, payload: memoryview) -> bytes:
    """The leaf of up to a MiB of payload."""
    hasher = hashlib.new(digest, b"\0", usedforsecurity=True)
    hasher.update(payload)
    return hasher.digest()


def leaves_of(digest: str, view: memoryview) -> bytes:
    """The leaves of consecutive bytes, one after the other; all but the last of a whole MiB."""
    return b"".join(leaf(digest, view[at : at + LEAF]) for at in range(0, len(view), LEAF))


def root(digest: str, leaves: bytes | bytearray, count: int) -> bytes:
    """The root over all leaves, given one after the other."""
    hasher = hashlib.new(digest, b"\1" + count.to_bytes(8, "big"), usedforsecurity=True)
    hasher.update(leaves)
    return hasher.digest()


@contextmanager
def hashing(digest: str, leaves: int) -> Iterator[Hashing]:
    """What computes the leaves of consecutive bytes, `leaves` of them in all; in a thread beside where that pays.

    hashlib lets go of the interpreter, so that hashing (1.4 GiB/s) runs beside encryption and disk. One thread and
    one task a buffer: more of either were slower on a busy machine, as each hand-over waits for a turn (measured).
    """
    if leaves < WORTH_A_THREAD or len(os.sched_getaffinity(0)) < 2:
        yield lambda view: partial(leaves_of, digest, view)
        return
    with ThreadPoolExecutor(1, "sealing") as pool:
        yield lambda view: pool.submit(leaves_of, digest, view).result
