"""The folder of a run: never shared, never replaced unasked, found again with what was said at the start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harden.errors import ConfigError, HardenError
from harden.files import alone
from harden.training import folder as place

SECOND = """
import sys
from pathlib import Path
from harden.files import alone

with alone(Path(sys.argv[1])):
    pass
"""


def test_runs_without_a_folder_get_one_of_their_own_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = [place.fresh("digits", None, overwrite=False) for _ in range(3)]
    assert [path.name for path in folders] == ["digits", "digits-2", "digits-3"]
    assert all(path.is_dir() for path in folders)


A_RUN = {"is": "TrainRequest"}


def test_a_folder_that_holds_a_run_is_refused_and_kept(tmp_path: Path) -> None:
    place.write_config(tmp_path, A_RUN)
    with pytest.raises(ConfigError, match="holds an unfinished run") as refused:
        place.fresh("x", str(tmp_path), overwrite=False)
    assert f"resume={tmp_path}" in refused.value.hint
    (tmp_path / place.SUMMARY).write_text("precious")
    with pytest.raises(ConfigError, match="holds a finished run") as refused:
        place.fresh("x", str(tmp_path), overwrite=False)
    assert "overwrite=true" in refused.value.hint
    assert (tmp_path / place.SUMMARY).read_text() == "precious"


@pytest.mark.parametrize("name", [place.CONFIG, place.WEIGHTS, place.SUMMARY])
def test_a_strangers_file_of_the_same_name_is_never_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("theirs")
    (tmp_path / place.CHECKPOINTS).mkdir()
    with pytest.raises(ConfigError, match=f"holds a {name} that is no run's"):
        place.fresh("x", str(tmp_path), overwrite=True)
    assert (tmp_path / name).read_text() == "theirs"
    assert (tmp_path / place.CHECKPOINTS).is_dir()


def test_a_replaced_run_is_kept_until_the_new_one_has_finished(tmp_path: Path) -> None:
    place.write_config(tmp_path, A_RUN)
    for name in (place.SUMMARY, place.WEIGHTS, "notes.txt"):
        (tmp_path / name).write_text("old")
    (tmp_path / place.CHECKPOINTS / "hardened").mkdir(parents=True)
    assert place.fresh("x", str(tmp_path), overwrite=True) == tmp_path
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", place.REPLACED}
    assert (tmp_path / place.REPLACED / place.WEIGHTS).read_text() == "old"
    place.settle(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_with_strangers_files_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    assert place.fresh("x", str(tmp_path), overwrite=False) == tmp_path


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file, wanted a folder"):
        place.fresh("x", str(tmp_path / "file"), overwrite=True)
    with pytest.raises(HardenError, match="cannot be made"):
        place.fresh("x", str(tmp_path / "file" / "below"), overwrite=True)


def test_only_a_run_that_is_not_finished_can_be_continued(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no run in this folder"):
        place.unfinished(str(tmp_path))
    place.write_config(tmp_path, {"seed": 1})
    assert place.unfinished(str(tmp_path)) == tmp_path
    (tmp_path / place.SUMMARY).write_text("{}")
    with pytest.raises(ConfigError, match="is finished already"):
        place.unfinished(str(tmp_path))


def test_a_second_process_is_kept_out_until_the_first_is_gone(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SECOND, str(tmp_path)]
    with alone(tmp_path):
        refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "another process is working here" in refused.stderr
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_no_handle_is_left_open_by_one_who_was_kept_out(tmp_path: Path) -> None:
    with alone(tmp_path):
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(HardenError), alone(tmp_path):
            pass
        assert len(os.listdir("/proc/self/fd")) == before


def test_the_configuration_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    plain = {"is": "TrainRequest", "threat": {"eps": "8/255", "low": 0.0}, "init": None, "list": [1, 2.5, "yes", "1e3"]}
    place.write_config(tmp_path, plain)
    assert place.read_config(tmp_path) == plain


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"!!python/object/apply:os.system ['true']", b"a: b: c"])
def test_a_configuration_that_cannot_be_read_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / place.CONFIG).write_bytes(content)
    with pytest.raises(ConfigError, match=r"config\.yaml: cannot be read"):
        place.read_config(tmp_path)


def test_the_ledgers_id_is_remembered_and_a_damaged_memory_is_none(tmp_path: Path) -> None:
    assert place.read_record(tmp_path) is None
    place.write_record(tmp_path, "17")
    assert place.read_record(tmp_path) == "17"
    (tmp_path / place.RECORD).write_text("{")
    assert place.read_record(tmp_path) is None
