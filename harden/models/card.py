"""What a weights file says about itself: enough to rebuild the model, and where it comes from."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harden import __version__
from harden.errors import WeightsError
from harden.files import canonical_json
from harden.models.limits import Shape

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Card:
    """The description inside a weights file. Free fields hold plain JSON values: lists, not tuples.

    model, arguments: the choice and its options, see `name_of` and `arguments_of`.
    shape: (channels, height, width) of one image; classes: their names, in the order of the logits.
    data: the data choice and its options without local paths; data_name: how it is printed;
    data_digest: what its bytes hash to. threat: norm, eps, low and high, or None for clean training.
    training: objective, attack, seed, recipe digest, role. harden: the version that wrote the file.
    """

    format: int = FORMAT
    model: str
    arguments: dict[str, Any]
    shape: Shape
    classes: tuple[str, ...]
    data: dict[str, Any]
    data_name: str
    data_digest: str
    threat: dict[str, Any] | None = None
    training: dict[str, Any] = field(default_factory=dict)
    harden: str = __version__

    def __post_init__(self) -> None:
        channels, height, width = self.shape
        object.__setattr__(self, "shape", (channels, height, width))
        object.__setattr__(self, "classes", tuple(self.classes))


def card_text(card: Card) -> str:
    """The card as canonical JSON, equal for equal cards; TypeError or ValueError for other values."""
    return canonical_json(asdict(card)).decode()


def parse_card(text: str, path: Path) -> Card:
    """The card that `card_text` wrote; raises WeightsError, naming `path`, where it is none or too new."""
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "is not JSON") from error
    if not isinstance(raw, dict):
        raise _damaged(path, f"must be a JSON object, got {type(raw).__name__}")
    _check_format(raw, path)
    _check_fields(raw, path)
    return Card(**raw)


def _check_format(raw: dict[str, Any], path: Path) -> None:
    found = raw.get("format")
    if _is_count(found) and found != FORMAT:
        raise WeightsError(
            f"{path}: its card has format {found}, this harden reads format {FORMAT}",
            f"it was written by harden {raw.get('harden')}: install that version or a later one",
        )


def _check_fields(raw: dict[str, Any], path: Path) -> None:
    for name in sorted(FIELDS.keys() | raw.keys()):
        if name not in raw:
            raise _damaged(path, f"lacks {name!r}")
        if name not in FIELDS:
            raise _damaged(path, f"has the unknown field {name!r}")
        wanted, fits = FIELDS[name]
        if not fits(raw[name]):
            raise _damaged(path, f"has a wrong {name!r}, wanted {wanted}")


def _damaged(path: Path, what: str) -> WeightsError:
    return WeightsError(f"{path}: its card {what}", "the file was damaged or edited: get a fresh copy")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 1  # not isinstance, as True is an int and no count


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(map(_is_count, value))


def _is_classes(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(map(_is_text, value))


FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "format": ("a number from 1", _is_count),
    "model": ("text", _is_text),
    "arguments": ("an object", _is_mapping),
    "shape": ("three numbers from 1", _is_shape),
    "classes": ("a list of names", _is_classes),
    "data": ("an object", _is_mapping),
    "data_name": ("text", _is_text),
    "data_digest": ("text", _is_text),
    "threat": ("an object or null", lambda value: value is None or _is_mapping(value)),
    "training": ("an object", _is_mapping),
    "harden": ("text", _is_text),
}
