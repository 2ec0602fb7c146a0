"""Which ledger a run gets."""

import logging
import os
from pathlib import Path
from typing import Any

from harden.errors import ConfigError, LedgerError
from harden.ledger.memory import MemoryLedger
from harden.ledger.mlflow import MlflowLedger
from harden.ledger.places import Place, alone, check_sqlite, local_place, masked, place_of, unreachable
from harden.ledger.protocol import Ledger

logger = logging.getLogger(__name__)


def open_ledger(
    *,
    uri: str | None,
    folder: Path,
    experiment: str,
    name: str,
    run_id: str | None = None,
    parent: str | None = None,
) -> Ledger:
    """The ledger for one run called `name` within `experiment`.

    uri: an MLflow store; "none" tracks nothing; None means $MLFLOW_TRACKING_URI, or else a SQLite file in
    `folder`. A server that does not answer is replaced by that file, with a warning. run_id: go on with this
    run; where the store does not know it a new one begins, which carries the tag `harden.resumed_from`.
    parent: the id of the run that a new one is nested below.

    Raises ConfigError for a uri that MLflow cannot open, LedgerError for a store that cannot be used.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or None
    if uri == "none":
        return MemoryLedger("nowhere: tracking is off")
    place = _reachable(place_of(uri, folder), folder) if uri else local_place(folder)
    wish: dict[str, Any] = {"folder": folder, "experiment": experiment, "name": name}
    if place.database is None:
        return MlflowLedger.open(place, **wish, run_id=run_id, parent=parent)
    check_sqlite(place.database)
    with alone(place.database.parent):
        return MlflowLedger.open(place, **wish, run_id=run_id, parent=parent)


def insisted(uri: str | None, folder: Path) -> Place:
    """The store at `uri` (None: $MLFLOW_TRACKING_URI, else a SQLite file in `folder`), which must answer.

    Raises LedgerError where it does not, ConfigError for `none`: what a round found must stand somewhere.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or None
    if uri == "none":
        raise ConfigError(
            "tracking.uri=none: a round needs a tracking store", "leave it out for a file beside the rounds"
        )
    place = place_of(uri, folder) if uri else local_place(folder)
    if place.is_server and (reason := unreachable(place.uri)):
        raise LedgerError(
            f"tracking server {masked(place.uri)} is unreachable: {reason}",
            "start it, or leave tracking.uri out for a file beside the rounds",
        )
    return place


def _reachable(place: Place, folder: Path) -> Place:
    reason = unreachable(place.uri) if place.is_server else None
    if reason is None:
        return place
    local = local_place(folder)
    logger.warning(
        "tracking server %s is unreachable: %s; recording to %s instead", masked(place.uri), reason, local.uri
    )
    return local
