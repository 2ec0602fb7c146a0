"""The seam to a cryptographic library: who wraps file keys and who signs. The bytes are the same whoever does.

An `Engine` is what a library offers; a `Provider` is an engine behind exact length checks, so that no engine ever
sees an input of a wrong length (liboqs pads short ones with zeros and goes on) nor returns one.

A second engine is a module with a function `engine() -> Engine`, named in `ENGINES`, imported only when asked for.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from harden.errors import ConfigError
from harden.sealing.suites import FILE_KEY, Kem, Scheme, hint_of

Opener = Callable[[bytes, bytes], bytes | None]
"""(blob, info) -> the file key, or None where the blob is not for this key or was changed."""
Signing = Callable[[bytes, bytes], bytes]
"""(message, context) -> signature. Ed25519 has no context and passes over it."""


class Engine(Protocol):
    """A library. Lengths of all inputs are right; secrets are seeds. A `context` is ML-DSA's; Ed25519 has none."""

    def public_of_kem(self, kem: Kem, seed: bytes) -> bytes:
        """The public key that belongs to the seed."""

    def public_of_scheme(self, scheme: Scheme, seed: bytes) -> bytes:
        """The public key that belongs to the seed."""

    def wrap(self, kem: Kem, public: bytes, file_key: bytes, info: bytes) -> bytes | None:
        """HPKE, base mode, one shot, no AAD: enc, then the AES-256-GCM ciphertext; None for an impossible key."""

    def opener(self, kem: Kem, seed: bytes) -> Opener:
        """What undoes `wrap`; kept while many blobs are tried."""

    def signing(self, scheme: Scheme, seed: bytes) -> Signing:
        """What signs under the seed."""

    def verifies(self, scheme: Scheme, public: bytes, message: bytes, signature: bytes, context: bytes) -> bool:
        """Whether the signature is one of the message; False for an impossible key too."""


@dataclass(frozen=True)
class Provider:
    """An engine behind length checks. A wrong length of a caller's is a ValueError; one in a file is an answer."""

    name: str
    engine: Engine

    def public_of_kem(self, kem: Kem, seed: bytes) -> bytes:
        """The public key, `kem.public` bytes, of a seed of `kem.seed` bytes."""
        _check(kem.name, "seed", seed, kem.seed)
        return _check(kem.name, "public key", self.engine.public_of_kem(kem, seed), kem.public)

    def public_of_scheme(self, scheme: Scheme, seed: bytes) -> bytes:
        """The public key, `scheme.public` bytes, of a seed of `scheme.seed` bytes."""
        _check(scheme.name, "seed", seed, scheme.seed)
        return _check(scheme.name, "public key", self.engine.public_of_scheme(scheme, seed), scheme.public)

    def wrap(self, kem: Kem, public: bytes, file_key: bytes, info: bytes) -> bytes | None:
        """The wrapped file key, `kem.blob` bytes; None where the public key is impossible."""
        _check(kem.name, "public key", public, kem.public)
        _check(kem.name, "file key", file_key, FILE_KEY)
        blob = self.engine.wrap(kem, public, file_key, info)
        return None if blob is None else _check(kem.name, "wrapped key", blob, kem.blob)

    def opener(self, kem: Kem, seed: bytes) -> Opener:
        """(blob, info) -> file key, or None; also for blobs of another length than `kem.blob`."""
        _check(kem.name, "seed", seed, kem.seed)
        opens = self.engine.opener(kem, seed)

        def unwrap(blob: bytes, info: bytes) -> bytes | None:
            found = opens(blob, info) if len(blob) == kem.blob else None
            return found if found is not None and len(found) == FILE_KEY else None

        return unwrap

    def signing(self, scheme: Scheme, seed: bytes) -> Signing:
        """(message, context) -> signature of `scheme.signature` bytes."""
        _check(scheme.name, "seed", seed, scheme.seed)
        sign = self.engine.signing(scheme, seed)
        return lambda message, context: _check(scheme.name, "signature", sign(message, context), scheme.signature)

    def verifies(self, scheme: Scheme, public: bytes, message: bytes, signature: bytes, context: bytes) -> bool:
        """Whether the signature is right; lengths are part of that."""
        lengths_fit = len(public) == scheme.public and len(signature) == scheme.signature
        return lengths_fit and self.engine.verifies(scheme, public, message, signature, context)


ENGINES = {"cryptography": "harden.sealing.pyca", "oqs": "harden.sealing.liboqs"}
"""Provider -> the module that has its `engine`."""

DEFAULT = "cryptography"


def provider(name: str = DEFAULT) -> Provider:
    """The provider of this name. Raises ConfigError for an unknown one, MissingExtra where its library is not here."""
    check_name(name)
    module = importlib.import_module(ENGINES[name])
    return Provider(name, module.engine())


def check_name(name: str) -> None:
    """Raise ConfigError unless there is a provider of this name."""
    if name not in ENGINES:
        raise ConfigError(f"sealing.provider must be one of {', '.join(ENGINES)}, got {name}", hint_of(name))


def _check(kind: str, what: str, data: bytes, wanted: int) -> bytes:
    if len(data) != wanted:
        raise ValueError(f"a {what} of {kind} has {wanted} bytes, got {len(data)}")
    return data
