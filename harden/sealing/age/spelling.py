"""Keys as people write them: `age1pq1...` to write to, `AGE-SECRET-KEY-...` to read with, and age's identity files.

A message never quotes a secret, and says what to do about a key of another kind.
"""

from collections.abc import Callable
from typing import TypeAlias

from harden.errors import ConfigError
from harden.sealing.age import bech32, classical, hybrid
from harden.sealing.age.classical import Passphrase, X25519Identity
from harden.sealing.age.hybrid import HybridIdentity, HybridRecipient

Identity: TypeAlias = HybridIdentity | X25519Identity | Passphrase

_IDENTITIES: dict[str, Callable[[bytes], HybridIdentity | X25519Identity]] = {
    hybrid.IDENTITY: HybridIdentity,
    classical.IDENTITY: X25519Identity,
}
_LONGEST = 4096  # a recipient has 1959 characters
_MAKE_ONE = "age-keygen -pq (age 1.3 or newer) makes a recipient age1pq1..."
_OTHERS = (
    ("age1tag", "a recipient of a hardware key"),
    ("age1", "a classical recipient, which a quantum computer would open"),
    ("ssh-", "an SSH key"),
)


def recipient_of(text: str) -> HybridRecipient:
    """The recipient that `age1pq1...` spells. Raises ConfigError for anything else."""
    text = text.strip()
    if text.upper().startswith(classical.IDENTITY):
        raise ConfigError(
            "a secret key was given where a recipient belongs",
            "give its age1pq1... instead; if others could see the command, make a new key",
        )
    if not text.startswith(hybrid.RECIPIENT + "1"):
        raise ConfigError(f"{_short(text)!r} is {_kind(text)}, wanted age1pq1...", _MAKE_ONE)
    try:
        if len(text) > _LONGEST:
            raise ValueError(f"it has {len(text)} characters, wanted 1959")
        return HybridRecipient(bech32.decode(text)[1])
    except ValueError as error:
        raise ConfigError(f"the recipient {_short(text)}: {_lower(error)}", "copy it again, whole") from error


def identity_of(text: str) -> HybridIdentity | X25519Identity:
    """The identity that `AGE-SECRET-KEY-...` spells. Raises ConfigError, which does not quote it, for anything else."""
    text = text.strip()
    if not text.startswith(classical.IDENTITY) or len(text) > _LONGEST:
        raise ConfigError("not an age identity", "wanted AGE-SECRET-KEY-PQ-1... or AGE-SECRET-KEY-1...")
    try:
        prefix, secret = bech32.decode(text)
        if prefix not in _IDENTITIES:
            raise ValueError("it is of an unknown kind, such as a plugin's")
        return _IDENTITIES[prefix](secret)
    except ValueError as error:
        raise ConfigError(f"an age identity that cannot be read: {_lower(error)}", "copy it again, whole") from error


def identities_of(text: str) -> list[HybridIdentity | X25519Identity]:
    """The identities of a file as age-keygen writes it: one a line, empty lines and lines that begin with # aside.

    Raises ConfigError with the line's number, or where there is none at all.
    """
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            try:
                found.append(identity_of(line))
            except ConfigError as error:
                raise ConfigError(f"line {number}: {error.message}", error.hint) from error
    if not found:
        raise ConfigError("no age identity in the file", "age-keygen -pq makes one")
    return found


def _kind(text: str) -> str:
    return next((kind for start, kind in _OTHERS if text.startswith(start)), "no recipient")


def _short(text: str) -> str:
    return text if len(text) <= 20 else f"{text[:16]}..."


def _lower(error: ValueError) -> str:
    """What pyca/cryptography says begins with a capital."""
    message = str(error)
    return message[:1].lower() + message[1:]
