"""From what a request names to what opens a file: identities, recipients, signers, keepers, trust."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from harden.asking import Ask, asker, chosen
from harden.sealing import (
    Identity,
    PassphraseIdentity,
    PassphraseRecipient,
    Provider,
    Recipient,
    Signer,
    Trust,
    identity_of,
    provider,
    recipient_of,
    signer_from,
    trust_of,
)
from harden.sealing.release import split
from harden.sealing.release.places import place_of
from harden.sealing.release.split import KeyWrapper
from harden.sealing.request import Asking, Keeping, Unlocking


class Desk:
    """Reads keys for a request, and closes what it opened, with the block.

    Passphrases are asked for in this order: identity, signer, new recipient; a token's PIN when it is needed.
    """

    def __init__(self, request: Asking) -> None:
        self.request = request
        self.descriptor = request.passphrase_fd
        self.ask: Ask = asker(request.passphrase_fd)
        self.provider: Provider = provider(request.sealing.provider)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @cached_property
    def keeper(self) -> KeyWrapper | None:
        """The token or broker that the request names: one, so that a token is logged in to once."""
        request = self.request
        if isinstance(request, Keeping) and request.token:
            from harden.sealing.release.pkcs11 import TokenWrapper

            return self._open.enter_context(TokenWrapper(place_of(request.token), self.ask))
        if isinstance(request, Keeping) and request.kbs and request.resource:
            from harden.sealing.release.kbs import KeyBroker
            from harden.sealing.release.trustee import ResourceWrapper, SampleAttestor

            return ResourceWrapper(KeyBroker(request.kbs, SampleAttestor()), request.resource)
        return None

    def identity(self, path: str | None) -> Identity:
        """The identity in a .key file, and the keeper beside it; without one, whoever knows the passphrase."""
        if not path:
            return PassphraseIdentity(self.ask)
        if self.keeper is None:
            return identity_of(Path(path), self.ask, self.provider)
        return split.either_of(Path(path), self.keeper, self.ask, self.provider)

    def recipients(self, paths: Sequence[str], *, passphrase: bool = False, key_alone: bool = False) -> list[Recipient]:
        """The recipients in .pub files, with the keeper beside them; or whoever will know a passphrase chosen now."""
        if passphrase:
            return [PassphraseRecipient(chosen(self.descriptor, "the sealed file"))]
        if self.keeper is None or key_alone:
            return [recipient_of(Path(path), self.provider) for path in paths]
        return [split.recipient_of(Path(path), self.keeper, self.provider) for path in paths]

    def signer(self, path: str | None) -> Signer | None:
        """The signer in a .key file, if one is named."""
        return signer_from(Path(path), self.ask, self.provider) if path else None

    def trust(self, request: Unlocking) -> Trust | None:
        """Whom the request trusts; None where it does not ask for the origin."""
        return trust_of(Path(request.trust), allow_rollback=request.allow_rollback) if request.trust else None
