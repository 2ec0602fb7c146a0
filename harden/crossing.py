"""Between sealed files and age files: keys of both spellings, and what makes an imported file believable."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from harden.asking import Ask
from harden.errors import ConfigError
from harden.sealing import Identity, Provider, Trust
from harden.sealing.age import (
    HybridIdentity,
    HybridRecipient,
    Imported,
    Passphrase,
    decrypt,
    exporting,
    identities_of,
    recipient_of,
)
from harden.sealing.age.faults import naming
from harden.sealing.age.spelling import Identity as AgeIdentity
from harden.sealing.errors import Mismatch, Unsigned
from harden.sealing.heads import opened
from harden.sealing.keyfiles import RECIPIENT, bytes_of, check_private, read_public, read_secret
from harden.sealing.opening import unlocked
from harden.sealing.provenance import Manifest, read_manifest
from harden.sealing.request_files import ImportRequest
from harden.sealing.suites import HYBRID, Suite
from harden.sealing.trust import trust_of

T = TypeVar("T")

OURS = b"{"
"""How a key file of harden begins, and none of age's."""
LOCKED = (b"age-encryption.org/", b"-----BEGIN AGE ENCRYPTED FILE-----")
"""How an identity file begins that age has encrypted with a passphrase."""
SPELLED = ("AGE1", "AGE-SECRET-KEY-")


def age_recipients(words: Sequence[str]) -> list[HybridRecipient]:
    """Whoever the words name: age1pq1... itself, a file of those, or a .pub file. Raises ConfigError, Unreadable."""
    return [one for word in words for one in _recipients(word)]


def age_identities(path: str | None, ask: Ask, provider: Provider) -> list[AgeIdentity]:
    """The identities in a file of age's or a .key file; without one, whoever knows the passphrase.

    Raises UnsafeKeyFile where others can read the file, ConfigError, WrongPassphrase, Unreadable.
    """
    if path is None:
        return [Passphrase(ask("the age file").encode())]
    data, mode = bytes_of(Path(path))
    if data.startswith(OURS):
        key = read_secret(Path(path), RECIPIENT, ask, provider)
        _check_suite(path, key.public.suite)
        return [HybridIdentity(key.seed)]
    check_private(Path(path), mode)
    if data.startswith(LOCKED):
        plain = io.BytesIO()
        with naming(path):
            decrypt(io.BytesIO(data), plain, [Passphrase(ask(path).encode())])
        data = plain.getvalue()
    return [*_naming(path, lambda: identities_of(data.decode()))]


def export_sealed(
    path: Path, output: Path, to: Sequence[HybridRecipient], identity: Identity, *, trust: Trust | None, by: Provider
) -> int:
    """Makes `output`, an age file with what `path` holds, without a plain file on the way; the bytes of plaintext.

    Raises as `opening.unlocked`, and ConfigError where `output` exists.
    """
    with opened(path) as handle:
        found = unlocked(handle, str(path), identity, trust, by)
        with exporting(output, to) as writer:
            for piece in found.payload.pieces():
                writer.write(piece)
    return found.head.core.plaintext_bytes


def judge_of(request: ImportRequest, provider: Provider) -> tuple[Callable[[Imported], None], Manifest | None]:
    """What raises unless the plaintext is the one vouched for; and the manifest that does.

    Raises Unsigned where nothing vouches and nobody said that nothing need to; as `read_manifest` does; RolledBack.
    """
    if request.allow_unsigned:
        return lambda _: None, None
    if not request.manifest or not request.trust:
        raise Unsigned(
            f"{request.age}: nobody signs an age file, so nothing says who made it",
            "manifest=F.sealed.manifest.json trust=acme.pub, if it tells the weights' digest; or allow_unsigned=true",
        )
    trust = trust_of(Path(request.trust), allow_rollback=request.allow_rollback)
    manifest = read_manifest(Path(request.manifest), trust, provider)
    told, where = manifest.evidence.weights, f"{request.manifest}: {manifest.facts.model_id}, {manifest.round}"
    if not told:
        raise Mismatch(
            f"{where}: does not tell the digest of the plain weights, so it vouches for no age file",
            "seal with tell_weights=true",
        )
    facts = (manifest.signer, manifest.facts.model_id, manifest.seen)
    trust.check(*facts, request.manifest)

    def check(found: Imported) -> None:
        if found.sha256 != told:
            raise Mismatch(f"{request.age}: is not what {where} vouches for: SHA-256 {found.sha256[:16]}...")
        trust.advance(*facts, str(request.manifest))

    return check, manifest


def _recipients(word: str) -> list[HybridRecipient]:
    if word.upper().startswith(SPELLED):
        return [recipient_of(word)]
    data, _ = bytes_of(Path(word))
    if data.startswith(OURS):
        key = read_public(Path(word), RECIPIENT)
        _check_suite(word, key.suite)
        return [HybridRecipient(key.public)]
    lines = _naming(word, lambda: data.decode().splitlines())
    found = [line for line in lines if line.strip() and not line.startswith("#")]
    if not found:
        raise ConfigError(f"{word}: holds no recipient", "one age1pq1... a line")
    return _naming(word, lambda: [recipient_of(line) for line in found])


def _check_suite(path: str, suite: Suite) -> None:
    if suite != HYBRID:
        raise ConfigError(f"{path}: is a key of suite {suite.name}, age knows {HYBRID.name} alone")


def _naming(path: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not a key file of age or harden") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}", error.hint) from error
