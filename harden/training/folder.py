"""The folder of a run: who may write there, what lies where, and how a run is found again."""

import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from harden.errors import ConfigError, HardenError
from harden.files import alone, write_bytes, write_json

RUNS = Path("runs")
"""Where runs go that were given no folder, below the caller's."""

CONFIG, SUMMARY, RECORD = "config.yaml", "summary.json", "record.json"
WEIGHTS, ORDINARY = "weights.safetensors", "ordinary.safetensors"
CURVES, EXAMPLES, CHECKPOINTS = "curves.svg", "examples.png", "checkpoints"
WATERMARK = "watermark"
REPLACED = ".replaced"
OURS = (CONFIG, SUMMARY, RECORD, WEIGHTS, ORDINARY, CURVES, EXAMPLES, CHECKPOINTS, WATERMARK)


def fresh(name: str, output: str | None, *, overwrite: bool) -> Path:
    """A folder for a new run: `output`, or the first free of runs/<name>, runs/<name>-2, ...

    Raises ConfigError where `output` holds a run and `overwrite` does not allow to replace it.
    """
    if output is None:
        return _first_free(name)
    folder = Path(output)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"output={output} is a file, wanted a folder")
    if not (overwrite and _holds_a_run(folder)):
        _refuse_occupied(folder)
    _make(folder)
    with alone(folder):
        _set_aside(folder)
    return folder


def settle(folder: Path) -> None:
    """Removes what is needed no more once a run has finished: its checkpoints, and the run that it replaced."""
    for name in (CHECKPOINTS, REPLACED):
        shutil.rmtree(folder / name, ignore_errors=True)


def unfinished(resume: str) -> Path:
    """The folder of a run that can be continued; ConfigError where there is none."""
    folder = Path(resume)
    if not (folder / CONFIG).is_file():
        raise ConfigError(f"resume={resume}: there is no run in this folder", "a run's folder holds config.yaml")
    if (folder / SUMMARY).is_file():
        raise ConfigError(f"resume={resume}: this run is finished already", f"its results are in {folder / SUMMARY}")
    return folder


def write_config(folder: Path, plain: Any) -> None:
    """The request as YAML, from which a run can be continued or repeated."""
    write_bytes(folder / CONFIG, yaml.safe_dump(plain, sort_keys=False).encode())


def read_config(folder: Path) -> Any:
    """What `write_config` wrote; ConfigError where it cannot be read."""
    try:
        return yaml.safe_load((folder / CONFIG).read_text())
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{folder / CONFIG}: cannot be read: {error}") from error


def write_record(folder: Path, run_id: str) -> None:
    """Remembers under which id the ledger knows the run."""
    write_json(folder / RECORD, {"run_id": run_id})


def read_record(folder: Path) -> str | None:
    """The ledger's id of the run, None where none was written."""
    try:
        return str(json.loads((folder / RECORD).read_text())["run_id"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _first_free(name: str) -> Path:
    for number in range(1, 10_000):
        folder = RUNS / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise HardenError(f"{folder}: cannot be made: {error.strerror}", "say output=FOLDER") from error
        return folder
    raise HardenError(f"{RUNS}: holds 9,999 runs called {name}", "say output=FOLDER")


def _holds_a_run(folder: Path) -> bool:
    """Whether the files there are a run's, finished or not: others are never replaced."""
    if not (folder / CONFIG).is_file():
        return False
    config = read_config(folder)
    return isinstance(config, dict) and config.get("is") == "TrainRequest"


def _refuse_occupied(folder: Path) -> None:
    run = _holds_a_run(folder)
    if run and (folder / SUMMARY).exists():
        raise ConfigError(
            f"output={folder} holds a finished run", "choose another folder, or say overwrite=true to replace it"
        )
    if run:
        raise ConfigError(
            f"output={folder} holds an unfinished run",
            f"continue it with resume={folder}, or say overwrite=true to replace it",
        )
    for name in OURS:
        if (folder / name).exists():
            raise ConfigError(f"output={folder} holds a {name} that is no run's", "choose another folder")


def _set_aside(folder: Path) -> None:
    """Moves the run in `folder` out of the way. It is kept until the one that replaces it has finished."""
    found = [folder / name for name in OURS if (folder / name).exists()]
    if found:
        aside = folder / REPLACED
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        for path in found:
            path.rename(aside / path.name)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HardenError(f"{folder}: cannot be made: {(error.strerror or str(error)).lower()}") from error
