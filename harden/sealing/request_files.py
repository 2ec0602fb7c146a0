"""What `harden.seal` is asked for."""

from dataclasses import dataclass, field

from harden.errors import ConfigError
from harden.sealing.request import Asking, Keeping, Opening, Unlocking, need


@dataclass(frozen=True)
class Vouching:
    """What a signed manifest beside a sealed file says of how its content came about."""

    manifest: bool | None = None  # whether to write one; None: where a signer is given
    run: str | None = None  # folder of the run that made the weights; None: their own, where it is that
    code: str | None = None  # commit of the code that made them; None: what the run says
    tell_weights: bool = False  # say the digest of the plain weights, by which anybody recognises them


@dataclass(frozen=True)
class SealRequest(Vouching, Keeping):
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
    trust: str | None = None  # who may have signed the parent's manifest; None: this signer alone
    round: str | None = None
    watermark: str | None = None  # digest of the claim
    bom: str | None = None  # digest of the bill of materials
    recipe: str | None = None  # digest of the recipe
    room: int = 1  # for so many recipients more, until a rewrap needs a copy

    def __post_init__(self) -> None:
        super().__post_init__()
        need(self, "weights", "it names the file to be sealed")
        need(self, "output", "it names the sealed file, such as weights.sealed")
        _check_recipients(self.to, self.passphrase)
        self.check_kept(self.to, "to=[...]")
        _check_vouching(self, self.signer)
        if not 0 <= self.room <= 127:
            raise ConfigError(f"room must be 0 to 127 recipients, got {self.room}")

    @property
    def metadata(self) -> dict[str, str]:
        """The free facts that were given."""
        said = {name: getattr(self, name) for name in ("round", "watermark", "bom", "recipe")}
        return {name: value for name, value in said.items() if value is not None}


@dataclass(frozen=True)
class RewrapRequest(Opening):
    """Other recipients for a sealed file. With neither `to` nor `add`, its slots are written anew."""

    to: list[str] = field(default_factory=list)  # exactly those, .pub files
    add: list[str] = field(default_factory=list)  # those of now, and these
    output: str | None = None  # None: in place; else a copy, whose slots have room
    passphrase: bool = False  # for whoever knows a passphrase instead
    key_alone: bool = False  # new recipients need their key file alone, not token or key broker too

    def __post_init__(self) -> None:
        super().__post_init__()
        if sum(map(bool, (self.to, self.add, self.passphrase))) > 1:
            raise ConfigError("to, add and passphrase exclude each other", "to=[...] names all who shall open it")


@dataclass(frozen=True)
class RotateRequest(Vouching, Opening):
    """A sealed file to be sealed anew under another file key, as the next epoch."""

    to: list[str] = field(default_factory=list)
    passphrase: bool = False
    key_alone: bool = False  # they need their key file alone, not token or key broker too
    signer: str | None = None
    output: str | None = None
    overwrite: bool = False  # `output` may then be the file itself

    def __post_init__(self) -> None:
        super().__post_init__()
        need(self, "output", "it may be the file itself, with overwrite=true")
        _check_recipients(self.to, self.passphrase)
        _check_vouching(self, self.signer)


@dataclass(frozen=True)
class VouchRequest(Vouching, Asking):
    """A sealed file to be vouched for afterwards, by its signer or somebody else."""

    sealed: str | None = None
    signer: str | None = None
    trust: str | None = None  # who may have signed the file and the parent's manifest; None: this signer alone
    parent: str | None = None  # the sealed file of the epoch before, or its manifest
    allow_rollback: bool = False
    overwrite: bool = False  # in the place of a manifest that is there

    def __post_init__(self) -> None:
        super().__post_init__()
        need(self, "sealed", "it names the sealed file")
        need(self, "signer", "it names who vouches: signer=acme.key")
        _check_vouching(self, self.signer)
        if self.manifest is False or self.tell_weights:
            raise ConfigError("vouch writes a manifest, and does not open the file", "leave out manifest, tell_weights")


@dataclass(frozen=True)
class ExportRequest(Unlocking):
    """A file, plain or sealed, to be written as an age file for holders of post-quantum age keys."""

    weights: str | None = None  # a plain file
    sealed: str | None = None  # or a sealed one, opened by identity and trust
    to: list[str] = field(default_factory=list)  # age1pq1..., files of those, or .pub files
    output: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.weights) == bool(self.sealed):
            raise ConfigError("export takes a plain file or a sealed one", "say weights=FILE or sealed=FILE")
        if self.sealed:
            self.check_trust()
        elif self.identity or self.trust:
            raise ConfigError("identity and trust open a sealed file, and weights=FILE is plain", "leave them out")
        if not self.to:
            raise ConfigError("to=[...] is missing", "it lists who shall read it: to=[age1pq1...] or to=[alice.pub]")
        need(self, "output", "it names the age file, such as weights.age")


@dataclass(frozen=True)
class ImportRequest(Asking):
    """An age file to be written out in the clear, mode 0600. Nobody signs one: a manifest must vouch for it."""

    age: str | None = None
    identity: str | None = None  # file of AGE-SECRET-KEY-..., or a .key; None: it is encrypted with a passphrase
    manifest: str | None = None  # one that tells the digest of the plain weights
    trust: str | None = None  # who may have signed it
    allow_unsigned: bool = False  # do not ask where the file comes from
    allow_rollback: bool = False
    output: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        need(self, "age", "it names the age file")
        need(self, "output", "it names the plain file")
        if self.allow_unsigned and (self.manifest or self.trust):
            raise ConfigError("allow_unsigned and a manifest contradict each other", "say one of them")
        if bool(self.manifest) != bool(self.trust):
            raise ConfigError("manifest and trust belong together", "manifest=F.sealed.manifest.json trust=acme.pub")


def _check_vouching(request: Vouching, signer: str | None) -> None:
    said = [name for name in ("run", "code", "tell_weights", "manifest") if getattr(request, name)]
    if said and (not signer or request.manifest is False):
        raise ConfigError(f"{said[0]} is for a signed manifest, and none is to be written", "say signer=acme.key")


def _check_recipients(to: list[str], passphrase: bool) -> None:
    if not to and not passphrase:
        raise ConfigError("to=[...] is missing", "it lists the .pub files of who shall open it: to=[alice.pub,bob.pub]")
    if to and passphrase:
        raise ConfigError("a passphrase stands alone: whoever guesses it needs no other key", "say to or passphrase")
