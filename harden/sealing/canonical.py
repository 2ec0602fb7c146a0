"""The one spelling of small JSON objects: of the core, of key files, of the trust store.

Strings are printable ASCII without quote and backslash, so that nothing is ever escaped; numbers are integers of
0..2^53-1; keys are sorted, no spaces. What does not come out of `encode` is not read by `decode`: that alone
refuses duplicate keys, floats, NaN, escapes and spaces.
"""

import json
from collections.abc import Mapping
from typing import Any

LARGEST = 2**53 - 1
PLAIN = frozenset(map(chr, range(0x20, 0x7F))) - {'"', "\\"}


def is_plain(value: Any) -> bool:
    """Whether `value` is a string that canonical JSON can hold."""
    return isinstance(value, str) and PLAIN.issuperset(value)


def is_count(value: Any) -> bool:
    """Whether `value` is an integer that canonical JSON can hold; True is none."""
    return type(value) is int and 0 <= value <= LARGEST


def is_hex(value: Any, size: int) -> bool:
    """Whether `value` is `size` bytes in lower-case hex."""
    return isinstance(value, str) and len(value) == 2 * size and set(value) <= set("0123456789abcdef")


def encode(value: Mapping[str, Any]) -> bytes:
    """The spelling of `value`; ValueError where it holds anything but plain strings, counts and mappings."""
    if not _is_sound(value):
        raise ValueError("canonical JSON holds printable ASCII without quotes, whole numbers and mappings of them")
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def decode(data: bytes) -> dict[str, Any]:
    """The object that `encode` wrote; ValueError for all other bytes."""
    try:
        value = json.loads(data.decode("ascii"))
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(value, dict) or encode(value) != data:
        raise ValueError("not in canonical form")
    return value


def _is_sound(value: Any, depth: int = 4) -> bool:
    if isinstance(value, Mapping):
        return depth > 0 and all(is_plain(key) and _is_sound(one, depth - 1) for key, one in value.items())
    return is_plain(value) or is_count(value)
