"""NumPy archives (.npz). Arrays of Python objects are refused: they are pickles, and a pickle runs code."""

import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harden.data.arrays import from_arrays
from harden.data.choice import TEST_SHARE, DataChoice, Progress, check_share, wanted_root
from harden.data.dataset import DataSet
from harden.errors import DataError, Untrusted

ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")  # with members, without; what NumPy goes by
PICKLE_MAGIC = b"\x80"  # protocol 2 and later
BROKEN_HEADER = (ValueError, OverflowError, SyntaxError, tokenize.TokenError)  # it is parsed as Python text
SAFE_HINT = "save arrays of numbers: np.savez(path, x_train=..., y_train=..., x_test=..., y_test=...)"


@dataclass(frozen=True, kw_only=True)
class Npz(DataChoice):
    """Your own arrays in an .npz file: x_train, y_train, x_test, y_test, or x and y; also `classes`."""

    root: str | None = None  # the .npz file
    test_share: float = TEST_SHARE  # part held out as test set where there is none; fixed, by class

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(self.test_share)

    def read(self, *, progress: Progress) -> DataSet:
        """The arrays in the file, named after it."""
        path = wanted_root(self.root, "npz")
        return from_arrays(_arrays(path), name=path.stem, source=str(path), test_share=self.test_share)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    _check_container(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: _array(path, key, file) for key in file.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:  # last: a password
        raise DataError(f"{path}: damaged npz file: {str(error).lower()}", "save or copy it again") from error


def _check_container(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"data.root={path}: no such file, wanted an .npz file")
    with path.open("rb") as file:
        magic = file.read(4)
    if magic.startswith(PICKLE_MAGIC):
        raise Untrusted(f"{path}: is a pickle, which could run code when read", SAFE_HINT)
    if magic not in ZIP_MAGIC:
        raise DataError(f"{path}: is no npz file", SAFE_HINT)
    if not zipfile.is_zipfile(path):  # a zip file's table of contents is its end
        raise DataError(f"{path}: is truncated or damaged, its end is missing", "save or copy it again")


def _array(path: Path, key: str, file: Any) -> NDArray[Any]:
    """Array `key`. NumPy tells by ValueError both that it would need a pickle and that a header is broken."""
    try:
        array = file[key]
    except MemoryError as error:
        raise DataError(f"{path}: array {key!r} is damaged or too big: {_first_line(error)}") from error
    except BROKEN_HEADER as error:
        if str(error).startswith("Object arrays"):
            message = f"{path}: array {key!r} holds Python objects, which could run code when read"
            raise Untrusted(message, SAFE_HINT) from error
        raise DataError(f"{path}: array {key!r} is damaged: {_first_line(error)}") from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: member {key!r} is no array")
    return array


def _first_line(error: Exception) -> str:
    """What `error` says, without the advice on NumPy's options that may follow."""
    return str(error).partition("\n")[0].rstrip(".").lower() or type(error).__name__
