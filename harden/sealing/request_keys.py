"""What `harden.keygen` is asked for."""

from dataclasses import dataclass, field
from enum import Enum

from harden.errors import ConfigError
from harden.sealing.release.places import place_of
from harden.sealing.request import Asking, need


class Protect(Enum):
    """What a secret key file is protected by, beside its mode."""

    passphrase = "passphrase"  # Argon2id and AES-256-GCM
    none = "none"


class SuiteName(Enum):
    """Which primitives keys are for; a file has the suite of its keys."""

    hybrid = "hybrid"  # X-Wing (ML-KEM-768 and X25519), ML-DSA-65 and Ed25519
    cnsa = "cnsa"  # ML-KEM-1024, ML-DSA-87


@dataclass(frozen=True)
class KeygenRequest:
    """Nothing: keygen needs an action."""

    def __post_init__(self) -> None:
        raise ConfigError(
            "keygen needs an action: recipient, signer, trust or token",
            "python -m harden.keygen action=recipient output=alice",
        )


@dataclass(frozen=True)
class PairRequest(Asking):
    """A fresh key pair: `output`.key and `output`.pub."""

    output: str | None = None
    protect: Protect = Protect.passphrase
    suite: SuiteName = SuiteName.hybrid

    def __post_init__(self) -> None:
        super().__post_init__()
        need(self, "output", "it names both files: output=alice makes alice.key and alice.pub")
        if self.protect is Protect.none and self.passphrase_fd is not None:
            raise ConfigError("protect=none and passphrase_fd contradict each other", "say one of them")


@dataclass(frozen=True)
class RecipientRequest(PairRequest):
    """The key pair of somebody whom files are sealed for."""


@dataclass(frozen=True)
class SignerRequest(PairRequest):
    """The key pair of somebody who signs sealed files."""


@dataclass(frozen=True)
class TokenRequest(Asking):
    """An AES-256 key to be made in a PKCS#11 token; it cannot leave."""

    token: str | None = None  # pkcs11:token=T;object=K?module-path=/usr/lib/...

    def __post_init__(self) -> None:
        super().__post_init__()
        need(self, "token", "it names token and key: 'pkcs11:token=T;object=K?module-path=/usr/lib/...'")
        place_of(str(self.token))


@dataclass(frozen=True)
class TrustRequest:
    """A trust store to be made or changed: whom to believe. It remembers the highest epoch of each model."""

    output: str | None = None
    add: list[str] = field(default_factory=list)  # .pub files of signers to be trusted from now on
    retire: list[str] = field(default_factory=list)  # .pub files of signers to be trusted no longer

    def __post_init__(self) -> None:
        need(self, "output", "it names the trust store: output=trust.json")
        if not self.add and not self.retire:
            raise ConfigError("there is nothing to change", "say add=[acme.pub] or retire=[acme.pub]")
