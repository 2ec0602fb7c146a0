"""What all doors of sealed files are asked for. No secret is among it: keys are paths, passphrases are asked for."""

from dataclasses import dataclass, field

from harden.errors import ConfigError
from harden.sealing.provider import DEFAULT, check_name
from harden.sealing.release.places import check_address, check_resource, place_of


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
class Keeping(Asking):
    """Who must agree, beside the holder of a key file, before a file opens: a token or a key broker."""

    token: str | None = None  # a key in a PKCS#11 token: pkcs11:token=T;object=K?module-path=/usr/lib/...
    kbs: str | None = None  # the https:// address of a Trustee key broker
    resource: str | None = None  # what it calls the secret: repository/type/tag

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.token and (self.kbs or self.resource):
            raise ConfigError("token and kbs exclude each other", "one keeper beside the key file: say one of them")
        if bool(self.kbs) != bool(self.resource):
            raise ConfigError("kbs and resource belong together", "kbs=https://... resource=repository/type/tag")
        if self.token:
            place_of(self.token)
        if self.kbs and self.resource:
            check_address(self.kbs)
            check_resource(self.resource)

    @property
    def kept(self) -> bool:
        """Whether a keeper is named."""
        return bool(self.token or self.kbs)

    def check_kept(self, beside: object, wanted: str) -> None:
        """ConfigError where a keeper is named and nothing stands beside it."""
        if self.kept and not beside:
            raise ConfigError(f"token and kbs stand beside a key file, never alone: {wanted} is missing")


@dataclass(frozen=True)
class Unlocking(Keeping):
    """What opens sealed files. `trust`: the signer's .pub or a trust store."""

    identity: str | None = None  # .key file; None: the file is sealed with a passphrase
    trust: str | None = None
    allow_unsigned: bool = False  # without trust=: do not ask where the file comes from
    allow_rollback: bool = False  # let an older epoch pass that the trust store would refuse

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_kept(self.identity, "identity=alice.key")
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
        need(self, "sealed", "it names the sealed file")
        self.check_trust()


@dataclass(frozen=True)
class InspectRequest:
    """A sealed file to be described; nothing is checked but its structure."""

    sealed: str | None = None

    def __post_init__(self) -> None:
        need(self, "sealed", "it names the sealed file")


@dataclass(frozen=True)
class UnsealRequest(Opening):
    """A sealed file to be written out in the clear, mode 0600."""

    output: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        need(self, "output", "it names the plain file")


@dataclass(frozen=True)
class VerifyRequest(Keeping):
    """A sealed file to be checked: signature, signer, epoch, every byte, and the rounds before. No key is needed."""

    sealed: str | None = None
    trust: str | None = None
    identity: str | None = None  # also open it, and check every tag
    allow_rollback: bool = False
    chain: bool | None = None  # walk back to the first round; None: where there is a manifest beside the file
    among: list[str] = field(default_factory=list)  # further folders, or files, with manifests of earlier rounds

    def __post_init__(self) -> None:
        super().__post_init__()
        need(self, "sealed", "it names the sealed file")
        need(self, "trust", "it names the signer's .pub, or a trust store")
        self.check_kept(self.identity, "identity=alice.key")
        if self.chain is False and self.among:
            raise ConfigError("chain=false and among contradict each other", "say one of them")


def need(request: object, name: str, hint: str) -> None:
    """ConfigError where the request lacks `name`."""
    if not getattr(request, name):
        raise ConfigError(f"{name}=... is missing", hint)
