"""Sealed weights wherever plain ones are read: what opens them is loaded when the first one is met."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache

from harden.models import Keys, opening
from harden.sealing.memory import forbid_dumps
from harden.sealing.request import Unlocking


@contextmanager
def opening_weights(request: Unlocking) -> Iterator[None]:
    """Inside, sealed weights are read wherever plain ones are, by what the request names.

    Keys are read, and a passphrase is asked for, when the first sealed file is met, and once.
    """

    with ExitStack() as stack:

        @cache
        def keys() -> Keys:
            from harden.desk import Desk  # and with it cryptography, which runs on plain weights do without

            request.check_trust()
            forbid_dumps()
            desk = stack.enter_context(Desk(request))
            return Keys(desk.identity(request.identity), desk.trust(request), desk.provider)

        with opening(keys):
            yield
