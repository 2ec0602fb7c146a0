"""From what a request names to what opens a file: identities, recipients, signers, trust."""

from collections.abc import Sequence
from pathlib import Path

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
from harden.sealing.request import Asking, Unlocking


class Desk:
    """Reads keys for a request. Passphrases are asked for in this order: identity, signer, new recipient."""

    def __init__(self, request: Asking) -> None:
        self.descriptor = request.passphrase_fd
        self.ask: Ask = asker(request.passphrase_fd)
        self.provider: Provider = provider(request.sealing.provider)

    def identity(self, path: str | None) -> Identity:
        """The identity in a .key file; without one, whoever knows the passphrase."""
        return identity_of(Path(path), self.ask, self.provider) if path else PassphraseIdentity(self.ask)

    def recipients(self, paths: Sequence[str], *, passphrase: bool = False) -> list[Recipient]:
        """The recipients in .pub files; or whoever will know a passphrase that is chosen now."""
        if passphrase:
            return [PassphraseRecipient(chosen(self.descriptor, "the sealed file"))]
        return [recipient_of(Path(path), self.provider) for path in paths]

    def signer(self, path: str | None) -> Signer | None:
        """The signer in a .key file, if one is named."""
        return signer_from(Path(path), self.ask, self.provider) if path else None

    def trust(self, request: Unlocking) -> Trust | None:
        """Whom the request trusts; None where it does not ask for the origin."""
        return trust_of(Path(request.trust), allow_rollback=request.allow_rollback) if request.trust else None
