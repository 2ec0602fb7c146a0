"""What long work tells while it goes on."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Begin:
    """A part of the work begins: `steps` units, of which reports tell how many are done."""

    name: str
    text: str
    steps: int


@dataclass(frozen=True)
class Judged:
    """So many test images more have been judged."""

    images: int
