"""What `harden.evaluate` is asked for."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from harden.attacks import Attack
from harden.data import DataChoice
from harden.errors import ConfigError
from harden.kernels import Wanted
from harden.ledger import Tracking
from harden.sealing.request import Unlocking
from harden.threat import ThreatModel


class Certify(Enum):
    """Which lower bound stands beside the attacks' upper one."""

    auto = "auto"  # crown_ibp for linf where the network allows it, else none
    none = "none"
    ibp = "ibp"
    crown_ibp = "crown_ibp"
    smooth = "smooth"


@dataclass(frozen=True)
class Smoothing:
    """Randomised smoothing: noise of `sigma`, `n0` votes to choose the class, `n` to certify it at level `alpha`."""

    sigma: float = 0.25
    n0: int = 100
    n: int = 1000
    alpha: float = 0.001
    images: int = 200  # the first so many; smoothing takes n passes each

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise ConfigError(f"smoothing.sigma must be > 0, in units of pixels of 0..1, got {self.sigma:g}")
        if min(self.n0, self.n, self.images) < 1:
            raise ConfigError(f"smoothing.n0, n and images must be >= 1, got {self.n0}, {self.n} and {self.images}")
        if not 0 < self.alpha < 1:
            raise ConfigError(f"smoothing.alpha must lie in (0, 1), got {self.alpha:g}")


@dataclass(frozen=True)
class Asked:
    """What stands beside the attacks, once it is known: `EvaluateRequest` has the meaning of each."""

    batch_size: int
    eot: int
    sanity: bool
    curve: bool
    unseen: bool
    certify: Certify
    smoothing: Smoothing
    draws: int
    against: str | None
    transfer: list[str]


@dataclass(frozen=True)
class EvaluateRequest(Unlocking):
    """A weights file to attack. What is None is taken from the file: its data, its threat model, its network.

    A file never names code to import: data or networks of the user's own must be named again. All weights may be
    sealed; then identity and trust say what opens them.
    """

    weights: str | None = None
    suite: Any = (
        None  # quick, standard, demanding, extended or a list of attacks; None: standard, or the one attack named
    )
    attack: Any = None  # one attack, in the place of a suite
    threat: Any = None
    data: Any = None
    model: Any = None  # only for model=custom
    images: int = 1000  # the first so many test images; 0: all
    batch_size: int = 250
    seed: int = 0
    eot: int = 1  # passes that gradients are averaged over, for models that answer at random
    draws: int = 1  # how often the suite is run, each time with other random draws
    cascade: bool = True  # each attack on what those before it left; false: each on all, to compare them
    sanity: bool | None = None  # None: as the suite does: quick leaves out all but the sanity battery
    curve: bool | None = None  # accuracy against eps, from one minimum-norm run
    unseen: bool | None = None  # other norms, rotations and shifts, common corruptions
    certify: Certify = Certify.auto
    smoothing: Smoothing = field(default_factory=Smoothing)
    against: str | None = None  # other weights, on the same images: which of the two is better?
    transfer: list[str] = field(default_factory=list)  # weights: do one's adversarial images fool the other?
    output: str | None = None  # folder of the evidence; None: a free name beside the weights
    overwrite: bool = False
    device: str = "auto"
    kernels: Wanted = Wanted.auto  # the engine of the perturbation loops: torch, numba or cuda
    tracking: Tracking = field(default_factory=Tracking)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.weights:
            raise ConfigError("weights=FILE is missing", "train a model first: python -m harden.train +attack=pgd")
        if self.eot < 1:
            raise ConfigError(f"eot must be >= 1, got {self.eot}")
        if self.draws < 1:
            raise ConfigError(f"draws must be >= 1, got {self.draws}")
        if self.images < 0 or self.batch_size < 1:
            raise ConfigError(f"images must be >= 0 and batch_size >= 1, got {self.images} and {self.batch_size}")
        if "" in (self.output, self.against):
            raise ConfigError("output and against must name something, got nothing", "leave them out or name one")
        kinds = {"attack": Attack, "threat": ThreatModel, "data": DataChoice}
        for name, kind in kinds.items():
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise ConfigError(f"{name} needs an option of its group", f"say {name}=<option>; --help lists them")
        if self.threat is not None and (self.threat.low > 0 or self.threat.high < 1):
            raise ConfigError("images have pixels of 0..1, the box must hold them", "leave out threat.low, threat.high")
        self._check_suite()

    def _check_suite(self) -> None:
        is_list = isinstance(self.suite, list | tuple)
        words = self.suite if is_list else [self.suite]
        if self.suite is not None and not (words and all(isinstance(word, str) and word for word in words)):
            raise ConfigError(
                f"suite must be quick, standard, demanding, extended or a list of attacks, got {self.suite}",
                "write suite=standard or suite=[apgd_ce,square]",
            )
        if self.suite is not None and self.attack is not None:
            raise ConfigError("suite and attack contradict each other", "say one of them")

    def wants(self, part: str) -> bool:
        """Whether the `part` (sanity, curve, unseen) is to be done: what was said, else what the suite does."""
        said: bool | None = getattr(self, part)
        if said is not None:
            return said
        full = self.attack is None and self.suite in (None, "standard", "demanding", "extended")
        return full or (part == "sanity" and self.suite == "quick")

    @property
    def asked(self) -> Asked:
        """What is to stand beside the attacks."""
        certify = self.certify
        if certify is Certify.auto and not self.wants("curve"):
            certify = Certify.none
        return Asked(
            batch_size=self.batch_size,
            eot=self.eot,
            sanity=self.wants("sanity"),
            curve=self.wants("curve"),
            unseen=self.wants("unseen"),
            certify=certify,
            smoothing=self.smoothing,
            draws=self.draws,
            against=self.against,
            transfer=list(self.transfer),
        )


SKIPPABLE = ("against", "curve", "transfer", "unseen")
"""Parts of an evaluation that a verification may leave out."""


@dataclass(frozen=True)
class VerifyRequest(Unlocking):
    """The folder of a finished evaluation, every number of which is to be computed again.

    `against`, `transfer`: where the other weights lie, if not where they lay when the evaluation was made.
    """

    evidence: str | None = None
    weights: str | None = None  # None: the file that the evaluation names
    data: Any = None
    model: Any = None
    against: str | None = None
    transfer: list[str] = field(default_factory=list)
    skip: list[str] = field(default_factory=list)  # parts not to be looked at: against, transfer, unseen, ...
    sanity: bool = False  # the sanity battery too: it attacks afresh, and takes as long as it did
    device: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.evidence:
            raise ConfigError("evidence=DIR is missing", "it names the folder that harden.evaluate wrote")
        if unknown := sorted(set(self.skip) - set(SKIPPABLE)):
            raise ConfigError(f"skip names {', '.join(unknown)}; it may name: {', '.join(SKIPPABLE)}")
        if self.data is not None and not isinstance(self.data, DataChoice):
            raise ConfigError("data needs an option of its group", "say data=<option>; --help lists them")
