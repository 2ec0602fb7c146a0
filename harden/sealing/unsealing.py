"""A sealed file as a plain file, or as bytes in memory."""

from pathlib import Path

from harden.sealing.heads import Head, opened
from harden.sealing.identity import Identity
from harden.sealing.opening import unlocked
from harden.sealing.provider import Provider, provider
from harden.sealing.publish import PRIVATE, check_free, publishing, stream_out
from harden.sealing.trust import Trust


def unseal_file(
    path: Path,
    output: Path,
    identity: Identity,
    *,
    trust: Trust | None,
    overwrite: bool = False,
    by: Provider | None = None,
) -> Head:
    """Writes the plaintext to `output`, mode 0600; it appears after the last check, whole or not at all.

    `trust` None: the origin is not asked for. Raises as `harden.sealing.opening.unlocked`, ConfigError where
    `output` exists and is not to be overwritten.
    """
    check_free(output, overwrite=overwrite)
    with opened(path) as handle:
        found = unlocked(handle, str(path), identity, trust, by or provider())
        with publishing(output, mode=PRIVATE, overwrite=overwrite) as target:
            for piece in found.payload.pieces():
                stream_out(target, piece)
    return found.head


def unseal_bytes(
    path: Path, identity: Identity, *, trust: Trust | None, by: Provider | None = None
) -> tuple[memoryview, Head]:
    """The plaintext, in memory that no core dump holds, and the head; raises as `unseal_file` does."""
    with opened(path) as handle:
        found = unlocked(handle, str(path), identity, trust, by or provider())
        return found.payload.whole(), found.head
