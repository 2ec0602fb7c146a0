"""A user's own code by name: `package.module:name`, found in the current folder or where it is installed.

Only the caller's options may name an entry. A name that comes out of a data or weights file is no name to
resolve: importing runs code.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from harden.errors import ConfigError

SPELLING = "spell it package.module:name, for example mynets:build, with mynets.py in the current folder"


def resolve(entry: str, *, option: str) -> Any:
    """The object that `entry` names, spelled `package.module:name`.

    `option` is the key the user wrote, such as `model.entry`; every message begins with it. The current
    folder is importable while the module is imported, and no longer. Raises ConfigError where the spelling
    is wrong, the module is not found or fails while it is imported, or holds no such name.
    """
    module_name, name = _split(entry, option)
    module = _import(module_name, option)
    try:
        return getattr(module, name)
    except AttributeError as error:
        raise ConfigError(
            f"{option}: module {module_name} holds no {name!r}, got {entry!r}",
            f"module {module_name} was read from {getattr(module, '__file__', None) or 'memory'}",
        ) from error


def _split(entry: str, option: str) -> tuple[str, str]:
    module_name, _, name = entry.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), name]):
        raise ConfigError(f"{option} must name an object as package.module:name, got {entry!r}", SPELLING)
    return module_name, name


def _import(module_name: str, option: str) -> ModuleType:
    try:
        with current_folder_importable():
            return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise ConfigError(f"{option}: there is no module {module_name!r}", SPELLING) from error
        raise _failed(module_name, option, error) from error
    except Exception as error:  # the module is the user's: what its top level raises is open
        raise _failed(module_name, option, error) from error


@contextmanager
def current_folder_importable() -> Iterator[None]:
    """As under `python -m`: the current folder stands first. The user's own changes to the path survive.

    Code that was resolved is to be called inside too: it may import its neighbours only then.
    """
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    importlib.invalidate_caches()  # a module written a moment ago is not in the finders' listing yet
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def _failed(module_name: str, option: str, error: Exception) -> ConfigError:
    reason = " ".join(str(error).split()) or "no message"
    return ConfigError(
        f"{option}: importing {module_name} failed: {type(error).__name__}: {reason}",
        f'see where with: python -c "import {module_name}"',
    )
