"""What a round's model must hold before it becomes the champion. Thresholds are set before a round, answers after it.

Every gate is a sentence with its figures, whether it opened or not. A gate that does not apply says why.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from harden.errors import ConfigError


@dataclass(frozen=True)
class Gates:
    """The thresholds. Accuracies and falls are shares of 1, measured on test images that nothing was selected by."""

    clean_fall: float = 0.02  # how far clean accuracy may lie below the champion's
    clean_least: float = 0.0  # clean accuracy that a model must have in any case
    robust_least: float = 0.0  # lower limit of the worst case that a model must have in any case
    robust_fall: float = 0.0  # how far the worst case may lie below the champion's, same images and suite
    corruption_fall: float = 0.01  # how far mean accuracy under corruptions may lie below the champion's
    replay_fall: float = 0.01  # share of the bank that the champion withstands and this model may lose on balance
    level: float = 0.05  # of McNemar's test, above which a fall may be luck
    mark_log10_p: float = -6.0  # the watermark's p-value must be at most 10 to this

    def __post_init__(self) -> None:
        shares = ("clean_fall", "clean_least", "robust_least", "robust_fall", "corruption_fall", "replay_fall")
        for name in shares:
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"gates.{name} must lie in [0, 1], got {getattr(self, name):g}")
        if not 0 < self.level < 1 or not self.mark_log10_p <= 0:
            raise ConfigError("gates.level must lie in (0, 1), gates.mark_log10_p must be <= 0")


class Answer(Enum):
    """What became of a gate."""

    opened = "opened"
    shut = "shut"
    skipped = "skipped"  # does not apply: the sentence says why


@dataclass(frozen=True)
class Gate:
    """One gate: its answer, the figures in a sentence, what it wanted."""

    name: str
    answer: Answer
    got: str
    wanted: str

    def plain(self) -> dict[str, str]:
        """As JSON."""
        return asdict(self) | {"answer": self.answer.value}


@dataclass(frozen=True)
class Facts:
    """What the gates look at.

    clean, worst: accuracies as `{value, low, high, n}`. champion: those of the champion on the same images under the
    same suite with the paired counts (`clean`, `worst`, `gained`, `lost`, `p`), None in the first round. corruption:
    mean accuracy of this model and of the champion, None where not measured. replay: `entries`, `lost`, `gained`, `p`
    of the bank against the champion. sanity: the failed rows. mark: the watermark's log10 p, or why there is none.
    """

    clean: Mapping[str, float]
    worst: Mapping[str, float]
    champion: Mapping[str, Any] | None
    corruption: tuple[float, float | None] | None
    replay: Mapping[str, Any] | None
    sanity: tuple[str, ...] | None
    mark: float | str
    signature: str
    """"" where the sealed file and its manifest were verified, else what was wrong."""


def judged(facts: Facts, gates: Gates) -> list[Gate]:
    """The answer of every gate, in the order in which they are told."""
    return [
        _least("clean accuracy", facts.clean["value"], gates.clean_least),
        _clean(facts, gates),
        _least("worst case, lower limit", facts.worst["low"], gates.robust_least),
        _worst(facts, gates),
        _corruption(facts, gates),
        _replay(facts, gates),
        _sanity(facts),
        _mark(facts, gates),
        _signature(facts),
    ]


def opens(gates: list[Gate]) -> bool:
    """Whether no gate is shut."""
    return all(gate.answer is not Answer.shut for gate in gates)


def refusals(gates: list[Gate]) -> Iterator[str]:
    """A sentence for each gate that is shut."""
    yield from (f"{gate.name}: {gate.got}, wanted {gate.wanted}" for gate in gates if gate.answer is Answer.shut)


def _gate(name: str, good: bool, got: str, wanted: str) -> Gate:
    return Gate(name, Answer.opened if good else Answer.shut, got, wanted)


def _least(name: str, value: float, least: float) -> Gate:
    return _gate(name, value >= least, _percent(value), f"at least {_percent(least)}")


def _clean(facts: Facts, gates: Gates) -> Gate:
    name = "clean accuracy against the champion"
    if facts.champion is None:
        return Gate(name, Answer.skipped, "there is no champion yet", "")
    fall = facts.champion["clean"]["value"] - facts.clean["value"]
    got = f"{_percent(facts.clean['value'])} against {_percent(facts.champion['clean']['value'])}"
    return _gate(name, fall <= gates.clean_fall + 1e-12, got, f"at most {100 * gates.clean_fall:g} points below")


def _worst(facts: Facts, gates: Gates) -> Gate:
    """Shut where the worst case is lower by more than allowed, or where it is worse beyond luck."""
    name = "worst case against the champion"
    if facts.champion is None:
        return Gate(name, Answer.skipped, "there is no champion yet", "")
    old, new = facts.champion["worst"], facts.worst
    gained, lost, p = (facts.champion[key] for key in ("gained", "lost", "p"))
    fall = old["value"] - new["value"]
    good = fall <= gates.robust_fall + 1e-12 and not (lost > gained and p < gates.level)
    got = f"{_percent(new['value'])} against {_percent(old['value'])}, {gained} images won and {lost} lost, p {p:.3g}"
    return _gate(
        name, good, got, f"at most {100 * gates.robust_fall:g} points below, and not worse at p < {gates.level:g}"
    )


def _corruption(facts: Facts, gates: Gates) -> Gate:
    name = "corruptions, mean"
    new, old = facts.corruption or (0.0, None)
    if old is None:
        return Gate(name, Answer.skipped, "nothing to compare with", "")
    good = old - new <= gates.corruption_fall + 1e-12
    wanted = f"at most {100 * gates.corruption_fall:g} points below"
    return _gate(name, good, f"{_percent(new)} against {_percent(old)}", wanted)


def _replay(facts: Facts, gates: Gates) -> Gate:
    """Shut where more of the bank is lost than gained, by more than allowed and beyond luck."""
    name = "replay of earlier attacks"
    if facts.replay is None:
        return Gate(name, Answer.skipped, "the bank holds nothing to compare with", "")
    entries, lost, gained, p = (facts.replay[key] for key in ("entries", "lost", "gained", "p"))
    balance = (lost - gained) / entries
    good = not (balance > gates.replay_fall and p < gates.level)
    got = f"{lost} of {entries} withstood by the champion and lost, {gained} won, p {p:.3g}"
    return _gate(name, good, got, f"at most {100 * gates.replay_fall:g} % lost on balance, or p >= {gates.level:g}")


def _sanity(facts: Facts) -> Gate:
    if facts.sanity is None:
        return Gate("sanity checks", Answer.shut, "not run", "no failed row")
    got = "failed: " + ", ".join(facts.sanity) if facts.sanity else "no row failed"
    return _gate("sanity checks", not facts.sanity, got, "no failed row")


def _mark(facts: Facts, gates: Gates) -> Gate:
    if isinstance(facts.mark, str):
        return Gate("watermark", Answer.skipped, facts.mark, "")
    good = facts.mark <= gates.mark_log10_p
    return _gate("watermark", good, f"log10 p {facts.mark:.1f}", f"at most {gates.mark_log10_p:g}")


def _signature(facts: Facts) -> Gate:
    got = facts.signature or "file and manifest verified"
    return _gate("signature", not facts.signature, got, "a sealed file and a manifest that verify")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
