"""What every ledger can do. Rooms and doors know this interface only."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

STATUSES = ("FINISHED", "FAILED", "KILLED")


class Ledger(ABC):
    """The record of one run.

    As a context manager it closes itself: FINISHED, FAILED after an exception, KILLED after Ctrl-C.
    """

    @property
    @abstractmethod
    def run_id(self) -> str:
        """The name under which the store knows the run; handed to `open_ledger` to go on with it."""

    @property
    @abstractmethod
    def location(self) -> str:
        """Where the record goes, for people to read; never with a password in it."""

    @property
    @abstractmethod
    def how_to_look(self) -> str:
        """What to type, or where to go, to see the record."""

    @abstractmethod
    def note(self, params: Mapping[str, object]) -> None:
        """Records what was asked for, nested mappings by dotted names, values as JSON but for plain text.

        A parameter is written once: a later, different value becomes the tag `harden.changed.<name>`.
        """

    @abstractmethod
    def tag(self, tags: Mapping[str, str]) -> None:
        """Records facts about the run; the last value of a tag stands."""

    @abstractmethod
    def data(self, *, name: str, digest: str, source: str, context: str) -> None:
        """Records a data set.

        digest: SHA-256 in hex; source: where it came from; context: its role, such as "train".
        """

    @abstractmethod
    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Records numbers at a step, buffered.

        Values that are not finite are no metrics: the first of each name becomes a tag,
        `harden.nonfinite.<name>`.
        """

    @abstractmethod
    def keep(self, path: Path, folder: str = "") -> None:
        """Stores a copy of the file or directory `path` under `folder` of the run's artefacts."""

    @abstractmethod
    def flush(self) -> None:
        """Sends what is buffered."""

    @abstractmethod
    def close(self, status: str = "FINISHED") -> None:
        """Sends the rest and ends the run; a second call does nothing. status: one of `STATUSES`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close("FINISHED")
        else:
            self.close("KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED")


def checked_status(status: str) -> str:
    """`status`, or ValueError where it is none of `STATUSES`."""
    if status not in STATUSES:
        raise ValueError(f"status must be one of {', '.join(STATUSES)}, got {status!r}")
    return status
