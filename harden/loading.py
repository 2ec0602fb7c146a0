"""A weights file and the data that it belongs to, as doors ask for them."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from harden.console import downloads
from harden.data import DataChoice, DataSet, Split, load
from harden.errors import ConfigError, DataError, Untrusted
from harden.models import Card, Classifier, CustomModel, digest_of_weights
from harden.models import load as load_weights
from harden.schema import recalled
from harden.training import Compute, TrainRequest
from harden.training import folder as place


@dataclass(frozen=True)
class Opened:
    """A model on its device, in eval mode, with its card and its data.

    `sha256`: the digest of the weights file; of a sealed one, that of what is sealed in it.
    """

    path: Path
    sha256: str
    model: Classifier
    card: Card
    data: DataSet
    device: torch.device

    @property
    def test(self) -> Split:
        """The test images, with batches on the model's device."""
        return self.data.test.on(self.device)


def opened(weights: str | Path, *, device: str, batch_size: int, data: Any = None, custom: Any = None) -> Opened:
    """The file `weights`, checked, and its data: `data`, or what the file names, which must then be the very same.

    Sets the number of threads that suits the batches. Raises ConfigError, DataError, WeightsError, Untrusted.
    """
    path, compute = Path(weights), Compute(device=device)
    where = compute.where()
    model, card = load_weights(path, custom=_custom(custom))
    found = _data(data, card, path)
    if threads := compute.threads_for(batch_size * math.prod(found.shape)):
        torch.set_num_threads(threads)
    return Opened(path, digest_of_weights(path), model.to(where), card, found, where)


def _custom(model: Any) -> CustomModel | None:
    if model is None or isinstance(model, CustomModel):
        return model
    raise ConfigError("the weights file says which network it is", "leave out model=..., or say model=custom")


def _data(asked: DataChoice | None, card: Card, path: Path) -> DataSet:
    choice = asked or _as_trained(card, path)
    with downloads() as progress:
        data = load(choice, progress=progress)
    if data.shape != card.shape or len(data.classes) != len(card.classes):
        got, wanted = (data.shape, len(data.classes)), (card.shape, len(card.classes))
        raise DataError(
            f"{data.name} has images {got[0]} of {got[1]} classes, the model takes {wanted[0]} of {wanted[1]}"
        )
    if data.classes != card.classes:
        mine, theirs = ", ".join(data.classes), ", ".join(card.classes)
        raise DataError(f"{data.name} has the classes {mine}; the model was trained on {theirs}")
    if asked is None and data.digest != card.data_digest:
        raise Untrusted(
            f"{data.name} is not what the model was trained on: its digest is {data.digest}, wanted {card.data_digest}",
            "name the data with data=... to measure on other images",
        )
    return data


def _as_trained(card: Card, path: Path) -> DataChoice:
    """The data choice in the file; where its files lie is told by the configuration beside the weights."""
    if card.data.get("is") == "Custom":
        raise ConfigError("the model was trained on data of your own", "say data=custom data.entry=module:function")
    choice: DataChoice = recalled(card.data, DataChoice, where=str(path))
    config = path.parent / place.CONFIG
    if not hasattr(choice, "root") or not config.is_file():
        return choice
    beside = recalled(place.read_config(path.parent), TrainRequest, where=str(config)).data
    return beside if type(beside) is type(choice) else choice
