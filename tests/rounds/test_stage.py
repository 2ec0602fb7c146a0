"""A stage is done once, whole or not at all, and what was changed afterwards is noticed."""

from pathlib import Path

import pytest

from harden.errors import ConfigError, Untrusted
from harden.rounds.stage import Done, Work, perform, read_entry


def writing(text: str, *, calls: list[str]) -> Work:
    def work(folder: Path) -> Done:
        calls.append(text)
        (folder / "out.txt").write_text(text)
        (folder / "clock.txt").write_text("12:00")
        (folder / ".hidden").write_text("for the stage alone")
        return Done({"text": text, "share": 0.1}, frozenset({"clock.txt"}))

    return work


def test_a_stage_whose_inputs_stand_in_its_entry_is_not_done_again(tmp_path: Path) -> None:
    calls: list[str] = []
    first = perform(tmp_path, "train", {"plan": "a"}, writing("x", calls=calls))
    again = perform(tmp_path, "train", {"plan": "a"}, writing("y", calls=calls))
    assert calls == ["x"]
    assert first == again
    assert set(first.outputs) == {"out.txt"}
    assert set(first.timed) == {"clock.txt"}
    assert not (tmp_path / "train" / ".hidden").exists()


def test_other_inputs_are_refused_by_name(tmp_path: Path) -> None:
    perform(tmp_path, "train", {"plan": "a", "data": "d"}, writing("x", calls=[]))
    with pytest.raises(ConfigError, match="stage train was done with another plan"):
        perform(tmp_path, "train", {"plan": "b", "data": "d"}, writing("x", calls=[]))


def test_a_stage_that_fails_leaves_no_folder_of_its_name_and_is_taken_up_again(tmp_path: Path) -> None:
    def failing(folder: Path) -> Done:
        (folder / "half").write_text("half")
        raise RuntimeError("killed")

    def finishing(folder: Path) -> Done:
        assert (folder / "half").read_text() == "half"
        return Done()

    with pytest.raises(RuntimeError):
        perform(tmp_path, "train", {"plan": "a"}, failing)
    assert not (tmp_path / "train").exists()
    perform(tmp_path, "train", {"plan": "a"}, finishing)


def test_what_was_begun_with_other_inputs_is_thrown_away(tmp_path: Path) -> None:
    def failing(folder: Path) -> Done:
        (folder / "half").write_text("of another plan")
        raise RuntimeError("killed")

    def finishing(folder: Path) -> Done:
        assert not (folder / "half").exists()
        return Done()

    with pytest.raises(RuntimeError):
        perform(tmp_path, "train", {"plan": "a"}, failing)
    perform(tmp_path, "train", {"plan": "b"}, finishing)


@pytest.mark.parametrize("file", ["out.txt", "clock.txt"])
def test_a_changed_file_is_told_with_its_stage(tmp_path: Path, file: str) -> None:
    perform(tmp_path, "train", {}, writing("x", calls=[]))
    (tmp_path / "train" / file).write_text("other")
    with pytest.raises(Untrusted, match=f"stage train: {file} was changed"):
        read_entry(tmp_path, "train")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    perform(tmp_path, "train", {}, writing("x", calls=[]))
    (tmp_path / "train" / "out.txt").unlink()
    with pytest.raises(Untrusted, match="no such file"):
        perform(tmp_path, "train", {}, writing("x", calls=[]))
