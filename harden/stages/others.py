"""Other models on the same images: which of two is better, and whose images fool whom."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from harden.attacks import Loss, Pgd
from harden.errors import DataError, WeightsError
from harden.evaluation import Begin
from harden.evaluation.transfer import Matrix
from harden.loading import Opened
from harden.models import digest_of_weights
from harden.stages.desk import Desk, News


def compared(desk: Desk) -> News:
    """The other weights under the same suite, on the same images."""
    path = str(desk.asked.against)
    other = desk.another(path)
    attacks = desk.suite.own  # images made on one of the two would not be fair to the other
    yield from desk.standing("against", attacks, desk.threat, desk.findings.ids, other.model)
    desk.columns["against.robust"] = desk.columns.pop("against") == 1
    yield {"against": {"file": Path(path).name, "sha256": other.sha256, "attacks": list(attacks)}}


def transferred(desk: Desk) -> News:
    """The matrix over this model and the others that were named."""
    me = short(desk.subject.path)
    models = {me: desk.subject.model} | named_models(desk.asked.transfer, desk.another, taken=[me])
    digests = [desk.subject.sha256, *(desk.another(path).sha256 for path in desk.asked.transfer)]
    attack = Pgd(steps=50, loss=Loss.margin)
    matrix = Matrix(
        models,
        desk.split,
        desk.index,
        attack,
        desk.threat,
        rng=desk.rng.child("transfer"),
        batch_size=desk.size,
        eot=desk.asked.eot,
        crafted=desk.crafted,
    )
    yield Begin("transfer", "transfer matrix", len(desk.index) * len(models))
    yield from matrix
    desk.archive()
    if matrix.result is not None:
        desk.transfer = matrix.result.ahead(0)
        rows = [[vars(one) for one in row] for row in matrix.result.accuracy]
        found: dict[str, Any] = {"models": list(models), "sha256": digests, "attack": attack.label}
        yield {"transfer": found | {"accuracy": rows, "finding": list(matrix.result.finding)}}


def named_models(
    paths: Sequence[str], another: Callable[[str], Opened], taken: Sequence[str] = ()
) -> dict[str, torch.nn.Module]:
    """The models in these files, by names that differ from each other and from those `taken`."""
    models: dict[str, torch.nn.Module] = {}
    for path in paths:
        models[_unused(short(Path(path)), [*taken, *models])] = another(path).model
    return models


def same_images(other: Opened, subject: Opened) -> Opened:
    """`other`, if it belongs to the images of `subject`. Raises DataError."""
    if other.data.digest != subject.data.digest:
        raise DataError(
            f"{other.path} belongs to other images than {subject.path}: models are compared on the same ones",
            "name the data with data=...",
        )
    return other


def digest_of(path: str) -> str:
    """The digest of a file of weights that is compared with. Raises WeightsError where there is none."""
    if not Path(path).is_file():
        raise WeightsError(f"{path}: there is no such file", "name a weights file")
    return digest_of_weights(Path(path))


def short(path: Path) -> str:
    """What a model is called in a table: its run's folder and its role."""
    return f"{path.resolve().parent.name}/{path.stem}"


def _unused(name: str, taken: Sequence[str]) -> str:
    number = 2
    unique = name
    while unique in taken:
        unique, number = f"{name} ({number})", number + 1
    return unique
