"""Changes to the bytes of a finished file, with or without mending what depends on them."""

import hashlib
from collections.abc import Callable

from tests.sealing.vectors.writer import File

Edit = Callable[[bytearray, dict[str, int]], None]
"""Changes the bytes of a finished file; the mapping tells where its parts begin."""


def put(part: str, offset: int, data: bytes) -> Edit:
    """Overwrites bytes of a part."""

    def edit(out: bytearray, at: dict[str, int]) -> None:
        out[at[part] + offset : at[part] + offset + len(data)] = data

    return edit


def flip(part: str, offset: int, bit: int = 0) -> Edit:
    """Flips one bit of a part; a negative offset counts from the end of the file."""

    def edit(out: bytearray, at: dict[str, int]) -> None:
        out[(at[part] if offset >= 0 else len(out)) + offset] ^= 1 << bit

    return edit


def cut(part: str, offset: int = 0) -> Edit:
    """Ends the file in a part."""

    def edit(out: bytearray, at: dict[str, int]) -> None:
        del out[at[part] + offset :]

    return edit


def append(data: bytes) -> Edit:
    """Bytes behind the end."""
    return lambda out, _at: out.extend(data)


def both(offset: int, data: bytes, file: File) -> Edit:
    """Overwrites bytes of both slots, and gives both the tag that they then deserve."""

    def edit(out: bytearray, at: dict[str, int]) -> None:
        preamble, h = bytes(out[:32]), file.h(bytes(out[32 : at["after"]]))
        for start, end in ((at["a"], at["b"]), (at["b"], at["payload"])):
            out[start + offset : start + offset + len(data)] = data
            out[start:end] = file.tagged(bytes(out[start : end - 64]), preamble, h)

    return edit


def mended(edit: Edit) -> Edit:
    """An edit of the payload, and the hash list (of one leaf) that goes with it."""

    def whole(out: bytearray, at: dict[str, int]) -> None:
        edit(out, at)
        leaf = hashlib.sha256(b"\0" + bytes(out[at["payload"] : at["list"]])).digest()
        out[at["list"] : at["list"] + 32] = leaf

    return whole


def with_part(other: File, first: str, after: str) -> Edit:
    """The bytes from part `first` to before `after` are those of another file."""

    def edit(out: bytearray, at: dict[str, int]) -> None:
        theirs, there = other.build()
        out[at[first] : at[after]] = theirs[there[first] : there[after]]

    return edit


def swap(out: bytearray, first: int, second: int, size: int) -> None:
    """Two pieces change places."""
    one, other = bytes(out[first : first + size]), bytes(out[second : second + size])
    out[first : first + size], out[second : second + size] = other, one


def copy(out: bytearray, source: int, target: int, size: int) -> None:
    """A piece goes over another."""
    out[target : target + size] = out[source : source + size]
