"""The page: whole in itself, escaped, the same bytes for the same numbers, and complete."""

import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from harden.reporting import Example, render

A = {"value": 0.9, "low": 0.88, "high": 0.915, "n": 1000}


def told(**more: Any) -> dict[str, Any]:
    attack = {"name": "pgd", "label": "PGD-20", "attacked": 990, "broken": 90, "accuracy": A}
    cost = {"forward": 12345, "backward": 6789, "seconds": 130.0}
    return {
        "suite": {"name": "quick", "label": "quick", "attacks": ["pgd"], "cascade": True},
        "weights": {"file": "w", "sha256": "ab" * 32, "model": "cnn"},
        "data": {"name": "MNIST", "digest": "cd" * 32, "part": "test", "n": 1000, "of": 10000},
        "threat": {"norm": "linf", "eps": "8/255", "low": 0.0, "high": 1.0},
        "seed": 0, "batch_size": 250, "device": "cpu", "precision": "float32", "versions": {"harden": "1"},
        "clean": A, "attacks": [attack | cost], "worst_case": {"accuracy": A, **cost}, "reliable": True,
        "rechecks": [{"name": "8-bit pixels", "accuracy": A, "flips": 3}],
        "classes": [{"name": "0", "n": 100, "clean": A, "robust": A, "mistaken_for": None}],
    } | more  # fmt: skip


CURVE = {
    "attack": "FMN-200",
    "median": 0.3,
    "points": [{"eps": str(r), "radius": r, "accuracy": A} for r in (0.0, 0.1, 0.2)],
    "checks": [
        {"eps": "0.1", "radius": 0.1, "attack": "APGD-T", "curve": A, "accuracy": A, "gap": 0.0, "finding": True}
    ],
}
PARTS: dict[str, tuple[Any, str]] = {
    "curve": (CURVE, "Accuracy against eps"),
    "sanity": ([{"number": 1, "name": "eps 0", "verdict": "failed", "figure": "3 differ", "reason": "why"}], "why"),
    "unseen": ([{"name": "fog", "label": "fog", "kind": "corruption", "accuracy": A}], "not trained against"),
    "certified": ({"method": "IBP", "threat": "linf", "accuracy": A, "both": 0}, "IBP proves"),
    "smoothed": (
        {"sigma": 0.25, "n": 1000, "alpha": 0.001, "abstained": 4, "points": [{"radius": 0.5, "accuracy": A}]},
        "Randomised smoothing",
    ),
    "against": (
        {"file": "other", "worst_case": A, "only_this": 3, "only_other": 5, "p": 0.7,
         "difference": {"value": 0.01, "low": -0.02, "high": 0.03}},
        "Compared with other",
    ),
    "transfer": ({"models": ["a"], "attack": "PGD-50", "accuracy": [[A]], "finding": []}, "fooled most by its own"),
}  # fmt: skip


class Checker(HTMLParser):
    """Notes tags that are not closed, addresses, and pictures without a text."""

    VOID = ("meta", "img", "link", "br", "input", "line", "circle", "polygon", "polyline")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        names = dict(attrs)
        self.addresses += [value or "" for key, value in attrs if key in ("src", "href", "action")]
        assert tag != "img" or names.get("alt")

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def example(label: str = "3", channels: int = 1) -> Example:
    x = np.linspace(0, 1, channels * 64, dtype=np.float32).reshape(channels, 8, 8)
    return Example(x, (x + 0.1).clip(0, 1), label, "8", "distance 0.1")


def test_the_page_is_whole_in_itself() -> None:
    page = render(
        told(**{name: value for name, (value, _) in PARTS.items()}),
        radius=0.1,
        examples=[example(), example(channels=3)],
    )
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert all(address.startswith("data:image/png;base64,") for address in checker.addresses)
    assert len(checker.addresses) == 6
    assert not {"script", "link", "iframe"} & set(checker.tags)
    assert not re.findall(r"url\(|@import|https?://", page)
    for _, text in PARTS.values():
        assert text in page


@pytest.mark.parametrize("name", PARTS)
def test_a_part_that_is_not_there_is_not_spoken_of(name: str) -> None:
    assert PARTS[name][1] not in render(told(), radius=0.1)


def test_names_cannot_smuggle_markup_in() -> None:
    nasty = "<script>alert(1)</script>"
    told_ = told(classes=[{"name": nasty, "n": 1, "clean": A, "robust": A, "mistaken_for": nasty}])
    told_["data"] |= {"name": nasty}
    page = render(told_, radius=0.1, examples=[example(label=nasty)])
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_equal_numbers_give_equal_bytes() -> None:
    assert render(told(), radius=0.1, examples=[example()]) == render(told(), radius=0.1, examples=[example()])


def test_an_unreliable_number_says_so_first() -> None:
    page = render(told(reliable=False), radius=0.1)
    assert page.index("Unreliable") < page.index("<h2>")
    assert "Unreliable" not in render(told(), radius=0.1)


def test_the_headline_names_its_images() -> None:
    assert "the first 1000 test images" in render(told(), radius=0.1)
    whole = told()
    whole["data"] |= {"of": 1000}
    assert "all 1000 test images" in render(whole, radius=0.1)
