"""What `harden.evaluate` is asked for."""

from dataclasses import dataclass
from typing import Any

from harden.attacks import Attack
from harden.data import DataChoice
from harden.errors import ConfigError
from harden.threat import ThreatModel


@dataclass(frozen=True)
class EvaluateRequest:
    """A weights file to attack. What is None is taken from the file: its data, its threat model, its network.

    A file never names code to import: data or networks of the user's own must be named again.
    """

    weights: str | None = None
    attack: Any = None  # None: PGD-50 with 5 restarts
    threat: Any = None
    data: Any = None
    model: Any = None  # only for model=custom
    images: int = 1000  # the first so many test images; 0: all
    batch_size: int = 250
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if not self.weights:
            raise ConfigError("weights=FILE is missing", "train a model first: python -m harden.train +attack=pgd")
        if self.images < 0 or self.batch_size < 1:
            raise ConfigError(f"images must be >= 0 and batch_size >= 1, got {self.images} and {self.batch_size}")
        kinds = {"attack": Attack, "threat": ThreatModel, "data": DataChoice}
        for name, kind in kinds.items():
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise ConfigError(f"{name} needs an option of its group", f"say {name}=<option>; --help lists them")
        if self.threat is not None and (self.threat.low > 0 or self.threat.high < 1):
            raise ConfigError("images have pixels of 0..1, the box must hold them", "leave out threat.low, threat.high")
