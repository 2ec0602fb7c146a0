"""A sealed file under a new file key: the next epoch of the same model, decrypted and encrypted a piece at a time.

Whoever had the old file still has it, and can still open it.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harden.sealing.heads import opened
from harden.sealing.identity import Identity, Recipient
from harden.sealing.opening import unlocked
from harden.sealing.provider import Provider, provider
from harden.sealing.sealer import Plaintext, Sealed, seal
from harden.sealing.signing import Signer
from harden.sealing.trust import Trust


def rotate(
    path: Path,
    output: Path,
    identity: Identity,
    *,
    to: Sequence[Recipient],
    signer: Signer | None,
    trust: Trust | None,
    overwrite: bool = False,
    by: Provider | None = None,
) -> Sealed:
    """Seals what `path` holds anew as `output`: new file key, epoch + 1, `parent` set to the old file's H.

    With `overwrite`, `output` may be `path` itself, which is then replaced as a whole. Raises as
    `opening.unlocked` and `sealer.seal`.
    """
    with opened(path) as handle:
        found = unlocked(handle, str(path), identity, trust, by or provider())
        core = found.head.core
        facts = replace(core.facts, epoch=core.facts.epoch + 1, parent=found.head.bound.hex())
        plain = Plaintext(core.plaintext_bytes, core.format, found.payload.pieces)
        return seal(plain, output, to=to, facts=facts, signer=signer, overwrite=overwrite)
