"""`evaluation.json` and a few pictures in, `report.html` out."""

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, UndefinedError

from harden.reporting.chart import chart
from harden.reporting.images import Example

MOST = 12
"""Pictures on a page."""


def render(told: Mapping[str, Any], *, radius: float, examples: Sequence[Example] = (), next_step: str = "") -> str:
    """The page. Equal arguments give equal bytes; all text is escaped. `radius`: the threat's eps as a number.

    Raises ValueError where `told` lacks what a page needs.
    """
    environment = Environment(
        loader=PackageLoader("harden.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"share": share, "interval": interval, "count": count, "seconds": seconds}
    page = environment.get_template("evaluation.html.j2")
    drawing = chart(told["curve"], radius) if "curve" in told else None
    try:
        return page.render(told=told, examples=list(examples)[:MOST], chart=drawing, next_step=next_step)
    except UndefinedError as error:
        raise ValueError(f"no page can be made: {error}") from error


def share(accuracy: Mapping[str, float]) -> str:
    """The value of an accuracy in per cent."""
    return f"{accuracy['value']:.1%}".replace("%", " %")


def interval(accuracy: Mapping[str, float]) -> str:
    """Its interval in per cent."""
    return f"{100 * accuracy['low']:.1f}–{100 * accuracy['high']:.1f}"


def count(number: int) -> str:
    """A number with its thousands apart."""
    return f"{number:,}".replace(",", " ")


def seconds(number: float) -> str:
    """A time as people say it."""
    return f"{number:.1f} s" if number < 120 else f"{number / 60:.0f} min"
