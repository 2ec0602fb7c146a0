"""Classifiers in and out of files: safetensors with a card inside, never a pickle.

A card names a model by its choice, and reading one runs no code. Only a custom model needs code, and that
is named by the caller, never by the file: an import path out of a stranger's file would be a pickle again.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from harden.errors import HardenError, Untrusted, WeightsError
from harden.files import canonical_json, write_bytes
from harden.models.card import Card, card_text, parse_card
from harden.models.classifier import Classifier
from harden.models.container import DAMAGED, decode, encode
from harden.models.custom import CustomModel
from harden.models.registry import CHOICES, build
from harden.seeds import stream

KEY = "harden"  # where the card lies in the metadata


def save(path: Path, model: Classifier, card: Card) -> str:
    """Writes the weights and the card at `path`, whole or not at all; returns the file's SHA-256 in hex.

    Equal weights and card give equal bytes, wherever the model lies. Raises WeightsError for weights that
    are not finite, which `read` would refuse.
    """
    tensors = {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }
    _check_finite(tensors, path)
    data = encode(tensors, {"format": "pt", KEY: card_text(card)})
    write_bytes(path, data)
    return hashlib.sha256(data).hexdigest()


def read(path: Path) -> tuple[dict[str, Tensor], Card]:
    """The tensors, as stored, and the card at `path`; builds no model.

    Raises Untrusted for a pickle, WeightsError where the file is damaged, not harden's, or not finite.
    """
    tensors, metadata = decode(path)
    if KEY not in metadata:
        raise WeightsError(
            f"{path}: has no card, so it does not say which model it holds",
            "it was not written by harden: load it in Python and write it with harden.models.save and a Card",
        )
    card = parse_card(metadata[KEY], path)
    _check_finite(tensors, path)
    return tensors, card


def load(path: Path, *, custom: CustomModel | None = None) -> tuple[Classifier, Card]:
    """The classifier at `path`, on the CPU in eval mode, and its card.

    `custom`: the code of a custom model, wanted for such a file and no other. Raises as `read` does,
    Untrusted where that code is not given, WeightsError where tensors and card do not agree.
    """
    tensors, card = read(path)
    model = _rebuilt(card, path, custom)
    model.load_state_dict(_fitting(tensors, model, card, path), assign=True)
    return model.eval(), card


def load_into(model: Classifier, path: Path) -> Card:
    """Copies the weights at `path`, `mean` and `std` among them, into `model`; returns their card.

    `model` is changed only as a whole. Raises as `read` does, and WeightsError for another architecture.
    """
    tensors, card = read(path)
    model.load_state_dict(_fitting(tensors, model, card, path))
    return card


def _rebuilt(card: Card, path: Path, custom: CustomModel | None) -> Classifier:
    if CHOICES.get(card.model) is CustomModel:
        return _from_code(card, path, custom)
    if custom is not None:
        raise WeightsError(f"{path}: holds model {card.model!r}, got the code of a custom model, {custom.entry}")
    return _outline(card, path)


def _outline(card: Card, path: Path) -> Classifier:
    """The model of the card without memory for its weights: a card that lies about sizes costs nothing."""
    if card.model not in CHOICES:
        raise WeightsError(f"{path}: holds model {card.model!r}, this harden knows {', '.join(CHOICES)}")
    try:
        choice = CHOICES[card.model](**card.arguments)
        with torch.device("meta"):
            net = choice.network(card.shape, len(card.classes))
            return Classifier(net, mean=[0.0] * card.shape[0], std=[1.0] * card.shape[0])
    except (HardenError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{path}: its card describes no {card.model} model: {reason}", DAMAGED) from error


def _from_code(card: Card, path: Path, custom: CustomModel | None) -> Classifier:
    """The custom model that the caller vouches for; `arguments` are part of what the weights mean."""
    if custom is None:
        entry = card.arguments.get("entry")
        raise Untrusted(
            f"{path}: needs code of its own, {entry!r}, which would run when the file is opened",
            f"if you trust that code: model=custom model.entry={entry}",
        )
    wanted, got = card.arguments.get("arguments"), custom.arguments
    if canonical_json(wanted) != canonical_json(got):
        raise WeightsError(f"{path}: was written with model.arguments {wanted}, got {got}")
    channels, classes = card.shape[0], len(card.classes)
    blank = {"mean": [0.0] * channels, "std": [1.0] * channels}
    return build(custom, shape=card.shape, classes=classes, **blank, rng=stream(0, "load"))


def _fitting(tensors: Mapping[str, Tensor], model: Classifier, card: Card, path: Path) -> dict[str, Tensor]:
    """`tensors` in the types of `model`'s own; raises WeightsError at the first that has no counterpart."""
    state = model.state_dict()
    for name, tensor in state.items():
        got = _kind(tensors[name]) if name in tensors else "missing"
        if got != (wanted := _kind(tensor)):
            raise _misfit(path, card, f"tensor {name} is {got}, wanted {wanted}")
    for name in sorted(tensors.keys() - state.keys()):
        raise _misfit(path, card, f"tensor {name!r} has no place in the model")
    return {name: tensor.to(state[name].dtype) for name, tensor in tensors.items()}


def _kind(tensor: Tensor) -> str:
    """Sort of number and shape. Every float is one sort: half precision fits a float32 model."""
    sort = "float" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")
    return f"{sort} of shape {tuple(tensor.shape)}"


def _misfit(path: Path, card: Card, what: str) -> WeightsError:
    return WeightsError(
        f"{path}: holds weights of model {card.model!r} that do not fit: {what}",
        f"they were written for images of shape {card.shape} and {len(card.classes)} classes",
    )


def _check_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.float().isfinite().all():
            raise WeightsError(f"{path}: tensor {name!r} holds values that are not finite")
