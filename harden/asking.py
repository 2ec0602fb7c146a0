"""Passphrases, from a terminal or a descriptor: never from the command line, a configuration or the environment."""

import getpass
import os
import sys
from collections.abc import Callable

from harden.errors import ConfigError

LONGEST = 4096

Ask = Callable[[str], str]


def asker(descriptor: int | None) -> Ask:
    """What asks for a passphrase: the next line of the descriptor, or a prompt on the terminal."""
    return _prompt if descriptor is None else lambda what: _line(descriptor, what)


def chosen(descriptor: int | None, what: str) -> str:
    """A new passphrase: on the terminal asked for twice. Raises ConfigError where it is empty, or the two differ."""
    ask = asker(descriptor)
    first = ask(what)
    if not first:
        raise ConfigError("a passphrase must have at least one character", "or say protect=none")
    if descriptor is None and ask(f"{what}, again") != first:
        raise ConfigError("the two passphrases differ", "try again")
    return first


def _prompt(what: str) -> str:
    try:
        if not sys.stdin.isatty():
            raise OSError("no terminal")
        return getpass.getpass(f"passphrase for {what}: ")
    except (OSError, EOFError) as error:
        raise ConfigError(
            f"a passphrase for {what} is needed, and there is no terminal to ask on",
            "hand it over on a descriptor: passphrase_fd=3 3<FILE",
        ) from error


def _line(descriptor: int, what: str) -> str:
    """One line; a byte at a time, as what follows is the next passphrase, and perhaps another process's."""
    line = bytearray()
    try:
        while len(line) <= LONGEST and (byte := os.read(descriptor, 1)) not in (b"", b"\n"):
            line += byte
        text = line.decode()
    except OSError as error:
        raise ConfigError(f"passphrase_fd={descriptor} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the passphrase for {what} on descriptor {descriptor} is not UTF-8") from error
    if not 1 <= len(line) <= LONGEST:
        raise ConfigError(f"descriptor {descriptor} holds no passphrase for {what}", "one line each, in order")
    return text
