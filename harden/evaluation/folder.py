"""The folder of an evaluation: which one it is, and whether it can be begun, taken up again or replaced."""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harden.errors import ConfigError, HardenError
from harden.evaluation.evidence import EVALUATION, IMAGES, REPORT, SAMPLES
from harden.evaluation.journal import PARTS
from harden.files import write_json

PLAN = "plan.json"
RECORD = "record.json"
OURS = (EVALUATION, SAMPLES, IMAGES, REPORT, PLAN, RECORD, PARTS)


def begun(weights: Path, name: str, plan: Mapping[str, Any], *, output: str | None, overwrite: bool) -> Path:
    """The folder for an evaluation of `weights` called `name` that follows `plan`, which it then holds.

    `output`, else the first of <folder of the weights>/evaluation-<name>, -2, ... that is free or holds an
    unfinished evaluation by this very plan, which is taken up again. Raises ConfigError where `output` holds
    anything else and `overwrite` does not allow to replace it.
    """
    folder = Path(output) if output else next(_candidates(weights.parent, name, plan))
    state = _state(folder, plan)
    if state == "foreign":
        raise ConfigError(f"output={folder} holds files that are no evaluation's", "choose another folder")
    if state in ("finished", "other") and not overwrite:
        what = "a finished evaluation" if state == "finished" else "an unfinished evaluation of something else"
        raise ConfigError(f"output={folder} holds {what}", "choose another folder, or say overwrite=true")
    if overwrite:
        _clear(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HardenError(f"{folder}: cannot be made: {error.strerror}", "say output=FOLDER") from error
    write_json(folder / PLAN, dict(plan))
    return folder


def settle(folder: Path) -> None:
    """Removes what only an unfinished evaluation needs."""
    shutil.rmtree(folder / PARTS, ignore_errors=True)


def _candidates(beside: Path, name: str, plan: Mapping[str, Any]) -> Iterator[Path]:
    for number in range(1, 10_000):
        folder = beside / (f"evaluation-{name}" if number == 1 else f"evaluation-{name}-{number}")
        if _state(folder, plan) in ("free", "same"):
            yield folder
    raise HardenError(f"{beside}: holds 9,999 evaluations called {name}", "say output=FOLDER")


def _state(folder: Path, plan: Mapping[str, Any]) -> str:
    """What `folder` holds: nothing (free), an evaluation (finished), one begun (same plan, other), or foreign files."""
    if not folder.exists():
        return "free"
    if not folder.is_dir():
        return "foreign"
    if (folder / EVALUATION).is_file():
        return "finished"
    try:
        begun_with = json.loads((folder / PLAN).read_text())
    except FileNotFoundError:
        return "free" if not any((folder / name).exists() for name in OURS) else "foreign"
    except (OSError, ValueError):
        return "other"
    return "same" if begun_with == plan else "other"


def _clear(folder: Path) -> None:
    for name in OURS:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
