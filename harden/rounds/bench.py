"""What the stages of a round work with: its plan, its data, the rounds before it, who is told."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from harden.data import DataSet
from harden.errors import Interrupted
from harden.models import Classifier, load
from harden.rounds.plan import Plan
from harden.rounds.record import Record
from harden.threat import ThreatModel
from harden.training import Recipe
from harden.training.device import Compute

PLAN = "plan"
TRAIN, MARK, VALIDATE, EVALUATE, COMPARE = "train", "mark", "validate", "evaluate", "compare"
BANK, SEAL, GATES, NEXT, REVIEW = "bank", "seal", "gates", "next", "review"
WEIGHTS, ORDINARY = "weights.safetensors", "ordinary.safetensors"


@dataclass(frozen=True)
class Bench:
    """One round's surroundings. rounds: the folder of all rounds; chain: the finished ones, oldest first."""

    rounds: Path
    plan: Plan
    recipe: Recipe
    data: DataSet
    chain: tuple[Record, ...]
    compute: Compute
    watch: Callable[[Any], None] = field(default=lambda _: None)
    stop: Callable[[], bool] = field(default=lambda: False)

    @property
    def home(self) -> Path:
        """The folder of this round."""
        return self.rounds / self.plan.round

    @property
    def device(self) -> torch.device:
        """Where it is computed."""
        return self.compute.where()

    @property
    def threat(self) -> ThreatModel:
        """This round's threat."""
        return self.recipe.threat

    @property
    def champion(self) -> Record | None:
        """The newest round whose model was promoted."""
        return next((record for record in reversed(self.chain) if record.promoted), None)

    def weights(self, round_name: str) -> Path:
        """The plain weights of a round as they were evaluated: marked where they were marked."""
        marked = self.rounds / round_name / MARK / WEIGHTS
        return marked if marked.is_file() else self.rounds / round_name / TRAIN / WEIGHTS

    def model(self, round_name: str) -> Classifier:
        """The model of a round, on the device, in eval mode."""
        return load(self.weights(round_name), custom=self.custom)[0].to(self.device)

    @property
    def custom(self) -> Any:
        """The code of a network of the user's own, where it is one."""
        from harden.models import CustomModel

        return self.recipe.model if isinstance(self.recipe.model, CustomModel) else None

    def check(self) -> None:
        """Raises Interrupted where somebody asked to stop."""
        if self.stop():
            raise Interrupted("stopped on request")
