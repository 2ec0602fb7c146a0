"""The one spelling of manifests: JSON with lists and truth values, keys sorted, no spaces, ASCII with escapes.

What does not come out of `encode` is not read by `decode`. That alone refuses duplicate keys, floats, NaN, other
escapes, other spaces and invalid UTF-8, so that every byte of a manifest counts.
"""

import json
import os
import stat
from pathlib import Path
from typing import Any

from harden.sealing.canonical import is_count
from harden.sealing.errors import Damaged
from harden.sealing.heads import FRESH, opened
from harden.sealing.publish import naming

LONGEST = 262_144
"""Bytes of the longest manifest."""

TEXT, DEPTH = 1024, 8
"""Characters of the longest name, and how deep objects and lists nest."""


def is_text(value: Any) -> bool:
    """Whether `value` is a text that people can be shown: printable, not empty, at most `TEXT` characters."""
    return isinstance(value, str) and 1 <= len(value) <= TEXT and value.isprintable()


def encode(value: Any) -> bytes:
    """The spelling of `value`; ValueError where it holds anything but printable text, counts, truth values."""
    if not _is_sound(value, DEPTH):
        raise ValueError("a manifest holds printable text, whole numbers, truth values, and lists and objects of them")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def decode(data: bytes, where: str) -> dict[str, Any]:
    """The object that `encode` wrote; Damaged, naming `where`, for all other bytes."""
    try:
        value = json.loads(data.decode("ascii"))
        canonical = isinstance(value, dict) and encode(value) == data
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{where}: is not JSON of a manifest", FRESH) from error
    if not canonical:
        raise Damaged(f"{where}: is JSON, but not in the one spelling of a manifest", FRESH)
    found: dict[str, Any] = value
    return found


def read(path: Path) -> bytes:
    """What the small file at `path` holds. Raises Unreadable, and Damaged where it is too long or no file."""
    with opened(path) as handle, naming(path), open(handle, "rb", closefd=False) as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise Damaged(f"{path}: is no ordinary file")
        data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise Damaged(f"{path}: is longer than the {LONGEST} bytes that a manifest may have")
    return data


def _is_sound(value: Any, depth: int) -> bool:
    if isinstance(value, dict):
        return depth > 0 and all(_is_key(key) and _is_sound(one, depth - 1) for key, one in value.items())
    if isinstance(value, list):
        return depth > 0 and all(_is_sound(one, depth - 1) for one in value)
    return value is True or value is False or is_count(value) or (isinstance(value, str) and value.isprintable())


def _is_key(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable()
