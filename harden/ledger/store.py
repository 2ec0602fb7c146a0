"""A tracking store to read from, and its model registry: which runs there are, what they hold, who is champion.

Beside `harden.ledger.mlflow` the only file that talks to mlflow, and through its client alone.
"""

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

from harden.errors import LedgerError
from harden.ledger.mlflow import connect
from harden.ledger.opening import insisted
from harden.ledger.places import ELSEWHERE, SQLITE, Place, alone, check_sqlite, masked, reason_of

T = TypeVar("T")
FOREIGN = re.compile(r"[^A-Za-z0-9_-]")
"""What the name of a logged model cannot hold; that of a registered one can."""

MOST = 1000
"""Runs that one question to the store may find."""


@dataclass(frozen=True)
class Run:
    """A run as the store holds it: last values only.

    number: of its experiment; status as MLflow says it; times in ms, Unix.
    """

    id: str
    experiment: str
    number: str
    name: str
    status: str
    began: int
    ended: int | None
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]


def _told(work: Callable[..., T]) -> Callable[..., T]:
    """Errors of mlflow, SQLAlchemy, requests and the disk as one LedgerError that names the store."""

    @wraps(work)
    def guarded(self: "Store", *arguments: Any, **named: Any) -> T:
        try:
            return work(self, *arguments, **named)
        except LedgerError:
            raise
        except Exception as error:
            raise LedgerError(f"{self.location}: {reason_of(error)}", ELSEWHERE) from error

    return guarded


class Store:
    """One store. Everything it does raises LedgerError where the store does not answer."""

    def __init__(self, place: Place, client: Any) -> None:
        self.place, self._client = place, client

    @classmethod
    def at(cls, uri: str | None, folder: Path) -> "Store":
        """The store at `uri`, or in `folder`. Raises LedgerError where a server does not answer."""
        place = insisted(uri, folder)
        if place.database is not None:
            check_sqlite(place.database)
            with alone(place.database.parent):
                _found(place.database)
        return cls(place, connect(place.uri))

    @property
    def location(self) -> str:
        """Where it is, without passwords."""
        return masked(self.place.uri)

    @_told
    def runs(self, condition: str, experiments: list[str] | None = None) -> list[Run]:
        """The active runs that fit, such as `tags."harden.round" = '2026Q4'`, in the order of their starts."""
        every = {one.experiment_id: one.name for one in self._client.search_experiments()}
        ids = [number for number, name in every.items() if experiments is None or name in experiments]
        if not ids:
            return []
        found = self._client.search_runs(ids, condition, max_results=MOST, order_by=["attributes.start_time ASC"])
        return [_run(one, every[one.info.experiment_id]) for one in found]

    @_told
    def remove(self, run: str) -> None:
        """Deletes a run, as MLflow deletes: it can be restored until the store is cleaned."""
        self._client.delete_run(run)

    @_told
    def history(self, run: str, metric: str) -> list[tuple[int, float]]:
        """Every (step, value) of a metric, in the order of steps."""
        return sorted((int(one.step), float(one.value)) for one in self._client.get_metric_history(run, metric))

    @_told
    def files(self, run: str, folder: str = "") -> list[str]:
        """The paths of all files that a run keeps below `folder`."""
        found: list[str] = []
        for one in self._client.list_artifacts(run, folder or None):
            found += self.files(run, one.path) if one.is_dir else [one.path]
        return sorted(found)

    @_told
    def read(self, run: str, path: str) -> bytes:
        """The bytes of a file that a run keeps."""
        with tempfile.TemporaryDirectory() as folder:
            return Path(self._client.download_artifacts(run, path, folder)).read_bytes()

    @_told
    def keep(self, run: str, path: Path, folder: str = "") -> None:
        """Stores a copy of a file, or of all files of a folder, under `folder` of a run."""
        send = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
        send(run, str(path), folder or None)

    @_told
    def tag(self, run: str, tags: Mapping[str, str]) -> None:
        """Sets tags of a run."""
        for name, value in tags.items():
            self._client.set_tag(run, name, value)

    def link(self, run: Run) -> str:
        """Where a browser finds the run; "" for a store without a server."""
        return f"{self.location.rstrip('/')}/#/experiments/{run.number}/runs/{run.id}" if self.place.is_server else ""

    @_told
    def register(self, name: str, files: Path, *, run: str, tags: Mapping[str, str]) -> str:
        """The version of the registered model `name` that holds the files of a folder, made where none has these tags.

        MLflow's own flavours are not used: they pickle.
        """
        self._registered(name)
        for one in self._client.search_model_versions(f"name = '{name}'"):
            if tags.items() <= one.tags.items():
                return str(one.version)
        experiment = self._client.get_run(run).info.experiment_id
        model = self._client.create_logged_model(
            experiment_id=experiment, name=FOREIGN.sub("_", name), source_run_id=run, tags=dict(tags)
        )
        self._client.log_model_artifacts(model.model_id, str(files))
        self._client.finalize_logged_model(model.model_id, "READY")
        with _global(self.place.uri):
            made = self._client.create_model_version(
                name, f"models:/{model.model_id}", run_id=run, tags=dict(tags), model_id=model.model_id
            )
        return str(made.version)

    @_told
    def point(self, name: str, alias: str, version: str) -> None:
        """Moves an alias of a registered model."""
        self._client.set_registered_model_alias(name, alias, version)

    @_told
    def aliases(self, name: str) -> dict[str, str]:
        """The version behind each alias of a registered model; empty where there is none of this name."""
        found = self._client.search_registered_models(f"name = '{name}'")
        return {alias: str(version) for one in found for alias, version in one.aliases.items()}

    def _registered(self, name: str) -> None:
        if not self._client.search_registered_models(f"name = '{name}'"):
            self._client.create_registered_model(name, description="sealed weights of hardening rounds")


def _found(database: Path) -> None:
    """Makes a new SQLite store whole under another name, then renames it.

    MLflow builds its tables in many steps: a process that is killed among them would leave a file that no later one
    can use ("table issues already exists", 3.17).
    """
    if database.exists() and database.stat().st_size:
        return
    part = database.with_name(f".{database.name}.part")
    part.unlink(missing_ok=True)
    try:
        connect(f"{SQLITE}{part}").search_experiments()
        part.replace(database)
    except Exception as error:
        raise LedgerError(f"{database}: a new store cannot be made: {reason_of(error)}", ELSEWHERE) from error


@contextmanager
def _global(uri: str) -> Iterator[None]:
    """Inside, the store is mlflow's global one: its SQL store looks logged models up there (3.17, its own TODO)."""
    name = "MLFLOW_TRACKING_URI"
    before = os.environ.get(name)
    os.environ[name] = uri
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def _run(found: Any, experiment: str) -> Run:
    info, data = found.info, found.data
    return Run(
        info.run_id,
        experiment,
        info.experiment_id,
        info.run_name or "",
        info.status,
        info.start_time,
        info.end_time,
        dict(data.params),
        dict(data.tags),
        dict(data.metrics),
    )
