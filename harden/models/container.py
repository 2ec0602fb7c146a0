"""Tensors and text as safetensors bytes, and back, with a reason for every file that is none.

Format: https://huggingface.co/docs/safetensors, "Format". 8 bytes header length, little endian; a JSON
header of names, types, shapes and offsets; the numbers. Opening one runs no code, unlike a pickle.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from harden.errors import Untrusted, WeightsError
from harden.files import canonical_json
from harden.models.sealed import is_sealed, unsealed

LENGTH = 8  # bytes of the header's length
LONGEST_HEADER = 100_000_000  # the limit of the safetensors library itself
DAMAGED = "the file was damaged or edited: get a fresh copy"


def encode(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """The safetensors file of contiguous CPU `tensors`; equal input gives equal bytes.

    The header is written anew, as the library puts `metadata` in an order that differs between calls
    (measured with safetensors 0.8.0).
    """
    plain = safetensors.torch.save(dict(tensors))
    start = LENGTH + int.from_bytes(plain[:LENGTH], "little")
    header = canonical_json({**json.loads(plain[LENGTH:start]), "__metadata__": dict(metadata)})
    header += b" " * (-len(header) % LENGTH)  # keeps the numbers aligned
    return len(header).to_bytes(LENGTH, "little") + header + plain[start:]


def decode(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors, on the CPU, and the metadata of the safetensors file at `path`.

    Raises Untrusted for a pickle or a torch zip, WeightsError for all else but a whole safetensors file. A sealed
    one is opened in memory by the keys of the block around, see `harden.models.sealed`.
    """
    if is_sealed(path):
        return unsealed(path)
    data = _bytes_of(path)
    header = _header(data, path)
    try:
        tensors = safetensors.torch.load(data)
    except SafetensorError as error:
        raise WeightsError(f"{path}: is damaged: {_one_line(error)}", DAMAGED) from error
    except KeyError as error:  # how the library says that torch has no such type
        raise WeightsError(f"{path}: holds numbers of type {error}, which torch cannot read") from error
    return tensors, dict(header.get("__metadata__") or {})


def _bytes_of(path: Path) -> bytes:
    """The whole file; its first bytes are judged before the rest is read, as junk may be huge."""
    if path.is_dir():
        raise WeightsError(f"{path}: is a folder, wanted a safetensors file", "name the file inside it")
    try:
        with path.open("rb") as file:
            start = file.read(LENGTH + 1)
            _check_start(start, path)
            return start + file.read()
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: there is no such file") from error
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from error


def _check_start(start: bytes, path: Path) -> None:
    """Safetensors first: a header of 640 bytes begins like a pickle, one of 19280 like a zip."""
    announced = int.from_bytes(start[:LENGTH], "little")
    if start[LENGTH:] == b"{" and announced <= LONGEST_HEADER:
        return
    if start.startswith((b"PK", b"\x80")):
        raise Untrusted(
            f"{path}: is a pickle, which can run code when opened, wanted a safetensors file",
            "have whoever wrote it save its tensors as safetensors",
        )
    if not start:
        raise WeightsError(f"{path}: is empty, wanted a safetensors file", DAMAGED)
    if len(start) <= LENGTH:
        raise WeightsError(f"{path}: is cut off: {len(start)} bytes are shorter than any header", DAMAGED)
    raise WeightsError(f"{path}: is not a safetensors file", "harden reads weights that harden wrote")


def _header(data: bytes, path: Path) -> dict[str, Any]:
    """The header as written; raises WeightsError where it is damaged or the file shorter than it says."""
    start = LENGTH + int.from_bytes(data[:LENGTH], "little")
    if len(data) < start:
        raise WeightsError(f"{path}: is cut off: {len(data)} bytes, its header alone takes {start}", DAMAGED)
    try:
        header: dict[str, Any] = json.loads(data[LENGTH:start])
        entries = [entry for name, entry in header.items() if name != "__metadata__"]
        whole = start + max([int(entry["data_offsets"][1]) for entry in entries], default=0)
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise WeightsError(f"{path}: is damaged: its header cannot be read", DAMAGED) from error
    if len(data) < whole:
        raise WeightsError(f"{path}: is cut off: {len(data)} of {whole} bytes", DAMAGED)
    return header


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
