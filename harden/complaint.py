"""Hydra's and OmegaConf's errors in one line that says what exists."""

import difflib
import re
from collections.abc import Iterable

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from harden.errors import ConfigError, HardenError
from harden.schema import GROUPS, fields_of

Root = type


def of(error: BaseException, request: Root) -> HardenError:
    """`error`, raised while the command line was being turned into a request, as a ConfigError."""
    if isinstance(error, HardenError):
        return error
    chain = list(_causes(error))
    ours = next((one for one in chain if isinstance(one, HardenError)), None)
    if ours:
        return ours
    text = str(error)
    return (
        _unknown_option(error)
        or _unknown_key(text, chain, request)
        or _wrong_sign(text)
        or _wrong_value(chain)
        or _unreadable(error)
        or ConfigError(text.splitlines()[0] if text else type(error).__name__, "see --help")
    )


def _causes(error: BaseException) -> Iterable[BaseException]:
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__ or one.__context__


def _unknown_option(error: BaseException) -> HardenError | None:
    if not isinstance(error, MissingConfigException) or not error.missing_cfg_file:
        return None
    group, _, option = error.missing_cfg_file.removesuffix(".yaml").rpartition("/")
    if group not in GROUPS:
        return ConfigError(f"there is no option group '{group}'", f"groups: {', '.join(sorted(GROUPS))}")
    options = sorted(GROUPS[group])
    return ConfigError(
        f"{group} has no option '{option}'; there are: {', '.join(options)}",
        _nearest(option, options, f"{group}="),
    )


def _unknown_key(text: str, chain: list[BaseException], request: Root) -> HardenError | None:
    """A key that its node does not have, with the keys that it has."""
    if "not in" not in text and "is not in struct" not in text:
        return None
    inner = next((one for one in chain if isinstance(one, OmegaConfBaseException) and one.full_key), None)
    found = re.search(r"Could not (?:override|append to config|delete from config)[^']*'([^']+)'", text)
    key = inner.full_key if inner is not None and inner.full_key else (found.group(1) if found else "")
    kind = inner.object_type if inner is not None and fields_of(inner.object_type) else None
    if not key:
        return None
    name = str(key).rpartition(".")[2]
    keys = fields_of(kind or request)
    return ConfigError(
        f"there is no key '{found.group(1) if found else key}'; there are: {', '.join(keys)}",
        _nearest(name, keys, ""),
    )


def _wrong_sign(text: str) -> HardenError | None:
    """A group that wants a plus, or one that has it already."""
    if found := re.search(r"Could not override '([^'@]+)[^']*'\.\s*No match in the defaults list", text):
        return ConfigError(f"nothing is chosen for '{found.group(1)}' yet", f"write +{found.group(1)}=...")
    if found := re.search(r"Multiple values for ([^.]+)\.", text):
        return ConfigError(f"'{found.group(1)}' is chosen already", f"leave out the plus sign: {found.group(1)}=...")
    return None


def _wrong_value(chain: list[BaseException]) -> HardenError | None:
    for one in chain:
        if isinstance(one, OmegaConfBaseException) and one.full_key:
            return ConfigError(f"{one.full_key}: {(one.msg or str(one)).splitlines()[0]}", "see --help")
    return None


def _unreadable(error: BaseException) -> HardenError | None:
    if not isinstance(error, OverrideParseException):
        return None
    return ConfigError(
        f"'{error.override}' is not of the form key=value",
        "quote values with special characters: 'key=\"a b\"'",
    )


def _nearest(word: str, words: list[str], prefix: str) -> str:
    near = difflib.get_close_matches(word, words, n=1)
    return f"did you mean {prefix}{near[0]}?" if near else "see --help"
