"""What `harden.round` is asked for."""

import datetime as dt
from dataclasses import dataclass, field, fields
from typing import Any

from harden.errors import ConfigError
from harden.ledger import Tracking
from harden.rounds.gates import Gates
from harden.rounds.plan import SUITES
from harden.rounds.quarter import Quarter
from harden.sealing.request import Asking
from harden.training.device import Compute
from harden.training.recipe import Recipe

HOME = "rounds"


@dataclass(frozen=True)
class RoundRequest(Recipe, Asking):
    """A round to be run. The recipe, suite, gates and budget shape the first round; later ones follow their plan."""

    round: str | None = None  # 2026Q4; None: the one that is due
    home: str = HOME  # folder of all rounds
    programme: str | None = None  # what the rounds are called together; None: after data and threat
    plan: str | None = None  # a plan of one's own in the place of the proposed one
    why: str | None = None  # the reason for it, which is recorded
    suite: str = "standard"
    images: int = 1000  # the first so many test images; 0: all
    gates: Gates = field(default_factory=Gates)
    minutes: float = 60.0  # the budget of a round
    signer: str | None = None  # .key file; None: one in the folder of rounds, made where there is none
    to: list[str] = field(default_factory=list)  # .pub files of recipients; none: one in the folder of rounds
    owner: str | None = None  # .key file of the owner; None: no watermark
    compute: Compute = field(default_factory=Compute)
    tracking: Tracking = field(default_factory=Tracking)

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        Asking.__post_init__(self)
        _check(self)
        if self.suite not in SUITES:
            raise ConfigError(f"there is no suite '{self.suite}'; there are: {', '.join(SUITES)}")
        if self.images < 0 or not self.minutes > 0:
            raise ConfigError(f"images must be >= 0 and minutes > 0, got {self.images} and {self.minutes:g}")
        if self.why is not None and self.plan is None:
            raise ConfigError("why= is the reason for a plan of one's own", "say plan=FILE too, or leave it out")
        if self.init is not None:
            raise ConfigError("init= has no place in a round: the plan says what it starts from", "leave it out")

    def recipe_part(self) -> Recipe:
        """The part that is a training recipe."""
        return Recipe(**{one.name: getattr(self, one.name) for one in fields(Recipe)})


@dataclass(frozen=True)
class PlanRequest(RoundRequest):
    """The plan of a round, shown and not run. `output`: a file to edit."""

    output: str | None = None


@dataclass(frozen=True)
class HistoryRequest:
    """The rounds that were run."""

    home: str = HOME
    output: str | None = None  # an SVG file for the picture
    trust: str | None = None  # whom to believe; None: the signer in the folder of rounds

    def __post_init__(self) -> None:
        if self.output is not None and not self.output.endswith(".svg"):
            raise ConfigError(f"output={self.output} must end in .svg: it is a picture")


@dataclass(frozen=True)
class DueRequest:
    """Is a round due? `today`: another day than today, as 2026-11-26."""

    home: str = HOME
    today: str | None = None
    trust: str | None = None

    def __post_init__(self) -> None:
        if self.today is not None:
            _day(self.today)

    @property
    def day(self) -> dt.date | None:
        """The day that was named."""
        return None if self.today is None else _day(self.today)


def _day(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"today must be a day such as 2026-11-26, got {text[:40]!r}") from error


def _check(request: Any) -> None:
    if request.round is not None:
        Quarter.of(request.round)
    if not request.home:
        raise ConfigError("home must name a folder, got nothing", "leave it out or name one")
