"""What `harden.train` is asked for: a recipe, and around it where to compute, write and record."""

from dataclasses import dataclass, field, fields

from harden.errors import ConfigError
from harden.training.device import Compute
from harden.training.recipe import Recipe


@dataclass(frozen=True)
class Tracking:
    """Where runs are recorded. `uri` None: $MLFLOW_TRACKING_URI, else an SQLite file in `runs/`; `none`: nowhere."""

    uri: str | None = None
    experiment: str | None = None  # None: the name of the data set


@dataclass(frozen=True)
class TrainRequest(Recipe):
    """A recipe and what does not change its result."""

    baseline: bool = True  # also train (or, with init, measure) the model before hardening
    output: str | None = None  # folder of results; None: a free name below runs/
    resume: str | None = None  # continue the run in this folder; nothing else may be said then
    overwrite: bool = False  # replace a run that `output` holds already
    checkpoint_seconds: float = 60.0  # the longest time between two checkpoints
    compute: Compute = field(default_factory=Compute)
    tracking: Tracking = field(default_factory=Tracking)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.checkpoint_seconds > 0:
            raise ConfigError(f"checkpoint_seconds must be > 0, got {self.checkpoint_seconds:g}")
        if "" in (self.output, self.resume):
            raise ConfigError("output and resume must name a folder, got nothing", "leave them out or name one")
        if self.resume and self.overwrite:
            raise ConfigError("resume and overwrite contradict each other", "say one of them")

    @property
    def recipe(self) -> Recipe:
        """The part that determines the result."""
        return Recipe(**{f.name: getattr(self, f.name) for f in fields(Recipe)})

    @property
    def name(self) -> str:
        """What the run is called where nobody named it: data, objective, attack, threat, seed."""
        objective = type(self.objective).__name__.lower()
        kind = type(self.data).__name__.lower()
        attack = f"-{type(self.attack).__name__.lower()}" if self.attack else ""
        threat = f"{self.threat.norm.value}-{self.threat.eps.replace('/', '_')}"
        return f"{kind}-{objective}{attack}-{threat}-seed{self.seed}"
