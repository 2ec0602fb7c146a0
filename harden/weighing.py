"""Weights that a mark goes into or is looked for in, as doors read them; and what they are worth before and after."""

import copy
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from harden.attacks import Pgd
from harden.errors import ConfigError, HardenError, WatermarkError
from harden.evaluation import Outcome, judge
from harden.evaluation.paired import Paired, paired
from harden.loading import Opened, opened
from harden.marking import EmbedRequest, Scoring
from harden.models.container import decode
from harden.models.weights import KEY
from harden.seeds import stream
from harden.training.results import threat_of

logger = logging.getLogger(__name__)

BATCH = 250


@dataclass(frozen=True)
class Loaded:
    """A weights file: tensors and metadata, which holds the card where harden wrote it."""

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def loaded(path: Path) -> Loaded:
    """The file, plain or sealed. Raises as `harden.models.read` does, WatermarkError where numbers are not finite."""
    tensors, metadata = decode(path)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor.sum(dtype=torch.float32))):
            raise WatermarkError(f"{path}: tensor {name!r} holds values that are not finite")
    return Loaded(path, tensors, metadata)


def renamed(weights: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The tensors under the names that a file of lines `name here = name in the claim` gives them."""
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    names = {}
    for line in lines:
        if line and not line.startswith("#"):
            here, found, there = (part.strip() for part in line.partition("="))
            if not found or not here or not there:
                raise ConfigError(f"{path}: wanted lines of `name here = name in the claim`, got {line!r}")
            names[here] = there
    if missing := sorted(names.keys() - weights.keys()):
        raise ConfigError(f"{path}: the suspect has no tensor {missing[0]!r}")
    return {names.get(name, name): tensor for name, tensor in weights.items()}


class Scale:
    """Measures a network with other weights put in, always on the same images under the same attack."""

    def __init__(self, subject: Opened, scoring: Scoring) -> None:
        self.subject, self.scoring = subject, scoring
        count = min(scoring.images, len(subject.data.test))
        self.ids = torch.arange(count, device=subject.device)
        self.before = self.weigh(subject.model.state_dict())

    def weigh(self, weights: Mapping[str, Tensor]) -> Outcome:
        """What becomes of the images under these weights."""
        model = copy.deepcopy(self.subject.model)
        model.load_state_dict({name: weights[name] for name in model.state_dict()})
        return judge(
            model.eval(),
            self.subject.test,
            self.ids,
            Pgd(steps=self.scoring.steps),
            threat_of(self.subject.card),
            rng=stream(0, "watermark"),
            batch_size=BATCH,
        )

    def change(self, after: Outcome) -> dict[str, Paired]:
        """Clean and robust, before against after, image by image."""
        before = self.before
        return {"clean": paired(before.clean, after.clean), "robust": paired(before.robust, after.robust)}


def scale_for(request: EmbedRequest, found: Loaded) -> Scale | None:
    """What measures the weights before and after, where the network and its images are at hand; else None, and why."""
    if not request.score.images:
        return None
    if KEY not in found.metadata:
        logger.info("accuracy is not measured: %s does not say which network it is", found.path)
        return None
    try:
        subject = opened(found.path, device="cpu", batch_size=BATCH, data=request.data)
    except HardenError as error:
        logger.warning("accuracy is not measured: %s", error.message)
        return None
    return Scale(subject, request.score)
