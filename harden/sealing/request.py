"""What keygen, seal, unseal and verify are asked for. Secrets are never among it: keys are paths, passphrases asked."""

from dataclasses import dataclass, field
from enum import Enum

from harden.errors import ConfigError
from harden.sealing.provider import DEFAULT, check_name


class Protect(Enum):
    """What a secret key file is protected by, beside its mode."""

    passphrase = "passphrase"  # Argon2id and AES-256-GCM
    none = "none"


class SuiteName(Enum):
    """Which primitives keys are for; a file has the suite of its keys."""

    hybrid = "hybrid"  # X-Wing (ML-KEM-768 and X25519), ML-DSA-65 and Ed25519
    cnsa = "cnsa"  # ML-KEM-1024, ML-DSA-87


@dataclass(frozen=True)
class Sealing:
    """Who does the work of key encapsulation and signing; the bytes are the same."""

    provider: str = DEFAULT

    def __post_init__(self) -> None:
        check_name(self.provider)


@dataclass(frozen=True)
class Asking:
    """Common to all that may need a secret: who works, and where passphrases come from."""

    passphrase_fd: int | None = None  # a descriptor with one passphrase a line; None: asked on the terminal
    sealing: Sealing = field(default_factory=Sealing)

    def __post_init__(self) -> None:
        if self.passphrase_fd is not None and self.passphrase_fd < 0:
            raise ConfigError(f"passphrase_fd must be the number of an open descriptor, got {self.passphrase_fd}")


