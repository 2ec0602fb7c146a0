"""A review says what happened, in equal bytes for equal stores, and shows hostile text as text."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from harden.errors import ConfigError
from harden.reviewing import Told, digests, html, markdown, rendered, review, twin

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;|`*_[x](javascript:alert(3))\n# head"


class Tags(HTMLParser):
    """Every tag of a page with its attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "img", "line", "circle", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "circle", "polyline"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_every_tag_is_closed_and_nothing_is_fetched_or_run(rounds: list[Told]) -> None:
    page = Tags(html(review(rounds)))
    assert page.open == []
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "iframe", "object", "embed", "link", "img", "form", "base"}
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "src"]
        link = attributes.get("href")
        assert link is None or link.startswith("http://127.0.0.1:5000/")


@pytest.mark.parametrize("which", [0, 1])
def test_hostile_text_is_shown_and_never_obeyed(
    rounds: list[Told], poisoned: Callable[[Told, str], Told], which: int
) -> None:
    evil = [poisoned(told, EVIL) for told in rounds[: which + 1]]
    clean, dirty = (Tags(html(review(some))) for some in (rounds[: which + 1], evil))
    assert [tag for tag, _ in dirty.tags if tag in ("script", "img")] == []
    assert {tag for tag, _ in dirty.tags} <= {tag for tag, _ in clean.tags}
    assert not [name for _, attributes in dirty.tags for name in attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in dirty.text


def test_hostile_text_stays_in_its_cell_of_a_markdown_table(
    rounds: list[Told], poisoned: Callable[[Told, str], Told]
) -> None:
    clean, dirty = (markdown(review(some)) for some in (rounds, [poisoned(told, EVIL) for told in rounds]))
    assert not re.findall(r"(?<!\\)[<\[`]", dirty)
    bars = re.compile(r"(?<!\\)\|")
    shape = [len(bars.findall(line)) for line in clean.splitlines()]
    assert [len(bars.findall(line)) for line in dirty.splitlines()] == shape


def test_equal_rounds_give_equal_bytes_in_whatever_order(rounds: list[Told]) -> None:
    one, other = rendered(review(rounds)), rendered(review(rounds[::-1]))
    assert one == other
    assert digests(one) == digests(other)


def test_a_changed_figure_changes_every_rendering(rounds: list[Told]) -> None:
    gates = {**rounds[1].gates, "gates": [{**rounds[1].gates["gates"][0], "got": "something else"}]}
    one, other = rendered(review(rounds)), rendered(review([rounds[0], replace(rounds[1], gates=gates)]))
    assert [name for name in one if one[name] == other[name]] == []


def test_the_first_page_says_what_a_manager_needs(rounds: list[Told]) -> None:
    page = html(review(rounds))
    top = page[: page.index("</section>")]
    for words in ("Refused by its gates", "77.8 %", "72.2 %", "2026Q3", "sanity checks"):
        assert words in Tags(top).text
    promoted = html(review(rounds[:1]))
    assert "Promoted to champion" in promoted


def test_findings_come_worst_first_with_their_evidence(rounds: list[Told]) -> None:
    found = review(rounds).findings
    weights = [one.weight for one in found]
    assert weights == sorted(weights, key=("bad", "warning", "good", "note").index)
    assert all(one.evidence and one.run == "0123abcd" for one in found)
    titles = [one.title for one in found]
    assert "gate shut: sanity checks" in titles
    assert "regressions on replayed attacks" in titles
    assert "watchdog: overfitting at epoch 3.5" in titles
    assert "the plan was changed by hand" in titles
    assert "better than the champion before" in titles


def test_a_difference_that_may_be_luck_is_called_that(rounds: list[Told]) -> None:
    pairs = {"2026Q1": {**rounds[1].comparison["pairs"]["2026Q1"], "p": 0.3}}
    told = replace(rounds[1], comparison={**rounds[1].comparison, "pairs": pairs})
    made = review([rounds[0], told])
    assert "this could be luck" in made.summary
    assert [one.title for one in made.findings if "luck" in one.title]


def test_what_is_to_be_done_has_an_owner_and_a_day(rounds: list[Told]) -> None:
    made = review(rounds, owner="Ann")
    assert {one.kind for one in made.actions} == {"sustain", "improve"}
    assert {(one.owner, one.due) for one in made.actions} == {("Ann", "2026-09-30")}


def test_classes_are_compared_with_the_champion_under_the_same_suite(rounds: list[Told]) -> None:
    rows = review(rounds).classes
    assert [row.champion for row in rows] == [1.0, 80 / 180]
    assert rows[0].weight == 1.5


def test_the_json_twin_holds_the_rounds_and_is_json(rounds: list[Told]) -> None:
    told = json.loads(json.dumps(twin(review(rounds)), allow_nan=False))
    assert told["format"] == "harden-review/1"
    assert [row["round"] for row in told["rows"]] == ["2026Q1", "2026Q2"]


def test_a_page_prints_and_follows_the_dark(rounds: list[Told]) -> None:
    page = html(review(rounds))
    assert "@media print" in page
    assert "prefers-color-scheme: dark" in page
    assert "@page" in page


def test_a_notebook_gets_the_page_without_the_document(rounds: list[Told]) -> None:
    part = html(review(rounds), whole=False)
    assert "<!doctype" not in part
    assert Tags(part).open == []
    assert review(rounds)._repr_html_() == part


def test_nothing_to_review_is_told() -> None:
    with pytest.raises(ConfigError, match="no round to review"):
        review([])
