"""Quarters follow each other, and a calendar says whether a round is due."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harden.errors import ConfigError
from harden.rounds.quarter import Due, Quarter, due_on

quarters = st.builds(Quarter, st.integers(1, 9998), st.integers(1, 4))


@given(quarters)
def test_a_quarter_survives_its_spelling_and_comes_back_from_its_neighbours(quarter: Quarter) -> None:
    assert Quarter.of(quarter.name) == quarter
    assert quarter.next.previous == quarter
    assert quarter < quarter.next


@given(st.dates(dt.date(2, 1, 1), dt.date(9998, 1, 1)))
def test_a_day_lies_in_its_quarter(day: dt.date) -> None:
    quarter = Quarter.on(day)
    assert day <= quarter.last_day
    assert day > quarter.previous.last_day


@pytest.mark.parametrize("text", ["2026", "2026Q5", "2026q4", "26Q4", "2026Q4 ", "../Q1", "0000Q1", "²026Q1", ""])
def test_other_spellings_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="round must be a quarter"):
        Quarter.of(text)


@pytest.mark.parametrize(
    ("day", "last", "due", "wanted"),
    [
        (dt.date(2026, 11, 26), None, Due.due, "2026Q4"),
        (dt.date(2026, 11, 26), "2026Q4", Due.done, "2027Q1"),
        (dt.date(2026, 11, 26), "2026Q3", Due.due, "2026Q4"),
        (dt.date(2026, 11, 26), "2026Q2", Due.overdue, "2026Q3"),
        (dt.date(2026, 12, 31), "2026Q3", Due.due, "2026Q4"),
        (dt.date(2027, 1, 1), "2026Q3", Due.overdue, "2026Q4"),
    ],
)
def test_what_is_due_follows_from_the_last_round(day: dt.date, last: str | None, due: Due, wanted: str) -> None:
    found = due_on(day, Quarter.of(last) if last else None)
    assert (found.due, found.round.name) == (due, wanted)
