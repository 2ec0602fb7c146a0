"""A review as one HTML file that needs nothing else, as Markdown, and as JSON. Equal reviews give equal bytes."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from harden.reviewing.charts import curves, ladder
from harden.reviewing.review import FORMAT, Review

HTML, MARKDOWN, JSON = "review.html", "review.md", "review.json"
FILES = (HTML, MARKDOWN, JSON)
SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$&])")


def rendered(review: Review) -> dict[str, bytes]:
    """The three files by name."""
    return {
        HTML: html(review).encode(),
        MARKDOWN: markdown(review).encode(),
        JSON: (json.dumps(twin(review), indent=1, sort_keys=True, allow_nan=False) + "\n").encode(),
    }


def html(review: Review, *, whole: bool = True) -> str:
    """The page; all text is escaped. Not `whole`: what a notebook shows, without the document around it."""
    page = _environment(autoescape=True).get_template("review.html.j2")
    return page.render(review=review, told=review.newest, ladder=ladder(review), curves=curves(review), whole=whole)


def markdown(review: Review) -> str:
    """The same as Markdown; what Markdown or HTML would take for a command is escaped."""
    environment = _environment(autoescape=False)
    environment.finalize = lambda value: value if isinstance(value, Marked) else escaped(str(value))
    return environment.get_template("review.md.j2").render(review=review, told=review.newest)


def twin(review: Review) -> dict[str, Any]:
    """The same as JSON, for programs."""
    return {"format": FORMAT, **asdict(review)}


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """SHA-256 in hex of each file."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


class Marked(str):
    """Text that is Markdown already."""


def escaped(text: str) -> str:
    """`text` as Markdown shows it letter by letter, in one line."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))


def share(one: Mapping[str, float]) -> str:
    """The value of an accuracy in per cent."""
    return f"{100 * one['value']:.1f} %"


def interval(one: Mapping[str, float]) -> str:
    """Its interval in per cent."""
    return f"{100 * one['low']:.1f}–{100 * one['high']:.1f}"


def points(value: float) -> str:
    """A difference of shares in points."""
    return f"{100 * value:+.1f}"


def duration(seconds: float) -> str:
    """A time as people say it."""
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def spelled(value: Any) -> str:
    """A value of a configuration in one line."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def leaves(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """A nested configuration as rows of dotted name and value."""
    if not isinstance(value, Mapping) or not value:
        return [(prefix, value)]
    return [row for key, one in sorted(value.items()) for row in leaves(one, f"{prefix}.{key}" if prefix else str(key))]


def _environment(*, autoescape: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("harden.reviewing"),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "share": share,
        "interval": interval,
        "points": points,
        "duration": duration,
        "spelled": spelled,
        "leaves": leaves,
    }
    return environment
