"""Hydra's and OmegaConf's errors in one line of our own: what, got, wanted.

`harden.overrides` has checked keys and options before; what is left is values of a wrong type, and what comes
from options of the user's own.
"""

import re
from collections.abc import Iterator

from hydra.errors import MissingConfigException
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from harden.errors import ConfigError, HardenError
from harden.sealing.suites import hint_of

KINDS = {"Integer": "a whole number", "Float": "a number"}
"""What OmegaConf calls a type, and what a user does."""


def of(error: BaseException) -> HardenError:
    """`error`, raised while the command line was being turned into a request, as a HardenError."""
    chain = list(_causes(error))
    for one in chain:
        if isinstance(one, HardenError):
            return one
    for one in chain:
        if isinstance(one, MissingConfigException) and one.missing_cfg_file:
            return _missing(one, one.missing_cfg_file)
    for one in chain:
        if isinstance(one, OmegaConfBaseException) and one.full_key:
            return _wrong_value(one, one.full_key)
    lines = str(error).splitlines() or [type(error).__name__]
    return ConfigError(_lower(lines[0]), "see --help")


def _causes(error: BaseException) -> Iterator[BaseException]:
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__ or one.__context__


def _missing(error: MissingConfigException, file: str) -> HardenError:
    group, _, option = file.removesuffix(".yaml").rpartition("/")
    if not error.options:
        return ConfigError(f"there is no configuration called '{file}'", "see --help")
    return ConfigError(f"{group} has no option '{option}'; there are: {', '.join(error.options)}")


def _wrong_value(error: OmegaConfBaseException, key: str) -> HardenError:
    """`error` at `key` as 'key must be ..., got ...' where its text is one we know."""
    text = str(error.msg or error).splitlines()[0]
    if isinstance(error, MissingMandatoryValue):
        return ConfigError(f"{key} must have a value, got ???")
    if found := re.fullmatch(r"Value (.*) of type '.*' could not be converted to (\w+)", text):
        return ConfigError(f"{key} must be {KINDS.get(found[2], found[2].lower())}, got {found[1]}")
    if found := re.fullmatch(r"Value (.*) is not a valid bool.*", text):
        return ConfigError(f"{key} must be true or false, got {found[1]}")
    if found := re.fullmatch(r"Invalid value (.*), expected one of \[(.*)\]", text):
        return ConfigError(f"{key} must be one of {found[2]}, got {found[1]}", hint_of(found[1]))
    if text.endswith("is not in struct"):
        return ConfigError(f"there is no key {key}", f"if it is to be added, write +{key}=...")
    if text.endswith("is not Optional"):
        return ConfigError(f"{key} must have a value, got null")
    return ConfigError(f"{key}: {_lower(text)}", "see --help")


def _lower(text: str) -> str:
    """`text` as our messages are written: it begins small, names apart, and ends without a full stop."""
    first = text.split(maxsplit=1)[:1]
    is_name = any(word[1:] != word[1:].lower() for word in first)
    return (text if is_name else text[:1].lower() + text[1:]).rstrip(".")
