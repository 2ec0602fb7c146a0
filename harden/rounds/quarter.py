"""When a round belongs where: quarters of a year, their order, and whether one is due."""

import datetime as dt
import re
from dataclasses import dataclass
from enum import Enum

from harden.errors import ConfigError

SPELLING = re.compile(r"(\d{4})Q([1-4])", re.ASCII)
GRACE = 14
"""Days before the end of a quarter from which on a round that has not been run is called urgent."""


@dataclass(frozen=True, order=True)
class Quarter:
    """A quarter of a year, written `2026Q4`. Quarters compare as they follow each other."""

    year: int
    number: int

    @classmethod
    def of(cls, text: str) -> "Quarter":
        """The quarter that `text` spells; ConfigError for any other text."""
        found = SPELLING.fullmatch(text)
        if found is None or int(found[1]) == 0:
            raise ConfigError(f"round must be a quarter such as 2026Q4, got {text[:40]!r}", "year, Q, 1 to 4")
        return cls(int(found[1]), int(found[2]))

    @classmethod
    def on(cls, day: dt.date) -> "Quarter":
        """The quarter that `day` lies in."""
        return cls(day.year, (day.month + 2) // 3)

    @property
    def name(self) -> str:
        """As it is written."""
        return f"{self.year:04d}Q{self.number}"

    @property
    def next(self) -> "Quarter":
        """The one that follows."""
        return Quarter(self.year + self.number // 4, self.number % 4 + 1)

    @property
    def previous(self) -> "Quarter":
        """The one before."""
        return Quarter(self.year, self.number - 1) if self.number > 1 else Quarter(self.year - 1, 4)

    @property
    def last_day(self) -> dt.date:
        """The last day of it."""
        after = self.next
        return dt.date(after.year, 3 * after.number - 2, 1) - dt.timedelta(days=1)


class Due(Enum):
    """What a calendar says to the rounds that were run."""

    done = "done"  # this quarter's round has been run
    due = "due"  # it has not, and the quarter lasts
    overdue = "overdue"  # a quarter has ended without one


@dataclass(frozen=True)
class Schedule:
    """The answer: its word, the round that is to be run next, and by when."""

    due: Due
    round: Quarter
    by: dt.date
    sentence: str


def due_on(day: dt.date, last: Quarter | None) -> Schedule:
    """What is due on `day` when the newest finished round is `last`; without any, this quarter's is due."""
    now = Quarter.on(day)
    wanted = last.next if last is not None else now
    if wanted > now:
        newest = last or now
        return Schedule(
            Due.done, wanted, wanted.last_day, f"{newest.name} is done; the next round is due by {wanted.last_day}"
        )
    if wanted == now:
        left = (now.last_day - day).days
        soon = "urgent, " if left < GRACE else ""
        return Schedule(Due.due, wanted, now.last_day, f"{now.name} is due by {now.last_day}: {soon}{left} days left")
    late = (day - wanted.last_day).days
    return Schedule(
        Due.overdue, wanted, wanted.last_day, f"{wanted.name} was due by {wanted.last_day}: {late} days overdue"
    )
