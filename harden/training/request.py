"""What `harden.train` is asked for: a recipe, and around it where to compute, write and record."""

import re
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from harden.errors import ConfigError
from harden.ledger import Tracking
from harden.sealing.request import Unlocking
from harden.training.device import Compute
from harden.training.recipe import Recipe
from harden.watermarking.request import OwnerMark


@dataclass(frozen=True)
class TrainRequest(Recipe, Unlocking):
    """A recipe and what does not change its result. The weights of `init` may be sealed."""

    baseline: bool = True  # also train (or, with init, measure) the model before hardening
    output: str | None = None  # folder of results; None: a free name below runs/
    resume: str | None = None  # continue the run in this folder; nothing else may be said then
    overwrite: bool = False  # replace a run that `output` holds already
    checkpoint_seconds: float = 60.0  # the longest time between two checkpoints
    compute: Compute = field(default_factory=Compute)
    tracking: Tracking = field(default_factory=Tracking)
    watermark: Any = None  # whose mark the network gets while it is trained

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        Unlocking.__post_init__(self)
        if self.watermark is not None and not isinstance(self.watermark, OwnerMark):
            raise ConfigError("watermark needs an option of its group", "say watermark=owner watermark.key=acme.key")
        if not self.checkpoint_seconds > 0:
            raise ConfigError(f"checkpoint_seconds must be > 0, got {self.checkpoint_seconds:g}")
        if "" in (self.output, self.resume):
            raise ConfigError("output and resume must name a folder, got nothing", "leave them out or name one")
        if self.resume and self.overwrite:
            raise ConfigError("resume and overwrite contradict each other", "say one of them")
        if self.overwrite and self.output and self.init and _lies_in(self.init, self.output):
            raise ConfigError(f"init={self.init} lies in the folder to be overwritten", "choose another output folder")

    @property
    def anchored(self) -> "TrainRequest":
        """This request with absolute paths of its inputs, so that it means the same from any folder."""
        data, root = self.data, getattr(self.data, "root", None)
        data = replace(data, root=str(Path(root).absolute())) if root else data
        init, identity, trust = (path and str(Path(path).absolute()) for path in (self.init, self.identity, self.trust))
        mark = self.watermark
        if mark is not None and mark.key:
            mark = replace(mark, key=str(Path(mark.key).absolute()))
        # a descriptor means nothing to who resumes
        return replace(self, data=data, init=init, identity=identity, trust=trust, passphrase_fd=None, watermark=mark)

    @property
    def recipe(self) -> Recipe:
        """The part that determines the result."""
        return Recipe(**{f.name: getattr(self, f.name) for f in fields(Recipe)})

    @property
    def name(self) -> str:
        """What the run is called where nobody named it: data, objective, attack, threat, seed."""
        objective = type(self.objective).__name__.lower()
        kind = re.sub("(?<=[a-z])(?=[A-Z])", "_", type(self.data).__name__).lower()  # as in data=fashion_mnist
        attack = f"-{type(self.attack).__name__.lower()}" if self.attack else ""
        threat = f"{self.threat.norm.value}-{self.threat.eps.replace('/', '_')}"
        return f"{kind}-{objective}{attack}-{threat}-seed{self.seed}"


def _lies_in(path: str, folder: str) -> bool:
    return Path(path).resolve().is_relative_to(Path(folder).resolve())
