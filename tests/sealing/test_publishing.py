"""Files appear whole or not at all, never over another, and a killed process leaves a target absent or complete."""

import errno
import json
import os
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from harden.errors import ConfigError
from harden.sealing import publish
from harden.sealing.errors import Unreadable
from harden.sealing.publish import publishing, write_all, write_new

KILLING = Path(__file__).parent / "killing.py"


@pytest.fixture(params=["without a name", "with a temporary name", "without /proc", "without hard links"])
def _each_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With O_TMPFILE, and as where the file system knows no such files, without /proc, without links."""
    if request.param == "without a name":
        return
    if request.param == "without /proc":
        monkeypatch.setattr(publish, "PROC", "/nowhere")
        return
    real = os.open

    def refusing(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "no such files here")
        return real(path, flags, *more, **named)

    def unlinked(*_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "open", refusing)
    if request.param == "without hard links":
        monkeypatch.setattr(os, "link", unlinked)


each_way = pytest.mark.usefixtures("_each_way")


@each_way
def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    with publishing(tmp_path / "sub" / "f", mode=0o600) as handle:
        write_all(handle, b"half")
        assert not (tmp_path / "sub" / "f").exists()
        write_all(handle, b" and half")
    assert (tmp_path / "sub" / "f").read_bytes() == b"half and half"
    assert stat.S_IMODE((tmp_path / "sub" / "f").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["f"]


@each_way
def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with suppress(RuntimeError), publishing(tmp_path / "f") as handle:
        write_all(handle, b"half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@each_way
def test_nothing_is_overwritten_unasked_not_even_in_a_race(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        write_new(tmp_path / "f", b"theirs")
    (tmp_path / "f").unlink()
    with pytest.raises(ConfigError, match="exists already"), publishing(tmp_path / "f"):
        (tmp_path / "f").write_text("mine")
    assert (tmp_path / "f").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


@each_way
def test_what_is_asked_to_be_overwritten_is_replaced_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old")
    with (tmp_path / "f").open() as before:
        write_new(tmp_path / "f", b"new", overwrite=True)
        assert before.read() == "old"
    assert (tmp_path / "f").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


@each_way
def test_what_refuses_a_link_for_another_reason_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, say, is no missing feature to be got round."""

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(Unreadable, match="cannot be written: no space left on device"):
        write_new(tmp_path / "f", b"x")
    assert list(tmp_path.iterdir()) == []


def test_a_system_that_refuses_nameless_files_for_another_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*_: Any, **__: Any) -> int:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refusing)
    with pytest.raises(Unreadable, match="f: cannot be written: permission denied"):
        write_new(tmp_path / "f", b"x")


def test_a_dangling_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "f").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="exists already"):
        write_new(tmp_path / "f", b"x")
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_and_a_folder_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        write_new(tmp_path, b"x", overwrite=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(Unreadable, match=r"not a directory|exists"):
        write_new(tmp_path / "file" / "f", b"x")


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(Unreadable, match="no space left on device"):
        write_new(tmp_path / "f", b"x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("action", ["seal", "unseal", "rewrap", "copy", "rotate"])
def test_a_kill_leaves_a_target_absent_or_complete(action: str, tmp_path: Path) -> None:
    """kill -9 in a process of its own, at every system call, within writes, and at random moments.

    HARDEN_KILLS says how often for each action, HARDEN_SEED the seed.
    """
    points = int(os.environ.get("HARDEN_KILLS") or 25)
    line = [sys.executable, str(KILLING), action, str(points), str(tmp_path), os.environ.get("HARDEN_SEED") or "1"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60 + points, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["wrong"] == []
    assert told["killed"] >= points
    assert min(told["before"], told["after"]) > 0, "the kills did not cover both sides of the change"
