"""What watermark is asked for. Keys are paths, passphrases are asked for; weights may be sealed."""

from dataclasses import dataclass, field
from typing import Any

from harden.errors import ConfigError
from harden.ledger import Tracking
from harden.sealing.request import Unlocking
from harden.watermarking import Level, Profile


@dataclass(frozen=True)
class WatermarkRequest:
    """Nothing: watermark needs an action."""

    def __post_init__(self) -> None:
        raise ConfigError(
            "watermark needs an action: embed, verify, trace or disclose",
            "python -m harden.watermark action=embed weights=weights.safetensors owner=acme.key output=marked",
        )


@dataclass(frozen=True)
class Scoring:
    """How accuracy before and after is measured: on data that the weights were trained on, or none."""

    images: int = 1000  # the first so many test images; 0: no accuracy is measured
    steps: int = 20  # of PGD
    tolerance: float = 0.005  # accuracy that may be lost where the loss is significant; more: exit code 3, no file

    def __post_init__(self) -> None:
        if self.images < 0 or self.steps < 1 or not 0 <= self.tolerance <= 1:
            raise ConfigError("score.images must be >= 0, score.steps >= 1, score.tolerance a share of 1")


@dataclass(frozen=True)
class EmbedRequest(Unlocking):
    """Weights to be marked, and as whose."""

    weights: str | None = None
    owner: str | None = None  # .key file of the owner
    output: str | None = None  # a folder that is made: weights, claim, receipt, sidecar, book
    recipient: str | None = None  # whose copy it will be; needs parent
    parent: str | None = None  # claim.json of the mark below a recipient's, or of the round before
    round: str = ""
    model_id: str = ""
    profile: Profile = Profile.standard
    level: Level = Level.auto
    bits: int | None = None  # None: as many as fit
    leaves: int | None = None  # None: as many as can be shown one by one
    headroom: float | None = None  # over the level's Z; None: the profile's
    skip: list[str] = field(default_factory=list)  # tensors to be left alone too
    data: Any = None  # the images for the scores; None: those that the weights name
    score: Scoring = field(default_factory=Scoring)
    tracking: Tracking = field(default_factory=Tracking)

    def __post_init__(self) -> None:
        super().__post_init__()
        need(self, "weights", "it names the weights to be marked")
        need(self, "owner", "it names the owner's .key: python -m harden.keygen action=owner output=acme")
        need(self, "output", "it names a folder that is made")
        if self.recipient is not None and not self.parent:
            raise ConfigError(
                "a recipient's mark lies on top of the owner's: parent=... is missing", "parent=marked/claim.json"
            )
        if self.recipient == "":
            raise ConfigError("recipient must be a name, got nothing", "leave it out")


@dataclass(frozen=True)
class VerifyMarkRequest(Unlocking):
    """Weights to be looked at for the mark of a claim, by the owner's key or by a leaf that was shown."""

    weights: str | None = None
    claim: str | None = None
    owner: str | None = None  # .key of the owner; with a leaf its .pub is enough, and says whom to believe
    leaf: str | None = None  # leaf.json
    sidecar: str | None = None  # weights.sidecar
    map: str | None = None  # a file of lines `new name = name in the claim`
    align: bool = True  # with a sidecar: look for permuted neurons too
    level: Level = Level.match  # what the evidence must reach for exit code 0
    output: str | None = None  # a folder for verification.json and evidence.svg; None: only the record has them
    tracking: Tracking = field(default_factory=Tracking)

    def __post_init__(self) -> None:
        super().__post_init__()
        need(self, "weights", "it names the suspect")
        if self.leaf and self.claim:
            raise ConfigError("a leaf brings its claim along: claim and leaf exclude each other", "leave out claim=...")
        if not self.leaf:
            need(self, "claim", "it names claim.json")
            need(self, "owner", "it names the owner's .key, or say leaf=leaf.json")
        if self.level is Level.auto:
            raise ConfigError("level must be match or court for a verdict")


@dataclass(frozen=True)
class TraceRequest(Unlocking):
    """A leaked copy, and the recipients whose it may be."""

    weights: str | None = None
    claims: str | None = None  # a folder; recipients' claims are sought in it and below
    base: str | None = None  # the owner's marked weights
    owner: str | None = None
    tracking: Tracking = field(default_factory=Tracking)

    def __post_init__(self) -> None:
        super().__post_init__()
        need(self, "weights", "it names the copy that leaked")
        need(self, "claims", "it names the folder of the recipients' claims")
        need(self, "base", "it names the owner's marked weights, which every copy was made of")
        need(self, "owner", "it names the owner's .key")


@dataclass(frozen=True)
class DiscloseRequest(Unlocking):
    """A leaf of a claim's keys to be shown."""

    claim: str | None = None
    owner: str | None = None
    leaf: int | None = None  # None: the first that was not shown yet
    output: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        need(self, "claim", "it names claim.json")
        need(self, "owner", "it names the owner's .key")
        need(self, "output", "it names the file for the leaf, such as leaf.json")


def need(request: object, name: str, hint: str) -> None:
    """Raise ConfigError where a key was left out."""
    if not getattr(request, name):
        raise ConfigError(f"{name}=... is missing", hint)
