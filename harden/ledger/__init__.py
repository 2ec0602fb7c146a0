"""The record of a run: what was asked, what was measured, what was kept.

`open_ledger` gives a `Ledger`. Behind it stands MLflow, or plain lists where nothing is tracked
(`MemoryLedger`). MLflow is a copy for people to look at; once a ledger is open, no failure of the store
ends a training.
"""

from harden.ledger.memory import MemoryLedger
from harden.ledger.opening import open_ledger
from harden.ledger.protocol import STATUSES, Ledger
from harden.ledger.store import Run, Store
from harden.ledger.tracking import Tracking

__all__ = ["STATUSES", "Ledger", "MemoryLedger", "Run", "Store", "Tracking", "open_ledger"]
