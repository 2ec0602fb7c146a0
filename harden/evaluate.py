"""Measure a weights file under attack: `python -m harden.evaluate weights=F`.

The file says which network it is, on which data it was trained and against which threat; each can be said anew.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import torch

from harden import door
from harden.attacks import Keep, Pgd
from harden.console import Downloads, evaluation_table, watching
from harden.data import DataChoice, DataSet, load
from harden.errors import ConfigError, DataError, Untrusted
from harden.evaluation import Outcome, joined, judging
from harden.evaluation.request import EvaluateRequest
from harden.models import Card, CustomModel
from harden.models import load as load_weights
from harden.schema import recalled
from harden.seeds import stream
from harden.training import Begin, Compute, Judged, Judging, TrainRequest
from harden.training import folder as place
from harden.training.results import threat_of


def main() -> NoReturn:
    """Runs the command line."""
    door.run("evaluate", EvaluateRequest, work)


def work(request: EvaluateRequest, _overrides: list[str]) -> int:
    """Loads, attacks, prints; 0."""
    path, compute = Path(str(request.weights)), Compute(device=request.device)
    device = compute.where()
    model, card = load_weights(path, custom=_custom(request))
    data = _data(request, card, path)
    if threads := compute.threads_for(request.batch_size * math.prod(data.shape)):
        torch.set_num_threads(threads)
    attack = request.attack or Judging().attack
    if isinstance(attack, Pgd):
        attack = replace(attack, keep=Keep.best)  # training may want the last iterate, measuring never does
    threat = request.threat or threat_of(card)
    ids = torch.arange(min(request.images or len(data.test), len(data.test)), device=device)
    rng = stream(request.seed, "judge")
    parts = judging(model.to(device), data.test.on(device), ids, attack, threat, rng=rng, batch_size=request.batch_size)
    outcome = _watched(parts, len(ids))
    evaluation_table(outcome, data=data.name, attack=attack.label, threat=threat.label, weights=path)
    return 0


def _watched(parts: Iterator[Outcome], images: int) -> Outcome:
    """All parts in one, with progress on stderr while they come."""
    done = []
    with watching() as watch:
        watch(Begin("judge", "attack", images))
        for part in parts:
            done.append(part)
            watch(Judged(len(part.clean)))
    return joined(done)


def _custom(request: EvaluateRequest) -> CustomModel | None:
    if request.model is None or isinstance(request.model, CustomModel):
        return request.model
    raise ConfigError("the weights file says which network it is", "leave out model=..., or say model=custom")


def _data(request: EvaluateRequest, card: Card, path: Path) -> DataSet:
    """The data set asked for, or the one the weights were trained on, which must then be the very same."""
    choice = request.data or _as_trained(card, path)
    downloads = Downloads()
    try:
        data = load(choice, progress=downloads)
    finally:
        downloads.close()
    if data.shape != card.shape or len(data.classes) != len(card.classes):
        got, wanted = (data.shape, len(data.classes)), (card.shape, len(card.classes))
        raise DataError(
            f"{data.name} has images {got[0]} of {got[1]} classes, the model takes {wanted[0]} of {wanted[1]}"
        )
    if data.classes != card.classes:
        mine, theirs = ", ".join(data.classes), ", ".join(card.classes)
        raise DataError(f"{data.name} has the classes {mine}; the model was trained on {theirs}")
    if request.data is None and data.digest != card.data_digest:
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


if __name__ == "__main__":
    main()
