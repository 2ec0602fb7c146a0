"""Which tensors lie where in a safetensors file, checked: types, shapes, offsets without gap or overlap.

Format: https://huggingface.co/docs/safetensors. 8 bytes header length, little endian; JSON; the numbers. Accepts
what the safetensors library accepts; names no framework, a tensor here is its bytes.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harden.sealing.errors import Damaged

LENGTH = 8
LONGEST = 100_000_000
"""Bytes of the longest header that the safetensors library reads."""

BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
}
"""Bits of a number, by the name of its type."""

Read = Callable[[int, int], bytes]
"""(offset, length) -> the bytes there."""


@dataclass(frozen=True)
class Place:
    """Where a tensor lies: type by its safetensors name, shape, offset from the start of the file, bytes."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    length: int


@dataclass(frozen=True)
class Contents:
    """The header of a safetensors file: places by name, in the order of the numbers, and the metadata."""

    places: Mapping[str, Place]
    metadata: Mapping[str, str]


def contents_of(read: Read, size: int, where: str) -> Contents:
    """The contents of a safetensors file of `size` bytes; Damaged, naming `where`, for one that is none."""
    if size < LENGTH:
        raise _damaged(where, f"{size} bytes are shorter than any header")
    length = int.from_bytes(read(0, LENGTH), "little")
    if length > LONGEST or LENGTH + length > size:
        raise _damaged(where, f"its header would take {length} bytes")
    header = _header(read(LENGTH, length), where)
    metadata = header.pop("__metadata__", None)
    if metadata is not None and not _is_metadata(metadata):
        raise _damaged(where, "its metadata is not a map of texts")
    start = LENGTH + length
    places = {name: _place(name, entry, start, where) for name, entry in header.items()}
    places = dict(sorted(places.items(), key=lambda item: (item[1].start, item[1].length)))
    _check_gapless(places, start, size, where)
    return Contents(places, metadata or {})


def _header(data: bytes, where: str) -> dict[str, Any]:
    try:
        if not data.startswith(b"{"):
            raise ValueError("no object")
        raw = json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise _damaged(where, "its header is not JSON") from error
    return dict(raw)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def _is_metadata(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(one, str) for one in value.values())


def _place(name: str, entry: Any, start: int, where: str) -> Place:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise _damaged(where, f"tensor {name!r} has wrong fields")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise _damaged(where, f"tensor {name!r} has the unknown type {dtype!r}")
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _damaged(where, f"tensor {name!r} has a wrong shape or wrong offsets")
    bits, length = _bits(BITS[dtype], shape), offsets[1] - offsets[0]
    if bits != 8 * length:
        raise _damaged(where, f"tensor {name!r} of {dtype} and {len(shape)} dimensions has {length} bytes")
    return Place(dtype, tuple(shape), start + offsets[0], length)


def _bits(bits: int, shape: list[int]) -> int | None:
    """How many bits a tensor has; None where a product on the way is no 64-bit number, as the library has it."""
    for count in (*shape, 1):
        bits *= count
        if bits >= 2**64:
            return None
    return bits


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(one) is int and 0 <= one < 2**63 for one in values)


def _check_gapless(places: Mapping[str, Place], start: int, size: int, where: str) -> None:
    for name, place in places.items():
        if place.start != start:
            raise _damaged(where, f"tensor {name!r} begins at byte {place.start}, wanted {start}")
        start += place.length
    if start != size:
        raise _damaged(where, f"its tensors end at byte {start}, the file at {size}")


def _damaged(where: str, what: str) -> Damaged:
    return Damaged(f"{where}: is not a safetensors file: {what}", "have it written anew")
