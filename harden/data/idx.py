"""Reader of IDX files (LeCun's format for MNIST), plain or gzip-compressed.

Two zero bytes, a type byte, the number of axes, each axis as a big-endian 32-bit number, then the values.
"""

import gzip
import hashlib
import math
import zlib
from io import BufferedReader
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harden.errors import DataError
from harden.files import CHUNK

UINT8 = 0x08
GZIP_MAGIC = b"\x1f\x8b"
HINT = "copy the file again from its source"


def read_idx(path: Path, *, axes: int) -> tuple[NDArray[np.uint8], str]:
    """The array in the file and the SHA-256, in hex, of its content (decompressed, whatever the packing).

    Raises DataError where the file cannot be read, is no IDX file of `axes` axes of bytes, or has not
    the size that its header tells.
    """
    try:
        with open_content(path) as file:
            head = file.read(4 + 4 * axes)
            shape = _shape(path, head, axes)
            body = _take(file, math.prod(shape))
            found = len(body) + (_rest(file) if len(body) == math.prod(shape) else 0)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged gzip file: {str(error).lower()}", HINT) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from error
    if found != math.prod(shape):
        problem = "truncated" if found < math.prod(shape) else "too long"
        got, wanted = len(head) + found, len(head) + math.prod(shape)
        raise DataError(f"{path}: {problem}, got {got} bytes, wanted {wanted} for shape {shape}", HINT)
    digest = hashlib.sha256(head + body).hexdigest()
    return np.frombuffer(body, np.uint8).reshape(shape), digest


def open_content(path: Path) -> BufferedReader | gzip.GzipFile:
    """The file opened for reading, through gzip where its first bytes say so (names are not believed)."""
    with path.open("rb") as file:
        packed = file.read(2) == GZIP_MAGIC
    return gzip.open(path, "rb") if packed else path.open("rb")


def sha256_of_content(path: Path) -> str:
    """SHA-256 in hex of what the file holds once decompressed, in constant memory."""
    digest = hashlib.sha256()
    with open_content(path) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _shape(path: Path, head: bytes, axes: int) -> tuple[int, ...]:
    wanted = bytes((0, 0, UINT8, axes))
    if head[:4] != wanted:
        got = head[:4].hex() or "nothing"
        raise DataError(f"{path}: is no IDX file of {axes} axes of bytes, starts with {got}, wanted {wanted.hex()}")
    if len(head) < 4 + 4 * axes:
        raise DataError(f"{path}: truncated, got {len(head)} bytes, wanted a header of {4 + 4 * axes}", HINT)
    return tuple(int(size) for size in np.frombuffer(head, ">u4", offset=4))


def _take(file: BufferedReader | gzip.GzipFile, count: int) -> bytearray:
    """At most `count` bytes, fewer at the end or where a gzip stream is cut short. Memory follows the data
    there is, never a header that promises more.
    """
    body = bytearray()
    try:
        while chunk := file.read1(min(CHUNK, count - len(body))):
            body += chunk
    except EOFError:
        return body
    return body


def _rest(file: BufferedReader | gzip.GzipFile) -> int:
    count = 0
    while chunk := file.read(CHUNK):
        count += len(chunk)
    return count
