"""IDX files, whole, cut, overlong, damaged and disguised."""

import gzip
import hashlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harden.data.idx import read_idx, sha256_of_content
from harden.errors import DataError

Pack = Callable[[bytes], bytes]


def idx(array: NDArray[Any]) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(np.uint8).tobytes()


IMAGES = np.arange(2 * 3 * 4).reshape(2, 3, 4)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("name", ["images", "images.gz"])  # names are not believed
def test_an_array_is_read_with_the_digest_of_its_content(tmp_path: Path, pack: Pack, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(pack(idx(IMAGES)))
    array, digest = read_idx(path, axes=3)
    np.testing.assert_array_equal(array, IMAGES)
    assert array.dtype == np.uint8
    assert array.flags.writeable
    assert digest == hashlib.sha256(idx(IMAGES)).hexdigest() == sha256_of_content(path)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(("change", "problem", "got"), [(-5, "truncated", 35), (3, "too long", 43)])
def test_a_file_of_another_size_is_refused_with_both_sizes(
    tmp_path: Path, pack: Pack, change: int, problem: str, got: int
) -> None:
    content = idx(IMAGES)
    content = content[:change] if change < 0 else content + bytes(change)
    path = tmp_path / "images"
    path.write_bytes(pack(content))
    with pytest.raises(DataError) as caught:
        read_idx(path, axes=3)
    assert caught.value.message == f"{path}: {problem}, got {got} bytes, wanted 40 for shape (2, 3, 4)"


@pytest.mark.parametrize("left", [0, 1, 3, 4, 9])
def test_a_cut_header_is_refused(tmp_path: Path, left: int) -> None:
    path = tmp_path / "images"
    path.write_bytes(idx(IMAGES)[:left])
    with pytest.raises(DataError, match=r"truncated|starts with"):
        read_idx(path, axes=3)


def test_a_gzip_file_cut_in_its_data_is_called_truncated(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (10, 40, 40))
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx(noise))[:9000])
    with pytest.raises(DataError, match=r"truncated, got \d+ bytes, wanted 16016"):
        read_idx(path, axes=3)


@pytest.mark.parametrize("at", [-8, -4])  # checksum and length at the end
def test_a_gzip_file_that_fails_its_own_check_is_called_damaged(tmp_path: Path, at: int) -> None:
    packed = bytearray(gzip.compress(idx(IMAGES)))
    packed[at] ^= 1
    path = tmp_path / "images.gz"
    path.write_bytes(packed)
    with pytest.raises(DataError, match="damaged gzip file"):
        read_idx(path, axes=3)


@pytest.mark.parametrize("cut", [1, 8])
def test_a_gzip_file_without_its_end_is_called_damaged(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx(IMAGES))[:-cut])
    with pytest.raises(DataError, match="damaged gzip file"):
        read_idx(path, axes=3)


@pytest.mark.parametrize("head", ["00000801", "00000b03", "504b0304", "00000802"])
def test_another_magic_number_is_refused_with_the_one_wanted(tmp_path: Path, head: str) -> None:
    path = tmp_path / "images"
    path.write_bytes(bytes.fromhex(head) + idx(IMAGES)[4:])
    with pytest.raises(DataError, match=f"starts with {head}, wanted 00000803"):
        read_idx(path, axes=3)


def test_a_header_that_promises_terabytes_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "images"
    path.write_bytes(bytes([0, 0, 8, 3]) + b"\xff" * 12 + b"abc")
    with pytest.raises(DataError, match="truncated, got 19 bytes"):
        read_idx(path, axes=3)


def test_a_missing_file_and_a_folder_are_one_line_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            read_idx(path, axes=1)
