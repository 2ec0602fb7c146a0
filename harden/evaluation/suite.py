"""Which attacks make an evaluation, and what it may be called.

`standard` is AutoAttack's standard set (Croce and Hein 2020, arXiv 2003.01690; for l1: 2021, arXiv 2103.01208)
and the only one that is printed as "AA". The other names say what they are.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from harden.attacks import (
    Adaptive,
    ApgdCe,
    ApgdDlr,
    ApgdT,
    Art,
    Attack,
    Borrowed,
    Cw,
    Ddn,
    DiFgsm,
    FabT,
    Fmn,
    Keep,
    Loss,
    MiFgsm,
    Pgd,
    Pointwise,
    Square,
)
from harden.errors import ConfigError
from harden.threat import Norm

FIRST = 1000
"""How many of the first test images "AA(1k)" stands for."""


@dataclass(frozen=True)
class Suite:
    """Attacks by their key in files and tables, strongest first where it matters, worst case per sample."""

    name: str
    attacks: Mapping[str, Attack]

    def __post_init__(self) -> None:
        if not self.attacks:
            raise ConfigError("suite names no attack", "say suite=standard, or a list: suite=[apgd_ce,square]")
        for attack in self.attacks.values():
            if attack.leaves_ball:
                raise ConfigError(
                    f"{attack.label} leaves the ball, so that it can train a model but not measure one",
                    "choose another attack for the evaluation",
                )

    def averaged(self, samples: int) -> "Suite":
        """The same attacks, each on the model's mean over `samples` passes, for models that answer at random."""
        if samples == 1:
            return self
        attacks = {key: Adaptive(base=attack, samples=samples) for key, attack in self.attacks.items()}
        return Suite(f"{self.name}-eot{samples}", attacks)

    def borrowing(self, sources: Sequence[str]) -> "Suite":
        """The same attacks, and transfer attacks made on each of the models called `sources`."""
        more = {
            f"{key}_from_{number}": Borrowed(base=base, source=source)
            for number, source in enumerate(sources, start=1)
            for key, base in (("mi_fgsm", MiFgsm(keep=Keep.last)), ("di_fgsm", DiFgsm(keep=Keep.last)))
        }
        return Suite(self.name, {**self.attacks, **more})

    @property
    def own(self) -> dict[str, Attack]:
        """As `plain`, those that are made on the model itself."""
        return {key: one for key, one in self.plain.items() if not one.made_on}

    @property
    def plain(self) -> dict[str, Attack]:
        """The attacks as they are before any averaging."""
        return {key: one.base if isinstance(one, Adaptive) else one for key, one in self.attacks.items()}

    def label(self, *, classes: int, images: int, whole: int) -> str:
        """What tables call it: `images` of `whole` test images, the first ones, were attacked."""
        return label_of(self.name, classes=classes, images=images, whole=whole)


def suite_of(name: str, norm: Norm) -> Suite:
    """The suite `quick`, `standard` or `extended` for threats in `norm`. Raises ConfigError for other names."""
    if name not in SUITES:
        raise ConfigError(
            f"there is no suite '{name}'; there are: {', '.join(SUITES)}", "or list attacks: [pgd,square]"
        )
    return Suite(name, SUITES[name](norm))


def _quick(_norm: Norm) -> dict[str, Attack]:
    """A cascade: each one cheap, and dear ones for what the cheap ones left."""
    return {
        "pgd": Pgd(steps=20, loss=Loss.margin),
        "apgd_t": ApgdT(steps=50, targets=3),
        "square": Square(queries=500),
    }


def _standard(norm: Norm) -> dict[str, Attack]:
    many = norm is Norm.l1
    return {
        "apgd_ce": ApgdCe(restarts=5 if many else 1),
        "apgd_t": ApgdT(targets=5 if many else 9),
        "fab_t": FabT(),
        "square": Square(whole=False),
    }


def _demanding(norm: Norm) -> dict[str, Attack]:
    """The standard set with restarts, the other loss, and a square attack that reaches every pixel: no ART."""
    attacks = _standard(norm)
    attacks |= {"apgd_ce_restarts": ApgdCe(restarts=5), "apgd_dlr_restarts": ApgdDlr(restarts=5)}
    return attacks | {"square_whole": Square()}


def _extended(norm: Norm) -> dict[str, Attack]:
    """The standard set, then restarts, minimum-norm and decision-based attacks; `borrowing` adds transfer attacks."""
    attacks = _demanding(norm) | {"fmn": Fmn()}
    if norm is Norm.l2:
        attacks |= {"ddn": Ddn(), "cw": Cw()}
    if norm is Norm.linf:
        attacks |= {"mi_fgsm": MiFgsm(), "di_fgsm": DiFgsm()}
    if norm is Norm.l1:
        attacks |= {"pointwise": Pointwise()}
    else:
        attacks |= {"hop_skip_jump": Art(name="HopSkipJump", args={"max_iter": 10, "max_eval": 1000, "init_eval": 10})}
    return attacks


SUITES: dict[str, Callable[[Norm], dict[str, Attack]]] = {
    "quick": _quick,
    "standard": _standard,
    "demanding": _demanding,
    "extended": _extended,
}


def label_of(name: str, *, classes: int, images: int, whole: int) -> str:
    """What tables call a suite of this name; "AA" stands for `standard` alone."""
    count = "" if images == whole else f"({_thousands(images)})"
    if name != "standard":
        return f"{name}{count}"
    fewer = f"({classes - 1} targets)" if classes < 10 else ""
    return f"AA{fewer}{count}"


def named(attacks: Mapping[str, Attack]) -> Suite:
    """A suite of the caller's own attacks."""
    return Suite("+".join(attacks), attacks)


def measuring(attack: Attack) -> Attack:
    """`attack` as one measures with it: the best iterate is kept, though training may want the last."""
    return replace(attack, keep=type(attack.keep).best) if isinstance(attack, Pgd) else attack


def _thousands(n: int) -> str:
    return f"{n // 1000}k" if n % 1000 == 0 else f"first {n}"
