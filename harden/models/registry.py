"""Which networks there are, and how a choice becomes one."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from harden.errors import ConfigError, HardenError
from harden.models.classifier import Classifier
from harden.models.cnn import Cnn, CnnSmall
from harden.models.custom import CustomModel
from harden.models.limits import Shape
from harden.models.mlp import Mlp
from harden.models.preact import PreActResNet18
from harden.models.wide import WideResNet
from harden.seeds import Stream, seeded

Choice = Mlp | CnnSmall | Cnn | PreActResNet18 | WideResNet | CustomModel
"""What a user may pick as a model; `choice.network(shape, classes)` is the bare network."""

CHOICES: dict[str, type[Choice]] = {
    "mlp": Mlp,
    "cnn_small": CnnSmall,
    "cnn": Cnn,
    "preact_resnet18": PreActResNet18,
    "wrn_28_10": WideResNet,
    "custom": CustomModel,
}


def name_of(choice: Choice) -> str:
    """The name under which `choice` is picked, `model=<name>`."""
    return next(name for name, kind in CHOICES.items() if type(choice) is kind)


def arguments_of(choice: Choice) -> dict[str, Any]:
    """The options of `choice` as plain JSON values: `CHOICES[name_of(choice)](**arguments)` gives it back."""
    return {key: str(value) if isinstance(value, str) else value for key, value in asdict(choice).items()}


def default_for(shape: Shape) -> Choice:
    """A network that trains well on images of `shape` (channels, height, width) without being asked."""
    if min(shape[1:]) <= 16:
        return CnnSmall()
    return Cnn() if shape[0] == 1 else PreActResNet18()


def build(
    choice: Choice,
    *,
    shape: Shape,
    classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    rng: Stream,
) -> Classifier:
    """A fresh classifier on the CPU, in training mode, its first weights drawn from `rng`.

    `mean` and `std` are in pixels of [0, 1], one a channel; a custom model normalises itself and gets 0
    and 1. Torch's global generator is left as it was. Raises ConfigError where the images are too small, or
    a blank image does not give finite logits of shape (1, classes).
    """
    if len(mean) != shape[0] or classes < 1:
        raise ValueError(f"wanted a mean a channel and a class, got shape {shape}, {mean}, {classes} classes")
    if isinstance(choice, CustomModel):
        mean, std = [0.0] * shape[0], [1.0] * shape[0]
    with seeded(rng):
        model = Classifier(choice.network(shape, classes), mean=mean, std=std)
        _check_logits(_probe(model, name_of(choice), shape), name_of(choice), classes)
    return model.train()


def _probe(model: Classifier, name: str, shape: Shape) -> Any:
    """What the model says to one blank image. In eval mode, so that no batch statistic moves."""
    try:
        with torch.no_grad():
            return model.eval()(torch.zeros(1, *shape))
    except HardenError:
        raise
    except Exception as error:  # a custom network may fail in any way
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"model {name} cannot take an image of shape {shape}: {reason}") from error


def _check_logits(logits: Any, name: str, classes: int) -> None:
    wanted = f"wanted logits of shape (1, {classes}) for one image"
    if not isinstance(logits, Tensor):
        raise ConfigError(f"model {name}: {wanted}, got {type(logits).__name__}")
    if logits.shape != (1, classes) or not logits.is_floating_point():
        raise ConfigError(f"model {name}: {wanted}, got {logits.dtype} of shape {tuple(logits.shape)}")
    if not logits.isfinite().all():
        raise ConfigError(f"model {name}: {wanted}, got values that are not finite for a blank image")
