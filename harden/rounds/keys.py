"""The keys of a folder of rounds: those that were named, or a pair of each kind that is made there once."""

import logging
from collections.abc import Sequence
from pathlib import Path

from harden.rounds import record as records
from harden.rounds.record import Record
from harden.rounds.sealing import Keys
from harden.sealing import Provider, Signer, Trust, identity_of, recipient_of, signer_from, trust_of
from harden.sealing.keyfiles import RECIPIENT, SIGNER, generate, write_public, write_secret
from harden.sealing.suites import HYBRID

logger = logging.getLogger(__name__)

FOLDER = "keys"


def keys(home: Path, signer: Signer | None, to: Sequence[str], provider: Provider) -> Keys:
    """Who signs and who can open: `signer` and the files `to`, or the pairs in `home`, made where there are none."""
    folder = home / FOLDER
    if signer is None:
        signer = signer_from(_pair(folder, SIGNER, provider), _nobody, provider)
    if to:
        return Keys(signer, tuple(recipient_of(Path(path), provider) for path in to))
    secret = _pair(folder, RECIPIENT, provider)
    recipient = recipient_of(secret.with_suffix(".pub"), provider)
    return Keys(signer, (recipient,), identity_of(secret, _nobody, provider))


def trust_in(home: Path, path: str | None) -> Trust:
    """Whom records are believed from: the file at `path`, else the signer in `home`."""
    return trust_of(Path(path) if path else home / FOLDER / f"{SIGNER}.pub")


def chain_in(home: Path, trust: str | None = None) -> list[Record]:
    """The finished rounds in `home`, oldest first, every record believed. Raises as `record.chain` does."""
    return records.chain(home, trust_in(home, trust)) if records.finished(home) else []


def _pair(folder: Path, kind: str, provider: Provider) -> Path:
    """The secret file of the pair of this kind in the folder."""
    secret, public = folder / f"{kind}.key", folder / f"{kind}.pub"
    if not public.is_file():
        secret.unlink(missing_ok=True)  # of a sitting that was killed between the two: nothing was made with it yet
        key = generate(kind, HYBRID, provider)
        write_secret(secret, key, None)
        write_public(public, key.public)
        logger.info("made %s and %s, without a passphrase: keep the first, hand out the second", secret, public)
    return secret


def _nobody(what: str) -> str:
    raise AssertionError(f"{what} has no passphrase")
