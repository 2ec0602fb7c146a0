"""Networks from pixels to logits, and their weights in files.

`build` makes a fresh `Classifier` from a choice, `default_for` makes the choice, `save` and `load` carry it
through a file together with its `Card`.
"""

from harden.models.blocks import Activation
from harden.models.card import Card
from harden.models.classifier import Classifier
from harden.models.cnn import Cnn, CnnSmall
from harden.models.custom import CustomModel
from harden.models.mlp import Mlp
from harden.models.preact import PreActResNet18
from harden.models.registry import CHOICES, Choice, arguments_of, build, default_for, name_of
from harden.models.sealed import Keys, SealedState, digest_of_weights, is_sealed, opening, sealed_state
from harden.models.weights import load, load_into, read, save
from harden.models.wide import WideResNet

__all__ = [
    "CHOICES",
    "Activation",
    "Card",
    "Choice",
    "Classifier",
    "Cnn",
    "CnnSmall",
    "CustomModel",
    "Keys",
    "Mlp",
    "PreActResNet18",
    "SealedState",
    "WideResNet",
    "arguments_of",
    "build",
    "default_for",
    "digest_of_weights",
    "is_sealed",
    "load",
    "load_into",
    "name_of",
    "opening",
    "read",
    "save",
    "sealed_state",
]
