"""What `harden.review` is asked for."""

from dataclasses import dataclass, field

from harden.errors import ConfigError
from harden.ledger import Tracking
from harden.rounds.quarter import Quarter
from harden.rounds.request import HOME
from harden.sealing.request import Asking


@dataclass(frozen=True)
class ReviewRequest(Asking):
    """Rounds to be reviewed, from a tracking store. The review is about the newest; the others are its past."""

    rounds: list[str] = field(default_factory=list)  # 2026Q3, 2026Q4, ...
    programme: str | None = None  # needed where a store holds several
    home: str = HOME  # folder of rounds: its store and its keys, where none are named
    output: str | None = None  # folder for the review; None: reviews/<first>-<newest> in the folder of rounds
    overwrite: bool = False
    owner: str = "model owner"  # who answers for what is to be sustained and improved
    signer: str | None = None  # .key file; None: the one in the folder of rounds
    trust: str | None = None  # whom records are believed from; None: the signer in the folder of rounds
    tracking: Tracking = field(default_factory=Tracking)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.rounds:
            raise ConfigError("rounds=[...] is missing", "for example rounds=[2026Q3,2026Q4]")
        names = [Quarter.of(str(name)).name for name in self.rounds]
        if len(set(names)) < len(names):
            raise ConfigError(f"rounds names one twice: {', '.join(names)}")
        if "" in (self.output, self.owner, self.home):
            raise ConfigError("home, output and owner must name something, got nothing", "leave them out or name one")
