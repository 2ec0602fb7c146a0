"""A tree over the leaves' keys, so that one can be shown and the others kept.

leaf = SHA3-256(0x00 | u32 number | key)        node = SHA3-256(0x01 | left | right)
"""

from collections.abc import Sequence
from hashlib import sha3_256


def root_of(keys: Sequence[bytes]) -> bytes:
    """The root over the keys, whose number is a power of two."""
    level = [_leaf(number, key) for number, key in enumerate(keys)]
    while len(level) > 1:
        level = [_node(level[at], level[at + 1]) for at in range(0, len(level), 2)]
    return level[0]


def path_to(keys: Sequence[bytes], number: int) -> list[bytes]:
    """The siblings on the way from the leaf `number` up to the root."""
    level, path = [_leaf(one, key) for one, key in enumerate(keys)], []
    while len(level) > 1:
        path.append(level[number ^ 1])
        level = [_node(level[at], level[at + 1]) for at in range(0, len(level), 2)]
        number //= 2
    return path


def climbed(number: int, key: bytes, path: Sequence[bytes]) -> bytes:
    """The root that the leaf's key and its path lead to."""
    here = _leaf(number, key)
    for sibling in path:
        here = _node(sibling, here) if number % 2 else _node(here, sibling)
        number //= 2
    return here


def _leaf(number: int, key: bytes) -> bytes:
    return sha3_256(b"\x00" + number.to_bytes(4, "big") + key).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return sha3_256(b"\x01" + left + right).digest()
