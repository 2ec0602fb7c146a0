"""Sending in batches, with nothing lost on the way."""

import logging
from collections.abc import Callable
from typing import TypeVar

from harden.ledger.places import reason_of

logger = logging.getLogger(__name__)

T = TypeVar("T")


def drain(items: list[T], size: int, send: Callable[[list[T]], None], refused: list[T]) -> None:
    """Sends `items` in order, at most `size` at once.

    What is sent leaves the list, and what the store will never take moves to `refused`; any other failure of
    `send` is raised, with the rest still in `items`.
    """
    while items:
        chunk = items[:size]
        try:
            send(chunk)
        except Exception as error:
            if not _is_refusal(error):
                raise
            logger.warning("the tracking store refuses %d entries: %s", len(chunk), reason_of(error))
            refused.extend(chunk)
        del items[: len(chunk)]


def _is_refusal(error: Exception) -> bool:
    """Whether trying again is of no use: the value itself is refused, or the file to keep is gone."""
    return getattr(error, "error_code", "") == "INVALID_PARAMETER_VALUE" or isinstance(error, FileNotFoundError)
