"""Attested release: what evidence is bound to, what a verdict says, and which rules it must meet.

    report data = SHA-512(label "release evidence" | public key | nonce | H)      64 bytes, as SEV-SNP and TDX carry
    policy id   = SHA-512(label "release policy" | the rules in canonical JSON)[:32]

A policy's id is a digest of its rules: whoever seals a file names the very rules, not a name that somebody can
give other rules later.
"""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from harden.errors import ConfigError
from harden.sealing import canonical
from harden.sealing.derive import label
from harden.sealing.errors import Refused
from harden.sealing.publish import naming

POLICY_ID = 32
NONCE = 32
SKEW = 5.0
"""Seconds that the attestor's clock may be ahead."""
NO_HARDWARE = "no hardware protection"
FORMAT = "harden-release-policy/1"

Clock = Callable[[], float]
"""Seconds since 1970."""


class Attestor(Protocol):
    """What makes evidence about the machine it runs on."""

    @property
    def protection(self) -> str:
        """What protects this machine's memory, in words; NO_HARDWARE where nothing does."""

    def evidence(self, report_data: bytes) -> bytes:
        """Evidence that holds these 64 bytes. Refused where there is none to be had."""


@dataclass(frozen=True)
class Verdict:
    """What a verifier found evidence to say. `issued`: seconds since 1970; `measurement`: hex."""

    platform: str
    hardware: bool
    measurement: str
    issued: float
    report_data: bytes

    @property
    def protection(self) -> str:
        """What protects the reader's memory, in words."""
        return f"hardware: {self.platform}" if self.hardware else NO_HARDWARE


class Verifier(Protocol):
    """What can tell genuine evidence. It does not judge: that is a policy's."""

    def verdict(self, evidence: bytes) -> Verdict:
        """What the evidence says. Refused where it is not genuine."""


class Policy(Protocol):
    """Rules under which a broker lets file keys go."""

    @property
    def id(self) -> bytes:
        """32 bytes that no other rules have."""

    def check(self, verdict: Verdict, now: float) -> None:
        """Nothing where the rules are met, else Refused."""


@dataclass(frozen=True)
class Rules:
    """A policy: which platforms, which measurements (hex), how old evidence may be, in seconds.

    Evidence without hardware behind it is refused, unless `without_hardware` says otherwise in so many words.
    """

    platforms: tuple[str, ...]
    measurements: tuple[str, ...]
    freshest: int = 60
    without_hardware: bool = False

    def __post_init__(self) -> None:
        words = (*self.platforms, *self.measurements)
        if not self.platforms or not self.measurements or not all(map(_is_word, words)):
            raise ConfigError("a release policy names its platforms and measurements, plain words all of them")
        if not 1 <= self.freshest <= 3600:
            raise ConfigError(f"freshest is 1 to 3600 seconds, got {self.freshest}")

    @property
    def id(self) -> bytes:
        """The digest of these rules."""
        return policy_id(self.encode())

    def encode(self) -> bytes:
        """The rules as canonical JSON; `rules_of` reads it."""
        raw = asdict(self) | {"format": FORMAT, "without_hardware": int(self.without_hardware)}
        return canonical.encode(raw | {name: " ".join(raw[name]) for name in ("platforms", "measurements")})

    def check(self, verdict: Verdict, now: float) -> None:
        """Nothing where the verdict meets every rule, else Refused, naming the first that it does not meet."""
        if not verdict.hardware and not self.without_hardware:
            raise Refused(f"the evidence shows {NO_HARDWARE}", "only a policy with without_hardware allows that")
        if verdict.platform not in self.platforms:
            raise Refused(f"the evidence is of {verdict.platform}, wanted {' or '.join(self.platforms)}")
        if verdict.measurement not in self.measurements:
            raise Refused(f"what runs there measures {verdict.measurement[:16]}.., which the policy does not name")
        if not -SKEW <= now - verdict.issued <= self.freshest:
            raise Refused(f"the evidence is {now - verdict.issued:.0f} s old, wanted at most {self.freshest}")


def rules_of(path: Path) -> Rules:
    """The rules in a file that holds what `encode` wrote. ConfigError for any other, Unreadable."""
    with naming(path):
        data = path.read_bytes()
    try:
        raw = canonical.decode(data.removesuffix(b"\n"))
        lists = {name: tuple(raw[name].split(" ")) for name in ("platforms", "measurements")}
        rules = Rules(**lists, freshest=raw["freshest"], without_hardware=raw["without_hardware"] == 1)
        sound = rules.encode() == data.removesuffix(b"\n")
    except (ValueError, KeyError, AttributeError, TypeError):
        sound = False
    if not sound:
        raise ConfigError(f"{path}: is not a release policy of harden", f"wanted canonical JSON, format {FORMAT}")
    return rules


def policy_id(rules: bytes) -> bytes:
    """The 32 bytes that name these rules."""
    return hashlib.sha512(label("release policy") + rules).digest()[:POLICY_ID]


def report_data(public: bytes, nonce: bytes, bound: bytes) -> bytes:
    """What evidence must hold: the fresh public key, the broker's nonce and H of the file."""
    return hashlib.sha512(label("release evidence") + public + nonce + bound).digest()


def _is_word(value: str) -> bool:
    return canonical.is_plain(value) and bool(value) and " " not in value
