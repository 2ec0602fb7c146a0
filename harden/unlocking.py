"""From what a request names to what opens a file: identities, recipients, signers, keepers, trust.

Every door imports this, few read a key: what needs `cryptography` is loaded when it is used.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache, cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from harden import sealing
from harden.asking import Ask, asker, chosen
from harden.models import Keys, opening
from harden.sealing.memory import forbid_dumps
from harden.sealing.release.places import place_of
from harden.sealing.request import Asking, Keeping, Unlocking

if TYPE_CHECKING:
    from harden.sealing import Identity, Provider, Recipient, Signer, Trust
    from harden.sealing.release.split import KeyWrapper


class Desk:
    """Reads keys for a request, and closes what it opened, with the block.

    Passphrases are asked for in this order: identity, signer, new recipient; a token's PIN when it is needed.
    """

    def __init__(self, request: Asking) -> None:
        self.request = request
        self.descriptor = request.passphrase_fd
        self.ask: Ask = asker(request.passphrase_fd)
        self.provider: Provider = sealing.provider(request.sealing.provider)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @cached_property
    def keeper(self) -> "KeyWrapper | None":
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

    def identity(self, path: str | None) -> "Identity":
        """The identity in a .key file, and the keeper beside it; without one, whoever knows the passphrase."""
        if not path:
            return sealing.PassphraseIdentity(self.ask)
        if self.keeper is None:
            return sealing.identity_of(Path(path), self.ask, self.provider)
        from harden.sealing.release import split

        return split.either_of(Path(path), self.keeper, self.ask, self.provider)

    def recipients(
        self, paths: Sequence[str], *, passphrase: bool = False, key_alone: bool = False
    ) -> "list[Recipient]":
        """The recipients in .pub files, with the keeper beside them; or whoever will know a passphrase chosen now."""
        if passphrase:
            return [sealing.PassphraseRecipient(chosen(self.descriptor, "the sealed file"))]
        if self.keeper is None or key_alone:
            return [sealing.recipient_of(Path(path), self.provider) for path in paths]
        from harden.sealing.release import split

        return [split.recipient_of(Path(path), self.keeper, self.provider) for path in paths]

    def signer(self, path: str | None) -> "Signer | None":
        """The signer in a .key file, if one is named."""
        return sealing.signer_from(Path(path), self.ask, self.provider) if path else None

    def trust(self, request: Unlocking) -> "Trust | None":
        """Whom the request trusts; None where it does not ask for the origin."""
        return sealing.trust_of(Path(request.trust), allow_rollback=request.allow_rollback) if request.trust else None


@contextmanager
def opening_weights(request: Unlocking) -> Iterator[None]:
    """Inside, sealed weights are read wherever plain ones are, by what the request names.

    Keys are read, and a passphrase is asked for, when the first sealed file is met, and once.
    """

    with ExitStack() as stack:

        @cache
        def keys() -> Keys:
            request.check_trust()
            forbid_dumps()
            desk = stack.enter_context(Desk(request))
            return Keys(desk.identity(request.identity), desk.trust(request), desk.provider)

        with opening(keys):
            yield
