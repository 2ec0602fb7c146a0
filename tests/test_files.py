"""A file is there whole or not at all, whatever goes wrong while it is written."""

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from harden import files
from harden.errors import HardenError
from harden.files import canonical_json, replacing, sha256_of, write_bytes, write_json


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def half_write(path: Path, exception: BaseException) -> None:
    with replacing(path) as part:
        part.write_text("half")
        raise exception


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a" / "b" / "file", b"content")
    assert (tmp_path / "a" / "b" / "file").read_bytes() == b"content"
    assert names(tmp_path / "a" / "b") == ["file"]


def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with replacing(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
        assert part.parent == path.parent  # a rename is atomic within one file system only
    assert path.read_text() == "new"
    assert names(tmp_path) == ["file"]


def test_an_exception_leaves_the_old_file_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ArithmeticError):
        half_write(path, ArithmeticError())
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_an_interrupt_leaves_no_part(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        half_write(tmp_path / "file", KeyboardInterrupt())
    assert names(tmp_path) == []


def test_a_full_disk_is_told_and_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "file"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HardenError, match=r"file: cannot be written: no space left on device$") as told:
        write_bytes(path, b"new")
    assert "free space" in told.value.hint
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    with pytest.raises(HardenError, match=r"permission denied$"):
        write_bytes(folder / "file", b"")


def test_a_refusal_by_the_system_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_args: Any, **_options: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("harden.files.tempfile.mkstemp", refused)
    with pytest.raises(HardenError, match=r"file: cannot be written: permission denied$"):
        write_bytes(tmp_path / "file", b"")


def test_a_file_in_the_place_of_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(HardenError, match="cannot be written"):
        write_bytes(tmp_path / "taken" / "file", b"")


def test_a_folder_in_the_place_of_the_file_is_told_and_kept(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(HardenError, match="folder: cannot be written"):
        write_bytes(tmp_path / "folder", b"")
    assert names(tmp_path) == ["folder"]


def test_content_and_folder_are_synced_before_and_after_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, bool]] = []
    really = os.fsync

    def watched(handle: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"
        synced.append((kind, (tmp_path / "file").exists()))
        really(handle)

    monkeypatch.setattr(os, "fsync", watched)
    write_bytes(tmp_path / "file", b"content")
    assert synced == [("file", False), ("folder", True)]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_a_file_follows_the_users_umask(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        write_bytes(tmp_path / "file", b"")
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_equal_values_give_equal_json_whatever_the_order_of_keys(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"b": [1, 2.5], "a": None})
    write_json(tmp_path / "b", {"a": None, "b": [1, 2.5]})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes().endswith(b"}\n")
    assert canonical_json({"b": 1, "a": "ä"}) == b'{"a":"\\u00e4","b":1}'


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_json_that_no_parser_would_read_is_refused(tmp_path: Path, number: float) -> None:
    with pytest.raises(ValueError):
        canonical_json({"a": number})
    with pytest.raises(ValueError):
        write_json(tmp_path / "file", [number])
    assert names(tmp_path) == []


@pytest.mark.parametrize("size", [0, 3, files.CHUNK, files.CHUNK + 1])
def test_the_digest_is_that_of_the_bytes(tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    (tmp_path / "file").write_bytes(data)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(data).hexdigest()
