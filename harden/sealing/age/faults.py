"""What can be wrong with an age file, as children of the families that `harden.errors` keeps for sealed files.

The names follow the outcomes of the public test vectors: armor, header and payload failure, HMAC failure, no match.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from harden.errors import SealError
from harden.sealing.errors import Damaged, NotSealed, WrongKey

AGAIN = "fetch or export the file again"


class NotAge(NotSealed):
    """The file does not begin like an age file, or is of a version that is not known here."""


class BadArmor(Damaged):
    """The text around an age file is not strict PEM."""


class BadHeader(Damaged):
    """The header is not well formed, or a stanza in it breaks its type's rules."""


class BadMac(Damaged):
    """A key fits, yet the header was changed: its MAC does not agree."""


class BadPayload(Damaged):
    """A chunk of the payload was changed, or chunks are missing or too many."""


class NoMatch(WrongKey):
    """No identity opens a stanza. A wrong passphrase says the same."""


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Errors about sealed files that leave the block begin with `name`, if it has any; their class and hint stay."""
    try:
        yield
    except SealError as error:
        if not name or error.message.startswith(f"{name}: "):
            raise
        raise type(error)(f"{name}: {error.message}", error.hint) from error
