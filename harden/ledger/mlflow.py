"""A ledger in MLflow: its client only, no global state, no autologging, no model flavours.

Whatever fails after opening is kept in memory, tried once more at the end and then written to a JSON file,
so that no training is lost to its book-keeping. The one file that imports mlflow, and only when it is needed:
the import takes 2.5 s.
"""

import json
import logging
import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from harden.errors import HardenError, LedgerError
from harden.files import write_json
from harden.ledger.delivery import drain
from harden.ledger.places import ELSEWHERE, Place, masked, reason_of
from harden.ledger.protocol import Ledger, checked_status
from harden.ledger.record import Artefact, DataSet, Entry, Metric, Record

logger = logging.getLogger(__name__)

METRICS_PER_BATCH = 1000
ENTRIES_PER_BATCH = 100
FORCED = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # read at import; "1" would not do for DO_NOT_TRACK
    "DO_NOT_TRACK": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
}
PREFERRED = {  # what the user has set stands
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # alembic's too; what goes wrong is told here, in one line
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # mlflow's 7 retries of 120 s would stall a training for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
}


class MlflowLedger(Ledger):
    """One MLflow run. `open` starts or goes on with it."""

    def __init__(self, client: Any, run: Any, *, place: Place, folder: Path) -> None:
        self._client = client
        self._run = run
        self._place = place
        self._folder = folder
        self._unsent = Record(held=dict(run.data.params))
        self._refused = Record()
        self._digests = run.data.tags.get("harden.data.sha256", "").split()
        self._is_offline = False
        self._is_closed = False

    @classmethod
    def open(
        cls,
        place: Place,
        *,
        folder: Path,
        experiment: str,
        name: str,
        run_id: str | None,
        parent: str | None = None,
    ) -> Self:
        """The run `run_id`, or a new one where that is None or not in the store. Raises LedgerError."""
        try:
            client = connect(place.uri)
            run = _known_run(client, run_id) if run_id else None
            if run is None:
                tags = {"harden.resumed_from": run_id} if run_id else {}
                tags |= {"mlflow.parentRunId": parent} if parent else {}
                run = client.create_run(_experiment_id(client, experiment, place), run_name=name, tags=tags)
        except HardenError:
            raise
        except Exception as error:  # mlflow lets errors of SQLAlchemy, requests and the disk through
            where = masked(place.uri)
            raise LedgerError(f"{where}: cannot open a run: {reason_of(error)}", ELSEWHERE) from error
        if run_id and run.info.run_id != run_id:
            logger.warning("run %s is not in %s; recording to a new run", run_id, masked(place.uri))
        return cls(client, run, place=place, folder=folder)

    @property
    def run_id(self) -> str:
        return str(self._run.info.run_id)

    @property
    def location(self) -> str:
        return masked(self._place.uri)

    @property
    def how_to_look(self) -> str:
        if self._place.is_server:
            run = f"experiments/{self._run.info.experiment_id}/runs/{self.run_id}"
            return f"open {self.location.rstrip('/')}/#/{run}"
        return f"mlflow ui --backend-store-uri {shlex.quote(self.location)}"

    def note(self, params: Mapping[str, object]) -> None:
        """As `Ledger.note`."""
        if changed := self._unsent.note(params):
            logger.warning("run %s was begun with other values of: %s", self.run_id, ", ".join(changed))
        self.flush()

    def tag(self, tags: Mapping[str, str]) -> None:
        """As `Ledger.tag`."""
        self._unsent.tag(tags)
        self.flush()

    def data(self, *, name: str, digest: str, source: str, context: str) -> None:
        """As `Ledger.data`. The tag `harden.data.sha256` lists the digests, which MLflow takes cut only.

        MLflow records data of one name and digest once a run, under the first context.
        """
        self._unsent.data.append(DataSet(name, digest, source, context))
        self._digests = list(dict.fromkeys([*self._digests, digest]))
        self.tag({"harden.data.sha256": " ".join(self._digests)})

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """As `Ledger.log`. A call of the store costs 9 ms, a metric within a batch 0.17 ms."""
        self._unsent.log(metrics, step)
        if len(self._unsent.metrics) >= METRICS_PER_BATCH:
            self.flush()

    def keep(self, path: Path, folder: str = "") -> None:
        """As `Ledger.keep`."""
        self._unsent.artefacts.append(Artefact(path.absolute(), folder))
        self.flush()

    def flush(self) -> None:
        """Sends what is buffered, unless the store has failed before."""
        if not self._is_offline:
            self._guarded(self._send)

    def close(self, status: str = "FINISHED") -> None:
        """As `Ledger.close`. What the store still does not take goes to `ledger-unsent.json`."""
        checked_status(status)
        if self._is_closed:
            return
        self._is_closed = True
        self._is_offline = False
        self._guarded(lambda: self._finish(status))
        if self._is_offline or not self._refused.is_empty():
            self._save_unsent(status)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # whatever mlflow raises: the training must go on
            self._is_offline = True
            logger.warning(
                "tracking to %s failed: %s; %s",
                self.location,
                reason_of(error),
                "the rest goes to a file" if self._is_closed else "the record is held until the run ends",
            )

    def _finish(self, status: str) -> None:
        self._send()
        self._client.set_terminated(self.run_id, status)

    def _send(self) -> None:
        unsent, refused = self._unsent, self._refused
        drain(unsent.params, ENTRIES_PER_BATCH, self._send_params, refused.params)
        drain(unsent.tags, ENTRIES_PER_BATCH, self._send_tags, refused.tags)
        drain(unsent.metrics, METRICS_PER_BATCH, self._send_metrics, refused.metrics)
        drain(unsent.data, 1, self._send_data, refused.data)
        drain(unsent.artefacts, 1, self._send_artefacts, refused.artefacts)

    def _send_params(self, entries: list[Entry]) -> None:
        from mlflow.entities import Param

        self._client.log_batch(self.run_id, params=[Param(entry.name, entry.value) for entry in entries])

    def _send_tags(self, entries: list[Entry]) -> None:
        from mlflow.entities import RunTag

        last = {entry.name: entry.value for entry in entries}
        self._client.log_batch(self.run_id, tags=[RunTag(name, value) for name, value in last.items()])

    def _send_metrics(self, metrics: list[Metric]) -> None:
        from mlflow.entities import Metric as Point

        points = [Point(metric.name, metric.value, metric.millis, metric.step) for metric in metrics]
        self._client.log_batch(self.run_id, metrics=points)

    def _send_data(self, data: list[DataSet]) -> None:
        self._client.log_inputs(self.run_id, datasets=[_input(item) for item in data])

    def _send_artefacts(self, artefacts: list[Artefact]) -> None:
        for item in artefacts:
            self._client.log_artifact(self.run_id, str(item.path), item.folder or None)

    def _save_unsent(self, status: str) -> None:
        path = self._folder / "ledger-unsent.json"
        if path.exists():
            path = self._folder / f"ledger-unsent-{self.run_id}.json"
        unsent, refused = self._unsent.as_json(), self._refused.as_json()
        record = {"location": self.location, "run_id": self.run_id, "status": status, "unsent": unsent}
        try:
            write_json(path, record | {"refused": refused})
            logger.warning("what %s did not take is in %s", self.location, path)
        except HardenError as error:
            logger.warning("what %s did not take is lost: %s", self.location, error)


