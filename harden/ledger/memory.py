"""A ledger of plain lists: for tests, for ranks above 0, and for runs that are not tracked."""

from collections.abc import Mapping
from pathlib import Path

from harden.ledger.protocol import Ledger, checked_status
from harden.ledger.record import Artefact, DataSet, Metric, Record


class MemoryLedger(Ledger):
    """Holds what an MLflow store would hold, in the same shapes, and forgets it with the process."""

    def __init__(self, location: str = "memory") -> None:
        self._location = location
        self._record = Record()
        self.status = "RUNNING"

    @property
    def run_id(self) -> str:
        return "memory"

    @property
    def location(self) -> str:
        return self._location

    @property
    def how_to_look(self) -> str:
        return "nothing to look at: no tracking store is in use"

    @property
    def params(self) -> dict[str, str]:
        """What was asked for, by dotted name."""
        return {entry.name: entry.value for entry in self._record.params}

    @property
    def tags(self) -> dict[str, str]:
        """The facts about the run, the last value of each."""
        return {entry.name: entry.value for entry in self._record.tags}

    @property
    def metrics(self) -> list[Metric]:
        """Every finite number in the order it came."""
        return list(self._record.metrics)

    @property
    def inputs(self) -> list[DataSet]:
        """The data sets that took part."""
        return list(self._record.data)

    @property
    def artefacts(self) -> list[Artefact]:
        """What was kept; the files themselves stay where they are."""
        return list(self._record.artefacts)

    def series(self, name: str) -> list[tuple[int, float]]:
        """(step, value) of one metric."""
        return [(metric.step, metric.value) for metric in self._record.metrics if metric.name == name]

    def note(self, params: Mapping[str, object]) -> None:
        """As `Ledger.note`."""
        self._record.note(params)

    def tag(self, tags: Mapping[str, str]) -> None:
        """As `Ledger.tag`."""
        self._record.tag(tags)

    def data(self, *, name: str, digest: str, source: str, context: str) -> None:
        """As `Ledger.data`."""
        self._record.data.append(DataSet(name, digest, source, context))

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """As `Ledger.log`."""
        self._record.log(metrics, step)

    def keep(self, path: Path, folder: str = "") -> None:
        """As `Ledger.keep`, but notes the path only."""
        self._record.artefacts.append(Artefact(path, folder))

    def flush(self) -> None:
        """Nothing: nothing is buffered."""

    def close(self, status: str = "FINISHED") -> None:
        """As `Ledger.close`."""
        if self.status == "RUNNING":
            self.status = checked_status(status)
