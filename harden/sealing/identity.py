"""Who a file is sealed for, and who opens it: small interfaces, with key pairs and passphrases behind them.

Tokens (type 3) and attested release (type 4) are further adapters: objects with `wrap` or `unwrap`. `info` binds
the suite, the type and H, and ends with the 64 bytes of H.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from harden.errors import ConfigError
from harden.sealing import passphrase as passphrases
from harden.sealing.passphrase import Cost
from harden.sealing.provider import Opener, Provider
from harden.sealing.slots import PASSPHRASE, PUBLIC_KEY
from harden.sealing.suites import Suite

Ask = Callable[[str], str]
"""What the passphrase is for -> the passphrase; called only where one is needed."""


class Recipient(Protocol):
    """Somebody a file is sealed for. `suite` None: files of any suite."""

    @property
    def kind(self) -> int:
        """The type of the entry that `wrap` makes."""

    @property
    def suite(self) -> Suite | None:
        """The suite of the files that can be sealed for this recipient."""

    def wrap(self, file_key: bytes, info: bytes) -> bytes:
        """The blob from which the identity gets the file key, under the same `info`."""


class Identity(Protocol):
    """Somebody who may open files."""

    def unwrap(self, kind: int, blob: bytes, info: bytes) -> bytes | None:
        """The file key; None where the entry is not for this identity. Refused where a token or broker says no."""


@dataclass(frozen=True)
class KeyRecipient:
    """The holder of a key pair, by the public key."""

    suite: Suite
    public: bytes
    provider: Provider = field(repr=False)
    kind: int = PUBLIC_KEY

    def wrap(self, file_key: bytes, info: bytes) -> bytes:
        """HPKE to the public key; ConfigError for a key that is none, such as a coefficient out of range."""
        blob = self.provider.wrap(self.suite.kem, self.public, file_key, info)
        if blob is None:
            raise ConfigError(f"a recipient's public key is no key of {self.suite.kem.name}", "make it again: keygen")
        return blob


@dataclass(frozen=True)
class KeyIdentity:
    """The holder of a key pair."""

    opener: Opener = field(repr=False)

    def unwrap(self, kind: int, blob: bytes, info: bytes) -> bytes | None:
        """The file key of an entry of type 1 for this key."""
        return self.opener(blob, info) if kind == PUBLIC_KEY else None


def key_identity(suite: Suite, seed: bytes, provider: Provider) -> KeyIdentity:
    """The identity with this seed, `suite.kem.seed` bytes."""
    return KeyIdentity(provider.opener(suite.kem, seed))


@dataclass(frozen=True)
class PassphraseRecipient:
    """Whoever knows the passphrase; the only recipient of its file, as guessing is all that it takes."""

    passphrase: str = field(repr=False)
    cost: Cost = field(default_factory=lambda: passphrases.COST)
    suite: Suite | None = None
    kind: int = PASSPHRASE

    def wrap(self, file_key: bytes, info: bytes) -> bytes:
        """Argon2id and AES-256-GCM, under a fresh salt."""
        return passphrases.lock(file_key, self.passphrase, info, self.cost)


@dataclass(frozen=True)
class PassphraseIdentity:
    """Somebody who knows the passphrase; asked once a file has an entry for it."""

    ask: Ask = field(repr=False)

    def unwrap(self, kind: int, blob: bytes, info: bytes) -> bytes | None:
        """The file key of an entry of type 2."""
        if kind != PASSPHRASE:
            return None
        return passphrases.unlock(blob, self.ask("the sealed file"), info, "the entry for a passphrase")
