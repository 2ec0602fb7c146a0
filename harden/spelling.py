"""Configuration values as plain data, and back: what is logged, digested, compared and stored beside weights."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, get_args, get_type_hints

from harden.errors import ConfigError

KIND = "is"
"""The key under which a dataclass names itself."""


def spell(value: Any) -> Any:
    """`value` as dicts, lists, strings and numbers; a dataclass names itself under `is`, an Enum its member."""
    if is_dataclass(value) and not isinstance(value, type):
        return {KIND: type(value).__name__} | {f.name: spell(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Mapping):
        return {str(key): spell(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [spell(one) for one in value]
    return value


def read(plain: Any, known: Mapping[str, type]) -> Any:
    """The value that `spell` made `plain` of; `known` holds the dataclasses by name.

    Raises ConfigError on a class that is not known, a field that it does not have, or a value it refuses.
    """
    if isinstance(plain, list):
        return [read(one, known) for one in plain]
    if not isinstance(plain, dict):
        return plain
    inner = {key: read(one, known) for key, one in plain.items() if key != KIND}
    if KIND not in plain:
        return inner
    kind = known.get(str(plain[KIND]))
    if kind is None:
        raise ConfigError(f"'{plain[KIND]}' is no known kind of value", f"known: {', '.join(sorted(known))}")
    hints = get_type_hints(kind)
    try:
        return kind(**{key: _member(hints.get(key), one) for key, one in inner.items()})
    except TypeError as error:
        raise ConfigError(f"{plain[KIND]}: {error}") from error


def _member(hint: Any, value: Any) -> Any:
    """The Enum member that `value` names, where the field holds an Enum; else `value`."""
    for kind in (hint, *get_args(hint)):
        if isinstance(kind, type) and issubclass(kind, Enum) and isinstance(value, str):
            if value not in kind.__members__:
                raise ConfigError(f"'{value}' is no {kind.__name__}", f"there are: {', '.join(kind.__members__)}")
            return kind[value]
    return value
