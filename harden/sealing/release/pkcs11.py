"""A share under an AES-256 key that stays in a PKCS#11 token: AES-GCM, done by the token (PKCS#11 2.40, CKM_AES_GCM).

    blob = nonce 12 | ciphertext 32 | tag 16

The PIN is asked for once, and only when an entry is at hand that the token may open.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

from harden.errors import ConfigError, MissingExtra
from harden.sealing.errors import Refused, Unreadable
from harden.sealing.identity import Ask
from harden.sealing.release.places import Place
from harden.sealing.suites import FILE_KEY, TAG

NONCE = 12
BLOB = NONCE + FILE_KEY + TAG
BITS = 256


class TokenWrapper:
    """The AES key at `place`. The token is opened, and `ask` called for its PIN, at the first use; close it.

    Its methods raise Refused for all that the token says no to, Unreadable where its library does not load, and
    MissingExtra. A token that let nobody in is not tried again, as it would lock: the same Refused is raised.
    """

    def __init__(self, place: Place, ask: Ask) -> None:
        self.place, self._ask = place, ask
        self._session: Any = None
        self._key: Any = None
        self._refusal: Refused | None = None

    def wrap(self, share: bytes, aad: bytes) -> bytes:
        """The share under the token's key, 60 bytes."""
        key, nonce = self._opened(), os.urandom(NONCE)
        with _saying(self.place):
            blob = nonce + bytes(key.encrypt(share, **_gcm(nonce, aad)))
        if len(blob) != BLOB:
            raise Refused(f"token {self.place.token}: a wrapped share has {len(blob)} bytes, wanted {BLOB}")
        return blob

    def unwrap(self, blob: bytes, aad: bytes) -> bytes | None:
        """The share; None where the tag is not one of this key and `aad`."""
        if len(blob) != BLOB:
            return None
        key = self._opened()
        with _saying(self.place):
            try:
                return bytes(key.decrypt(blob[NONCE:], **_gcm(blob[:NONCE], aad)))
            except _wrong_tag():
                return None

    def close(self) -> None:
        """Logs out; again: nothing."""
        if self._session is not None:
            with suppress(_library().PKCS11Error):
                self._session.close()
        self._session = self._key = self._refusal = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _opened(self) -> Any:
        """The key, found once, and only if the token says that it cannot leave."""
        if self._refusal:
            raise self._refusal
        if self._key is None:
            try:
                self._key = self._found()
            except Refused as refusal:
                self._refusal = refusal
                raise
        return self._key

    def _found(self) -> Any:
        library = _library()
        with _saying(self.place):
            self._session = _login(self.place, self._ask, write=False)
            kinds = {"object_class": library.ObjectClass.SECRET_KEY, "key_type": library.KeyType.AES}
            key = self._session.get_key(label=self.place.key, **kinds)
            _check_kept(key, self.place)
        return key


def make_key(place: Place, ask: Ask) -> None:
    """Makes the AES-256 key at `place`, which cannot leave the token. ConfigError where there is one already."""
    library = _library()
    with _saying(place), _login(place, ask, write=True) as session:
        if any(session.get_objects({library.Attribute.LABEL: place.key})):
            raise ConfigError(f"token {place.token} has a {place.key} already", "choose another label: object=")
        may = library.MechanismFlag.ENCRYPT | library.MechanismFlag.DECRYPT
        key = session.generate_key(library.KeyType.AES, BITS, label=place.key, store=True, capabilities=may)
        _check_kept(key, place)


def _login(place: Place, ask: Ask, *, write: bool) -> Any:
    """A session of a user. The token is looked for before anybody is asked; a wrong PIN is tried once only."""
    if not place.module.is_file():
        raise Unreadable(f"{place.module}: no such library", "module-path= names the PKCS#11 library of the token")
    token = _library().lib(str(place.module)).get_token(token_label=place.token)
    return token.open(rw=write, user_pin=ask(f"token {place.token}, its PIN"))


def _check_kept(key: Any, place: Place) -> None:
    names = _library().Attribute
    if key[names.VALUE_LEN] * 8 != BITS:
        raise Refused(f"token {place.token}: {place.key} has {key[names.VALUE_LEN]} bytes, wanted AES-256")
    if not key[names.SENSITIVE] or key[names.EXTRACTABLE]:
        raise Refused(f"token {place.token}: {place.key} can be read out of it", "make one that cannot: make_key")


@contextmanager
def _saying(place: Place) -> Iterator[None]:
    library = _library()
    hints = {
        "PinIncorrect": "it was tried once: tokens lock after a few",
        "PinLocked": "its security officer can unlock it",
        "NoSuchToken": "the token is not plugged in, or has another label",
        "NoSuchKey": f"no AES key in it is called {place.key}",
        "UserAlreadyLoggedIn": "this process has it open: close that wrapper first",
    }
    try:
        yield
    except library.PKCS11Error as error:
        name = type(error).__name__
        raise Refused(f"token {place.token} said no: {name}", hints.get(name, str(error))) from error


def _wrong_tag() -> tuple[type[Exception], ...]:
    """What tokens say to a wrong tag: SoftHSM2 2.6 a general error, others the standard's own."""
    errors = _library().exceptions
    return errors.EncryptedDataInvalid, errors.EncryptedDataLenRange, errors.GeneralError


def _gcm(nonce: bytes, aad: bytes) -> dict[str, Any]:
    library = _library()
    parameters = library.mechanisms.GCMParams(nonce=nonce, aad=aad, tag_bits=8 * TAG)
    return {"mechanism": library.Mechanism.AES_GCM, "mechanism_param": parameters}


def _library() -> Any:
    try:
        import pkcs11.mechanisms
    except ImportError as error:
        raise MissingExtra("a PKCS#11 token needs python-pkcs11", "pip install 'harden[pkcs11]'") from error
    return pkcs11
