"""What a run's folder says."""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from harden.errors import ConfigError, HardenError
from harden.sealing.provenance import Evidence, digest_of, gather
from harden.training import folder as place


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
        "commit": "c" * 40 + "-dirty",
    }
    (folder / place.SUMMARY).write_text(json.dumps(summary))
    return folder


def test_a_runs_folder_says_how_its_weights_came_about(run: Path) -> None:
    found = gather(run, weights=digest_of(run / place.WEIGHTS), code="a" * 40)
    assert found == Evidence(
        data={"digits": "d" * 64},
        code="a" * 40,
        configuration=sha256(b"is: TrainRequest\n").hexdigest(),
        recipe="e" * 64,
        summary=sha256((run / place.SUMMARY).read_bytes()).hexdigest(),
        run="r-1",
    )


def test_the_digest_of_the_weights_is_said_only_when_asked_for(run: Path) -> None:
    found = gather(run, weights=digest_of(run / place.WEIGHTS))
    assert not found.weights
    assert replace(found, weights=digest_of(run / place.WEIGHTS)).weights == sha256(b"weights").hexdigest()


def test_the_code_is_what_the_run_noted_and_never_guessed(run: Path) -> None:
    assert gather(run).code == "c" * 40 + "-dirty"
    summary = json.loads((run / place.SUMMARY).read_text())
    (run / place.SUMMARY).write_text(json.dumps(summary | {"commit": None}))
    assert gather(run).code == ""
    assert gather(run, code="a" * 40).code == "a" * 40


def test_weights_of_another_run_are_refused(run: Path) -> None:
    (run / place.WEIGHTS).write_bytes(b"others")
    with pytest.raises(ConfigError, match="is not the run of these weights"):
        gather(run, weights=digest_of(run / place.WEIGHTS))


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
        b'{"data": {"name": "d", "sha256": "' + b"d" * 64 + b'"}, "commit": 7}',
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
