"""What the words of a command line say, checked against what exists, before Hydra composes them.

Hydra refuses what it cannot merge but does not say what there is, and its wording differs between versions.
Here a wrong word is answered with the keys and options that would have been right.
"""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import OverrideParseException

from harden.errors import ConfigError
from harden.schema import APPENDED, GROUPS, fields_of

SECRET = "AGE-SECRET-KEY-"
"""How the secret keys of age begin, the only ones that fit into a word."""

ELSEWHERE = "hydra.searchpath"
"""Where this key is given, options may come from a folder of the user's."""


def quoted(words: Sequence[str], request: type) -> list[str]:
    """The words, with those values in quotes that are plain text to `request` and no value to Hydra's grammar.

    So a path with an equals sign or the URI of a token is written once, for the shell alone.
    """
    texts = {name for name, kind in get_type_hints(request).items() if kind in (str, str | None)}
    return [_quoted(word) if word.partition("=")[0] in texts else word for word in words]


def _quoted(word: str) -> str:
    key, _, value = word.partition("=")
    try:
        OverridesParser.create().parse_overrides([word])
    except OverrideParseException:
        return word if set(value) & set("'\\$") else f"{key}='{value}'"  # those mean something between quotes too
    return word


def check(words: Sequence[str], request: type, *, multirun: bool) -> None:
    """Nothing if `words` name keys and options that `request` has; ConfigError for the first that does not."""
    _refuse_secrets(words)
    overrides = [_parsed(word) for word in words]
    ours = [one for one in overrides if not one.key_or_group.startswith("hydra")]
    table = _Table(request, ours, strict=all(one.key_or_group != ELSEWHERE for one in overrides))
    for one in ours:
        if one.is_delete():
            raise ConfigError(f"nothing can be left out, got {one.input_line}", "say key=value to change a value")
        if one.is_sweep_override() and not multirun:
            raise ConfigError(
                f"{one.input_line} names several values",
                f"to run with each of them put -m first: -m {one.input_line}; for one list write key=[a,b]",
            )
        if one.key_or_group in table.groups:
            table.check_choice(one)
        else:
            table.check_key(one)


