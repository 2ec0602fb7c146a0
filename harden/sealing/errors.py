"""What can go wrong with a sealed file, one class a reason; the exit code is the family's.

Nothing else leaves this room on bad input: no InvalidTag, struct.error, KeyError, or error of the JSON reader. A
message names the part (preamble, core, slots, payload, list, signature) and never a secret.
"""

from harden import errors
from harden.errors import SealError


class Unreadable(SealError):
    """The operating system refused: no such file, no permission, a full disk, a lock that somebody holds."""


class NotSealed(SealError):
    """The file does not begin as a sealed file does."""


class UnknownVersion(NotSealed):
    """A sealed file of a version or a suite that this reader does not know."""


class Damaged(SealError):
    """The file was changed or cut: a length, a padding, a tag or a digest is wrong."""

    exit_code = 4


class WrongKey(SealError):
    """No entry of the file opens with the identities at hand."""

    exit_code = 4


class WrongPassphrase(WrongKey):
    """The passphrase does not open the key file, or the file that was sealed with one."""


class Untrusted(SealError, errors.Untrusted):
    """The file may be whole, but not from somebody who is trusted."""

    exit_code = 4


class Unsigned(Untrusted):
    """The file carries no signature."""


class BadSignature(Untrusted):
    """A signature, or one half of it, does not belong to this file."""


class UnknownSigner(Untrusted):
    """The signer is not among those trusted, or retired."""


class RolledBack(Untrusted):
    """The trust store has seen a later epoch of the model, or another file of the same epoch."""


class Mismatch(Untrusted):
    """A manifest speaks of another file than the one at hand."""


class BrokenChain(Untrusted):
    """The rounds do not lead back to the first: one is missing, was changed, or is of another model."""


class Forked(BrokenChain):
    """Two rounds continue the same one, or stand for the same epoch."""


class UnsafeKeyFile(Untrusted):
    """A file with a secret can be read by others."""


class Refused(SealError):
    """A token, a key broker or an attestation policy said no."""
