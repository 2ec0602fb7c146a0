"""What a ledger holds, in the only shapes that an MLflow store takes.

Limits and alphabet as in mlflow 3.17 (`mlflow/utils/validation.py`): names of at most 250 characters out of
letters, digits and `_-. /` that resolve to themselves as paths; parameters of 6000 characters, tags of 8000.
"""

import hashlib
import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path

NAME_LIMIT = 250
PARAM_LIMIT = 6000
TAG_LIMIT = 8000
FOREIGN = re.compile(r"[^A-Za-z0-9_\-. /]")


@dataclass(frozen=True)
class Entry:
    """A parameter or a tag."""

    name: str
    value: str


@dataclass(frozen=True)
class Metric:
    """A finite number at a step. millis: Unix time in ms, kept so that sending twice adds no second point."""

    name: str
    value: float
    step: int
    millis: int


@dataclass(frozen=True)
class DataSet:
    """A data set that took part. digest: SHA-256 in hex."""

    name: str
    digest: str
    source: str
    context: str


@dataclass(frozen=True)
class Artefact:
    """A file or directory, and the folder of the run it belongs into."""

    path: Path
    folder: str


@dataclass
class Record:
    """Everything noted, in the order it came.

    Lists may be drained; `held` remembers all parameters, `odd` the names of metrics that were not finite.
    """

    params: list[Entry] = field(default_factory=list)
    tags: list[Entry] = field(default_factory=list)
    metrics: list[Metric] = field(default_factory=list)
    data: list[DataSet] = field(default_factory=list)
    artefacts: list[Artefact] = field(default_factory=list)
    held: dict[str, str] = field(default_factory=dict)
    odd: set[str] = field(default_factory=set)

    def note(self, values: Mapping[str, object]) -> list[str]:
        """Adds parameters, which are written once. Returns the names that were held with another value.

        Their new values become tags: MLflow refuses the whole batch when one parameter changes.
        """
        entries = params_of(values)
        changed = [entry for entry in entries if self.held.get(entry.name, entry.value) != entry.value]
        self.tag({f"harden.changed.{entry.name}": entry.value for entry in changed})
        self.params += [entry for entry in entries if entry.name not in self.held]
        self.held = {entry.name: entry.value for entry in entries} | self.held
        return [entry.name for entry in changed]

    def tag(self, values: Mapping[str, str]) -> None:
        """Adds tags."""
        self.tags += tags_of(values)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Adds the finite values as metrics; of the others the first of each name becomes a tag.

        SQLite would keep NaN as 0 and infinity as 1.8e308, so neither may pass for a measurement.
        """
        millis = time.time_ns() // 1_000_000
        for name, value in ((name_of(key), float(value)) for key, value in values.items()):
            if math.isfinite(value):
                self.metrics.append(Metric(name, value, step, millis))
            elif name not in self.odd:
                self.odd.add(name)
                self.tag({f"harden.nonfinite.{name}": f"{value} at step {step}"})

    def is_empty(self) -> bool:
        """Whether all lists are drained."""
        return not (self.params or self.tags or self.metrics or self.data or self.artefacts)

    def as_json(self) -> dict[str, object]:
        """The lists in JSON's types; of a tag that was set twice the last value stands."""
        return {
            "params": {entry.name: entry.value for entry in self.params},
            "tags": {entry.name: entry.value for entry in self.tags},
            "metrics": [asdict(metric) for metric in self.metrics],
            "data": [asdict(data) for data in self.data],
            "artefacts": [{"path": str(item.path), "folder": item.folder} for item in self.artefacts],
        }


def params_of(values: Mapping[str, object]) -> list[Entry]:
    """Nested `values` as flat parameters, the names joined with dots."""
    return [Entry(name_of(name), shortened(text_of(value), PARAM_LIMIT)) for name, value in _flat(values, "")]


def tags_of(values: Mapping[str, str]) -> list[Entry]:
    """`values` as tags."""
    return [Entry(name_of(name), shortened(str(value), TAG_LIMIT)) for name, value in values.items()]


def name_of(name: str) -> str:
    """`name` in MLflow's alphabet: other characters become `_`; a long one ends in its digest."""
    parts = [part for part in FOREIGN.sub("_", name).split("/") if part not in ("", ".", "..")]
    clean = "/".join(parts) or "_"
    return clean if len(clean) <= NAME_LIMIT else f"{clean[: NAME_LIMIT - 17]}-{_digest(name)}"


def text_of(value: object) -> str:
    """`value` as the command line spells it: text bare, all else JSON (`true`, `null`, `[1, 2]`)."""
    plain = _plain(value)
    return plain if isinstance(plain, str) and plain else json.dumps(plain, default=_plain, ensure_ascii=False)


def shortened(text: str, limit: int) -> str:
    """`text`, or its beginning with a note of its length and digest where it is longer than `limit`."""
    if len(text) <= limit:
        return text
    note = f" ... [{len(text)} characters, sha256 {_digest(text)}]"
    return text[: limit - len(note)] + note


def _flat(values: Mapping[str, object], prefix: str) -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return _plain(value.value)
    if value is None or isinstance(value, str | bool | int | float | list | tuple | dict):
        return value
    return str(value)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
