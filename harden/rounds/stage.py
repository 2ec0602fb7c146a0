"""A stage: inputs by digest in, a folder of files out, whole or not at all, done once.

`perform` works in `.<name>.part`, writes `entry.json` there last, and renames the folder to `<name>`. Killed at any
moment and started again, it goes on from what the part holds; a stage whose inputs stand in its entry is not done
again. What an entry says is what the record of the round repeats.
"""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harden.errors import ConfigError, Untrusted
from harden.files import canonical_json, sha256_of, sync, write_bytes

ENTRY, INPUTS = "entry.json", ".inputs.json"

Digests = Mapping[str, str]


@dataclass(frozen=True)
class Done:
    """What a stage made: figures for the record, and which of its files hold times or random numbers."""

    result: Mapping[str, Any] = field(default_factory=dict)
    timed: frozenset[str] = frozenset()


Work = Callable[[Path], Done]


@dataclass(frozen=True)
class Entry:
    """A stage that is done.

    `outputs`: files whose bytes follow from the inputs; `timed`: files that hold times or fresh keys, which
    another run of the same round would make otherwise. Both by name, SHA-256 in hex. `seconds`: of the sitting
    that finished it, which began at `began`, Unix time.
    """

    name: str
    inputs: Digests
    outputs: Digests
    timed: Digests
    result: Mapping[str, Any]
    began: float
    seconds: float

    def record(self) -> dict[str, Any]:
        """What a record says of it, apart from circumstances."""
        return {"inputs": dict(self.inputs), "outputs": dict(self.outputs), "result": dict(self.result)}


def perform(home: Path, name: str, inputs: Digests, work: Work) -> Entry:
    """The entry of the stage `name` of the round in `home`; `work` runs only where it is not done yet.

    Raises ConfigError where it was done with other inputs, Untrusted where a file of it was changed since.
    """
    if (home / name).exists():
        return _known(home, name, inputs)
    part = _part(home, name, inputs)
    began, clock = time.time(), time.monotonic()
    done = work(part)
    outputs = _digests(part)
    entry = Entry(
        name=name,
        inputs=dict(inputs),
        outputs={file: digest for file, digest in outputs.items() if file not in done.timed},
        timed={file: digest for file, digest in outputs.items() if file in done.timed},
        result=json.loads(canonical_json(done.result)),  # what reading gives back, so that both are equal
        began=round(began, 3),
        seconds=round(time.monotonic() - clock, 3),
    )
    write_bytes(part / ENTRY, canonical_json(asdict(entry)) + b"\n")
    _settle(part)
    part.rename(home / name)
    sync(home)
    return entry


def read_entry(home: Path, name: str) -> Entry:
    """The entry of a stage that is done, its files compared with their digests. Raises Untrusted."""
    path = home / name / ENTRY
    try:
        entry = Entry(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise Untrusted(f"{path}: cannot be read: {error}", "the round's folder was damaged or changed") from error
    for file, digest in (*entry.outputs.items(), *entry.timed.items()):
        path = home / name / file
        there = f"its digest is {sha256_of(path)[:16]}" if path.is_file() else "there is no such file"
        if there != f"its digest is {digest[:16]}":
            raise Untrusted(
                f"{home.name}: stage {name}: {file} was changed: {there}, wanted {digest[:16]}",
                f"put the file back, or remove {home / name} to do the stage again",
            )
    return entry


def is_done(home: Path, name: str) -> bool:
    """Whether the stage stands in its folder."""
    return (home / name / ENTRY).is_file()


def _known(home: Path, name: str, inputs: Digests) -> Entry:
    entry = read_entry(home, name)
    if dict(entry.inputs) != dict(inputs):
        differ = sorted(key for key in {*entry.inputs, *inputs} if entry.inputs.get(key) != inputs.get(key))
        raise ConfigError(
            f"{home.name}: stage {name} was done with another {', '.join(differ)}",
            f"give what it was begun with, or remove {home / name} and what follows it",
        )
    return entry


def _part(home: Path, name: str, inputs: Digests) -> Path:
    """The folder to work in; what a killed sitting left there stays where it had the same inputs."""
    part = home / f".{name}.part"
    wanted = canonical_json(dict(inputs))
    if part.exists() and (not (part / INPUTS).is_file() or (part / INPUTS).read_bytes() != wanted):
        shutil.rmtree(part)
    part.mkdir(parents=True, exist_ok=True)
    (part / ENTRY).unlink(missing_ok=True)
    write_bytes(part / INPUTS, wanted)
    return part


def _digests(folder: Path) -> dict[str, str]:
    """The digest of every file in the folder by its name; hidden ones serve the stage alone."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: sha256_of(path) for name, path in names.items() if not _is_hidden(name)}


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _settle(folder: Path) -> None:
    """Hidden files go, the others are on the disk before the folder gets its name."""
    for path in folder.iterdir():
        if path.name.startswith("."):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)