@dataclass(frozen=True)
class _Table:
    """What `request` has once `overrides` have chosen the options. Not `strict`: there may be more options."""

    request: type
    overrides: list[Override]
    strict: bool

    @property
    def groups(self) -> list[str]:
        """The option groups of the request."""
        return [name for name in fields_of(self.request) if name in GROUPS]

    def check_choice(self, one: Override) -> None:
        """Refuses an option that is not there, and a plus sign too many or too few."""
        group = one.key_or_group
        options, ask = sorted(GROUPS[group]), self._ask(group)
        for option in _values(one):
            if not isinstance(option, str):
                got = "null" if option is None else option
                raise ConfigError(f"{group} takes the name of one option, got {got}; there are: {', '.join(options)}")
            if self.strict and option not in options:
                raise ConfigError(
                    f"{group} has no option '{option}'; there are: {', '.join(options)}", _nearest(option, options, ask)
                )
        self._check_sign(one, ask)

    def check_key(self, one: Override) -> None:
        """Refuses a key that is not there, and a plus sign before one that is."""
        path = one.key_or_group.split(".")
        kinds, left = self._descend(path)
        if left and left[0] not in _names(kinds):
            raise self._unknown(path, len(path) - len(left), kinds)
        if not left and not isinstance(one.value(), dict):
            raise ConfigError(f"{one.key_or_group} is no single value; it has: {', '.join(_names(kinds))}")
        if len(path) > 1 and path[0] in self.groups:
            self._check_sweep(one, path[0], path[1])
        if len(left) == 1 and one.is_add() and not one.is_force_add():
            raise ConfigError(
                f"there is a key {one.key_or_group} already",
                f"leave out the plus sign: {one.key_or_group}={_text(one)}",
            )

    def _descend(self, path: list[str]) -> tuple[list[Any], list[str]]:
        """The last section on `path`, as the dataclasses it may be, and the names that are left then."""
        kinds, left = [self.request], path
        while left:
            below = _below(kinds, left[0])
            if left is path and path[0] in self.groups:
                below = self._chosen(path[0])
                if not below:
                    raise self._unchosen(".".join(path), path[0])
            if not below or not is_dataclass(below[0]):
                break  # a value, or an option whose keys are not known here
            kinds, left = below, left[1:]
        return kinds, left

    def _ask(self, group: str) -> str:
        """How an option of `group` is asked for."""
        return f"+{group}=" if group in APPENDED.get(self.request, ()) else f"{group}="

    def _check_sign(self, one: Override, ask: str) -> None:
        group = one.key_or_group
        same = [str(other.input_line) for other in self.overrides if other.key_or_group == group]
        if len(same) > 1 and ask.startswith("+"):
            raise ConfigError(f"{group} is chosen twice: {' and '.join(same)}", "say one of them")
        if one.package is not None:
            raise ConfigError(f"{one.input_line}: an option of {group} has one place only", f"write {ask}...")
        if one.is_add() and not ask.startswith("+"):
            raise ConfigError(
                f"{one.input_line} has a plus sign, but {group} is chosen already", f"write {ask}{_text(one)}"
            )
        if ask.startswith("+") and not one.is_add():
            raise ConfigError(
                f"{one.input_line} lacks a plus sign: no {group} is chosen so far", f"write {ask}{_text(one)}"
            )

    def _chosen(self, group: str) -> list[Any]:
        """The dataclasses of the options chosen for `group`: several in a sweep, none where nothing is."""
        said = [one for one in self.overrides if one.key_or_group == group]
        if said:
            return [GROUPS[group].get(str(option)) for option in _values(said[-1])]
        return self._unasked(group)

    def _unasked(self, group: str) -> list[Any]:
        """The dataclass that stands in the field `group` where nobody chooses; none where that is None."""
        default = next(_default(field) for field in fields(self.request) if field.name == group)
        return [] if default is None else [type(default)]

    def _check_sweep(self, one: Override, group: str, name: str) -> None:
        """Hydra composes once without what is swept over, and then refuses keys of swept options."""
        swept = any(other.key_or_group == group and other.is_sweep_override() for other in self.overrides)
        if swept and not one.is_force_add() and name not in _names(self._unasked(group)):
            raise ConfigError(
                f"{one.key_or_group} belongs to options of a sweep over {group}",
                f"write ++{one.key_or_group}={_text(one)}",
            )

    def _unchosen(self, key: str, group: str) -> ConfigError:
        options = ", ".join(sorted(GROUPS[group]))
        return ConfigError(
            f"there is no key {key}: nothing is chosen for {group}",
            f"choose by {self._ask(group)}; there are: {options}",
        )

    def _unknown(self, path: list[str], depth: int, kinds: list[Any]) -> ConfigError:
        section, names = ".".join(path[:depth]), _names(kinds)
        has = f"{section} has" if section else "there are"
        message = f"there is no key {'.'.join(path)}; {has}: {', '.join(names)}"
        near = _nearest(path[depth], [f"{section}.{name}" if section else name for name in names], "")
        return ConfigError(message, near or _nearest(path[-1], list(self._everything()), "") or "see --help")

    def _everything(self) -> Iterator[str]:
        """All keys, dotted, of the sections and of the options chosen."""
        for name in fields_of(self.request):
            yield name
            below = self._chosen(name) if name in self.groups else _below([self.request], name)
            yield from (f"{name}.{key}" for key in _names(below))


def _refuse_secrets(words: Sequence[str]) -> None:
    """Raises ConfigError, which does not repeat it, for a secret key in the place of a file: it would be in logs."""
    for word in words:
        key, equals, _ = word.partition("=")
        if SECRET in word.upper():
            where = key if equals and SECRET not in key.upper() else "the command line"
            raise ConfigError(
                f"{where} names files, got a secret key itself",
                "write it to a file of mode 0600; if others could see the command, make a new key",
            )


def _parsed(word: str) -> Override:
    wanted = "quote a value with special characters, for the shell too: 'output=\"a=b\"'"
    try:
        (override,) = OverridesParser.create().parse_overrides([word])
    except OverrideParseException as error:
        raise ConfigError(f"{word} is not of the form key=value", wanted) from error
    if not override.key_or_group:
        raise ConfigError(f"{word} is not of the form key=value", wanted)
    return override


def _values(one: Override) -> list[Any]:
    """The one value of an override, or all those of a sweep."""
    return list(one.sweep_iterator()) if one.is_discrete_sweep() else [one.value()]


def _text(one: Override) -> str:
    return str(one.input_line).partition("=")[2]


def _names(kinds: Sequence[Any]) -> list[str]:
    return sorted({name for kind in kinds for name in fields_of(kind)})


def _below(kinds: Sequence[Any], name: str) -> list[Any]:
    """The types of the field `name`."""
    return [hints[name] for hints in map(get_type_hints, kinds) if name in hints]


def _default(field: Any) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _nearest(word: str, words: list[str], prefix: str) -> str:
    """A hint at the one of `words` whose last part is most like `word`, or nothing."""
    last = {one.rpartition(".")[2]: one for one in reversed(words)}
    near = difflib.get_close_matches(word, last, n=1)
    return f"did you mean {prefix}{last[near[0]]}?" if near else ""
