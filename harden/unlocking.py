"""Sealed weights wherever plain ones are read: what opens them is loaded when the first one is met."""

from contextlib import AbstractContextManager
from functools import cache

from harden.models import Keys, opening
from harden.sealing.memory import forbid_dumps
from harden.sealing.request import Unlocking


def opening_weights(request: Unlocking) -> AbstractContextManager[None]:
    """Inside, sealed weights are read wherever plain ones are, by what the request names.

    Keys are read, and a passphrase is asked for, when the first sealed file is met, and once.
    """

    @cache
    def keys() -> Keys:
        from harden.desk import Desk  # and with it cryptography, which runs on plain weights do without

        request.check_trust()
        forbid_dumps()
        desk = Desk(request)
        return Keys(desk.identity(request.identity), desk.trust(request), desk.provider)

    return opening(keys)