@dataclass(frozen=True)
class KeygenRequest:
    """Nothing: keygen needs an action."""

    def __post_init__(self) -> None:
        raise ConfigError(
            "keygen needs an action: recipient, signer, owner or trust",
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
        _need(self, "output", "it names both files: output=alice makes alice.key and alice.pub")
        if self.protect is Protect.none and self.passphrase_fd is not None:
            raise ConfigError("protect=none and passphrase_fd contradict each other", "say one of them")


@dataclass(frozen=True)
class RecipientRequest(PairRequest):
    """The key pair of somebody whom files are sealed for."""


@dataclass(frozen=True)
class SignerRequest(PairRequest):
    """The key pair of somebody who signs sealed files."""


@dataclass(frozen=True)
class OwnerRequest(PairRequest):
    """The key pair of somebody who marks weights: what signs claims, and a secret that marks are derived from."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.suite is not SuiteName.hybrid:
            raise ConfigError("claims are signed with ML-DSA-65 and Ed25519: an owner's key has suite=hybrid")


@dataclass(frozen=True)
class TrustRequest:
    """A trust store to be made or changed: whom to believe. It remembers the highest epoch of each model."""

    output: str | None = None
    add: list[str] = field(default_factory=list)  # .pub files of signers to be trusted from now on
    retire: list[str] = field(default_factory=list)  # .pub files of signers to be trusted no longer

    def __post_init__(self) -> None:
        _need(self, "output", "it names the trust store: output=trust.json")
        if not self.add and not self.retire:
            raise ConfigError("there is nothing to change", "say add=[acme.pub] or retire=[acme.pub]")


@dataclass(frozen=True)
class SealRequest(Asking):
    """A file to be sealed. All of the facts below are public, and bound to key and signature."""

    weights: str | None = None
    to: list[str] = field(default_factory=list)  # .pub files of the recipients
    passphrase: bool = False  # seal for whoever knows a passphrase instead
    signer: str | None = None  # .key file; None: unsigned
    output: str | None = None
    overwrite: bool = False
    model_id: str | None = None  # None: a random one, or the parent's
    epoch: int | None = None  # counter against older files; None: 1, or one more than the parent's
    parent: str | None = None  # the sealed file of the epoch before
    round: str | None = None
    watermark: str | None = None  # digest of the claim
    bom: str | None = None  # digest of the bill of materials
    recipe: str | None = None  # digest of the recipe
    room: int = 1  # for so many recipients more, until a rewrap needs a copy

    def __post_init__(self) -> None:
        super().__post_init__()
        _need(self, "weights", "it names the file to be sealed")
        _need(self, "output", "it names the sealed file, such as weights.sealed")
        _check_recipients(self.to, self.passphrase)
        if not 0 <= self.room <= 127:
            raise ConfigError(f"room must be 0 to 127 recipients, got {self.room}")

    @property
    def metadata(self) -> dict[str, str]:
        """The free facts that were given."""
        said = {name: getattr(self, name) for name in ("round", "watermark", "bom", "recipe")}
        return {name: value for name, value in said.items() if value is not None}


@dataclass(frozen=True)
class Unlocking(Asking):
    """What opens sealed files. `trust`: the signer's .pub or a trust store."""

    identity: str | None = None  # .key file; None: the file is sealed with a passphrase
    trust: str | None = None
    allow_unsigned: bool = False  # without trust=: do not ask where the file comes from
    allow_rollback: bool = False  # let an older epoch pass that the trust store would refuse

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.trust and self.allow_unsigned:
            raise ConfigError("trust and allow_unsigned contradict each other", "say one of them")

    def check_trust(self) -> None:
        """ConfigError where nothing is said of whom to trust."""
        if not self.trust and not self.allow_unsigned:
            raise ConfigError(
                "trust=FILE is missing: the signer's .pub, or a trust store",
                "to open a file without asking where it comes from: allow_unsigned=true",
            )


@dataclass(frozen=True)
class Opening(Unlocking):
    """A sealed file, and what opens it."""

    sealed: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _need(self, "sealed", "it names the sealed file")
        self.check_trust()


@dataclass(frozen=True)
class RewrapRequest(Opening):
    """Other recipients for a sealed file. With neither `to` nor `add`, its slots are written anew."""

    to: list[str] = field(default_factory=list)  # exactly those, .pub files
    add: list[str] = field(default_factory=list)  # those of now, and these
    output: str | None = None  # None: in place; else a copy, whose slots have room
    passphrase: bool = False  # for whoever knows a passphrase instead

    def __post_init__(self) -> None:
        super().__post_init__()
        if sum(map(bool, (self.to, self.add, self.passphrase))) > 1:
            raise ConfigError("to, add and passphrase exclude each other", "to=[...] names all who shall open it")


@dataclass(frozen=True)
class RotateRequest(Opening):
    """A sealed file to be sealed anew under another file key, as the next epoch."""

    to: list[str] = field(default_factory=list)
    passphrase: bool = False
    signer: str | None = None
    output: str | None = None
    overwrite: bool = False  # `output` may then be the file itself

    def __post_init__(self) -> None:
        super().__post_init__()
        _need(self, "output", "it may be the file itself, with overwrite=true")
        _check_recipients(self.to, self.passphrase)


@dataclass(frozen=True)
class InspectRequest:
    """A sealed file to be described; nothing is checked but its structure."""

    sealed: str | None = None

    def __post_init__(self) -> None:
        _need(self, "sealed", "it names the sealed file")


@dataclass(frozen=True)
class UnsealRequest(Opening):
    """A sealed file to be written out in the clear, mode 0600."""

    output: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _need(self, "output", "it names the plain file")


@dataclass(frozen=True)
class VerifyRequest(Asking):
    """A sealed file to be checked: signature, signer, epoch, every byte. No key is needed."""

    sealed: str | None = None
    trust: str | None = None
    identity: str | None = None  # also open it, and check every tag
    allow_rollback: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _need(self, "sealed", "it names the sealed file")
        _need(self, "trust", "it names the signer's .pub, or a trust store")


def _need(request: object, name: str, hint: str) -> None:
    if not getattr(request, name):
        raise ConfigError(f"{name}=... is missing", hint)


def _check_recipients(to: list[str], passphrase: bool) -> None:
    if not to and not passphrase:
        raise ConfigError("to=[...] is missing", "it lists the .pub files of who shall open it: to=[alice.pub,bob.pub]")
    if to and passphrase:
        raise ConfigError("a passphrase stands alone: whoever guesses it needs no other key", "say to or passphrase")
