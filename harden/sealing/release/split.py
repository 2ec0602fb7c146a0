"""Entries of type 3: the file key is share 1 XOR share 2, and neither says anything about it alone.

    blob = share 1 by HPKE to a key file (suite.kem.blob bytes) | share 2 as the KeyWrapper has wrapped it

Share 1 is safe from quantum computers whatever the token speaks. H is bound twice: by HPKE's info, and by the
wrapper's `aad`.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from harden.errors import ConfigError
from harden.sealing import keyfiles
from harden.sealing.errors import Refused
from harden.sealing.identity import Ask, KeyIdentity, KeyRecipient
from harden.sealing.provider import Opener, Provider
from harden.sealing.slots import LONGEST_FOREIGN, SPLIT
from harden.sealing.suites import FILE_KEY, Suite

BOUND = 64
"""Bytes of H, which `info` ends with."""


class KeyWrapper(Protocol):
    """A token, a key service: what keeps a key to itself and wraps shares under it."""

    def wrap(self, share: bytes, aad: bytes) -> bytes:
        """The share, 32 bytes, wrapped and bound to `aad`. Refused where the keeper says no."""

    def unwrap(self, blob: bytes, aad: bytes) -> bytes | None:
        """The share; None where the blob is not of this key and `aad`. Refused where the keeper says no."""


@dataclass(frozen=True)
class SplitRecipient:
    """Whoever has the key file and may use the wrapper's key."""

    key: KeyRecipient
    wrapper: KeyWrapper = field(repr=False)
    kind: int = SPLIT

    @property
    def suite(self) -> Suite:
        """The suite of the key file."""
        return self.key.suite

    def wrap(self, file_key: bytes, info: bytes) -> bytes:
        """Both shares. ConfigError where the wrapper's blob is too long for an entry."""
        share = os.urandom(FILE_KEY)
        blob = self.key.wrap(share, info) + self.wrapper.wrap(xor(share, file_key), info[-BOUND:])
        if len(blob) > LONGEST_FOREIGN:
            raise ConfigError(f"a share wrapped by this token has {len(blob)} bytes, at most {LONGEST_FOREIGN} fit")
        return blob


@dataclass(frozen=True)
class SplitIdentity:
    """Somebody with the key file, beside the wrapper. The wrapper is asked only once the key file has opened."""

    suite: Suite
    opener: Opener = field(repr=False)
    wrapper: KeyWrapper = field(repr=False)

    def unwrap(self, kind: int, blob: bytes, info: bytes) -> bytes | None:
        """The file key of an entry of type 3 for this key file and this wrapper."""
        at = self.suite.kem.blob
        if kind != SPLIT or len(blob) <= at:
            return None
        first = self.opener(blob[:at], info)
        second = self.wrapper.unwrap(blob[at:], info[-BOUND:]) if first is not None else None
        if first is None or second is None:
            return None
        if len(second) != FILE_KEY:
            raise Refused(f"the token's share has {len(second)} bytes, wanted {FILE_KEY}")
        return xor(first, second)


@dataclass(frozen=True)
class EitherIdentity:
    """Somebody with a key file and a wrapper, for files that were sealed for the key file alone, too."""

    alone: KeyIdentity
    both: SplitIdentity

    def unwrap(self, kind: int, blob: bytes, info: bytes) -> bytes | None:
        """The file key of an entry of type 1 or 3; the wrapper is asked for the latter alone."""
        return (self.both if kind == SPLIT else self.alone).unwrap(kind, blob, info)


def recipient_of(path: Path, wrapper: KeyWrapper, provider: Provider) -> SplitRecipient:
    """The recipient in a `.pub` file beside a wrapper; raises as `keyfiles.read_public` does."""
    return SplitRecipient(keyfiles.recipient_of(path, provider), wrapper)


def identity_of(path: Path, wrapper: KeyWrapper, ask: Ask, provider: Provider) -> SplitIdentity:
    """The identity in a `.key` file beside a wrapper; raises as `keyfiles.read_secret` does."""
    key = keyfiles.read_secret(path, keyfiles.RECIPIENT, ask, provider)
    suite = key.public.suite
    return SplitIdentity(suite, provider.opener(suite.kem, key.seed), wrapper)


def either_of(path: Path, wrapper: KeyWrapper, ask: Ask, provider: Provider) -> EitherIdentity:
    """The identity in a `.key` file, alone and beside a wrapper; raises as `keyfiles.read_secret` does."""
    key = keyfiles.read_secret(path, keyfiles.RECIPIENT, ask, provider)
    suite = key.public.suite
    opener = provider.opener(suite.kem, key.seed)
    return EitherIdentity(KeyIdentity(opener), SplitIdentity(suite, opener, wrapper))


def xor(one: bytes, other: bytes) -> bytes:
    """The two, as long as each other, bit for bit."""
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