def connect(uri: str) -> Any:
    """MLflow's client for a store, telemetry off and patience short."""
    os.environ.update(FORCED)
    for name, value in PREFERRED.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    # one retry of urllib3 is no news for the user: if it fails too, the ledger says so
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _known_run(client: Any, run_id: str) -> Any:
    """The run, set to RUNNING again; None where the store holds none of that id, or only a deleted one."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise
    if run.info.lifecycle_stage != "active":
        return None
    client.update_run(run_id, status="RUNNING")
    return run


def _experiment_id(client: Any, name: str, place: Place) -> str:
    """The id of the experiment, created where it does not exist. Raises LedgerError for a deleted one."""
    found = client.get_experiment_by_name(name)
    if found is None:
        artefacts = place.artefacts.as_uri() if place.artefacts else None
        return str(client.create_experiment(name, artifact_location=artefacts))
    if found.lifecycle_stage != "active":
        raise LedgerError(
            f"{masked(place.uri)}: experiment {name!r} was deleted",
            f"mlflow experiments restore --experiment-id {found.experiment_id}, or choose another name",
        )
    return str(found.experiment_id)


def _input(data: DataSet) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    tags = [InputTag("mlflow.data.context", data.context), InputTag("harden.data.sha256", data.digest)]
    source = json.dumps({"uri": data.source})
    # at most 36 characters for a digest: a whole SHA-256 is refused
    return DatasetInput(Dataset(data.name, data.digest[:32], "local", source), tags)
