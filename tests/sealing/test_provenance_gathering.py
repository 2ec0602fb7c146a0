"""What a run's folder and a checkout say; git itself is the oracle for commits."""

import json
import subprocess
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from harden.errors import ConfigError, HardenError
from harden.sealing.provenance import Evidence, commit_of, digest_of, gather
from harden.training import folder as place


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main"]
    return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q")
    git(folder, "commit", "-q", "--allow-empty", "-m", "one")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / place.WEIGHTS).write_bytes(b"weights")
    (folder / place.CONFIG).write_text("is: TrainRequest\n")
    (folder / place.RECORD).write_text('{"run_id": "r-1"}')
    summary = {
        "data": {"name": "digits", "sha256": "d" * 64},
        "recipe_sha256": "e" * 64,
        "weights_sha256": sha256(b"weights").hexdigest(),
    }
    (folder / place.SUMMARY).write_text(json.dumps(summary))
    return folder


def test_a_runs_folder_says_how_its_weights_came_about(run: Path) -> None:
    found = gather(run, weights=run / place.WEIGHTS, code="a" * 40)
    assert found == Evidence(
        data={"digits": "d" * 64},
        code="a" * 40,
        configuration=sha256(b"is: TrainRequest\n").hexdigest(),
        recipe="e" * 64,
        summary=sha256((run / place.SUMMARY).read_bytes()).hexdigest(),
        run="r-1",
    )


def test_the_digest_of_the_weights_is_said_only_when_asked_for(run: Path) -> None:
    found = gather(run, weights=run / place.WEIGHTS)
    assert not found.weights
    assert replace(found, weights=digest_of(run / place.WEIGHTS)).weights == sha256(b"weights").hexdigest()


def test_weights_of_another_run_are_refused(run: Path) -> None:
    (run / place.WEIGHTS).write_bytes(b"others")
    with pytest.raises(ConfigError, match="is not what the run"):
        gather(run, weights=run / place.WEIGHTS)


def test_a_run_without_a_record_is_gathered_without_one(run: Path) -> None:
    (run / place.RECORD).unlink()
    assert not gather(run).run


@pytest.mark.parametrize("name", [place.SUMMARY, place.CONFIG])
def test_a_folder_without_a_finished_run_is_refused(run: Path, name: str) -> None:
    (run / name).unlink()
    with pytest.raises(ConfigError, match="is not there"):
        gather(run)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[" * 100_000,
        b"[]",
        b"\xff",
        b'{"data": {"name": 1, "sha256": []}}',
        b'{"data": {"name": "d", "sha256": "no"}}',
        b'{"data": {"name": [], "sha256": ""}}',
        b'{"recipe_sha256": ["e"]}',
        b'{"run_id": {}, "recipe_sha256": 5}',
    ],
)
def test_a_broken_summary_gives_a_typed_error(run: Path, text: bytes) -> None:
    (run / place.SUMMARY).write_bytes(text)
    with pytest.raises(HardenError):
        gather(run)


@pytest.mark.parametrize("text", [b"[", b'{"run_id": 5}', b"{}"])
def test_a_broken_record_gives_a_typed_error_or_no_id(run: Path, text: bytes) -> None:
    (run / place.RECORD).write_bytes(text)
    try:
        assert gather(run).run == ""
    except ConfigError:
        assert text == b"["


def test_the_commit_is_the_one_that_git_names(checkout: Path) -> None:
    assert commit_of(checkout) == git(checkout, "rev-parse", "HEAD")
    git(checkout, "pack-refs", "--all")
    assert not (checkout / ".git/refs/heads/main").exists()
    assert commit_of(checkout) == git(checkout, "rev-parse", "HEAD")
    git(checkout, "checkout", "-q", "--detach")
    assert commit_of(checkout) == git(checkout, "rev-parse", "HEAD")


def test_the_commit_of_a_further_worktree_is_its_own(checkout: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    git(checkout, "worktree", "add", "-q", "-b", "side/branch", str(other))
    git(other, "commit", "-q", "--allow-empty", "-m", "two")
    assert commit_of(other) == git(other, "rev-parse", "HEAD") != commit_of(checkout)
    git(checkout, "pack-refs", "--all")
    assert commit_of(other) == git(other, "rev-parse", "HEAD")


def test_there_is_no_commit_where_there_is_no_checkout(checkout: Path, tmp_path: Path) -> None:
    inside = checkout / "venv"
    inside.mkdir()
    assert commit_of(inside) is None  # what is installed below a checkout is not part of it
    assert commit_of(tmp_path) is None
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "-q")
    assert commit_of(empty) is None


@pytest.mark.parametrize("head", ["", "ref:", "ref: ../../x", "ref: \0", "main", "A" * 40, "é", "a" * 41])
def test_a_broken_head_is_no_commit(checkout: Path, head: str) -> None:
    (checkout / ".git/HEAD").write_text(head)
    assert commit_of(checkout) is None
