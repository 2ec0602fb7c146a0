"""A key pair on disk, tried before anybody is told that it is there."""

import os
from contextlib import suppress
from pathlib import Path

from harden.asking import chosen
from harden.errors import SealError
from harden.sealing import keyfiles, provider
from harden.sealing.keyfiles import SecretKey
from harden.sealing.provider import Provider
from harden.sealing.publish import check_free
from harden.sealing.request import PairRequest, Protect
from harden.sealing.signing import failing, signer_of
from harden.sealing.suites import FILE_KEY, NAMES


def fresh_pair(kind: str, request: PairRequest) -> tuple[Path, Path]:
    """The secret and the public file of a new key pair, read back and used once; neither is there on failure.

    Raises ConfigError where one of the files exists.
    """
    by, suite = provider(request.sealing.provider), NAMES[request.suite.value]
    secret, public = (Path(f"{request.output}{suffix}") for suffix in (".key", ".pub"))
    for path in (secret, public):
        check_free(path, overwrite=False, hint="keys are never overwritten: choose another name")
    bare = request.protect is Protect.none
    passphrase = None if bare else chosen(request.passphrase_fd, str(secret))
    key = keyfiles.generate(kind, suite, by)
    keyfiles.write_secret(secret, key, passphrase)
    try:
        _try(keyfiles.read_secret(secret, kind, lambda _: passphrase or "", by), key, by)
        keyfiles.write_public(public, key.public)
    except BaseException:
        with suppress(OSError):
            secret.unlink()
        raise
    return secret, public


def _try(found: SecretKey, key: SecretKey, by: Provider) -> None:
    """One wrap and unwrap, or sign and verify, with what the file gave back."""
    message, suite = os.urandom(FILE_KEY), key.public.suite
    if key.public.kind == keyfiles.RECIPIENT:
        blob = by.wrap(suite.kem, key.public.public, message, b"")
        works = blob is not None and by.opener(suite.kem, found.seed)(blob, b"") == message
    else:
        one = signer_of(suite, found.seed[: suite.signer_seed], by)
        works = not failing(one.key, message, one.sign(message), by)
    if found != key or not works:
        raise SealError("the new key does not work: the machine or its libraries are at fault", "do not use it here")
