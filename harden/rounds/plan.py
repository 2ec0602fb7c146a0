"""The plan of a round: what is trained, against what, measured how, with which gates, and the reasons for it.

A plan is plain data, so that it can be shown, edited as YAML, compared and digested. The first one is made of a
request; each later one is proposed by `harden.rounds.curriculum` from what the round before found on validation
images. What was proposed and what was run are both kept.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from html import escape
from pathlib import Path
from typing import Any

import yaml

from harden.errors import ConfigError
from harden.files import canonical_json
from harden.rounds.gates import Gates
from harden.rounds.quarter import Quarter

FORMAT = "harden-plan/1"
SUITES = ("quick", "standard", "demanding", "extended")


@dataclass(frozen=True)
class Reason:
    """Why something stands in a plan: which rule, what it decided, on what figures."""

    rule: str
    decision: str
    because: str


@dataclass(frozen=True)
class Plan:
    """A round before it is run.

    recipe: a training recipe as `harden.spelling.spell` writes it, without `init`. classes: sample weights by class,
    empty for equal ones. replay: share of each batch that comes from the bank. start: `fresh` or `champion`.
    suite, images: how the model is measured on test images (0: all). minutes: the budget. after: the round before.
    """

    round: str
    programme: str
    recipe: Mapping[str, Any]
    start: str = "fresh"
    classes: tuple[float, ...] = ()
    replay: float = 0.0
    suite: str = "standard"
    images: int = 1000
    gates: Gates = field(default_factory=Gates)
    minutes: float = 60.0
    after: str | None = None
    reasons: tuple[Reason, ...] = ()

    def __post_init__(self) -> None:
        Quarter.of(self.round)
        if self.suite not in SUITES:
            raise ConfigError(f"plan: there is no suite {str(self.suite)[:40]!r}; there are: {', '.join(SUITES)}")
        if self.start not in ("fresh", "champion"):
            raise ConfigError(f"plan: start must be fresh or champion, got {str(self.start)[:40]!r}")
        if not 0 <= self.replay <= 0.5:
            raise ConfigError(f"plan: replay must lie in [0, 0.5], a share of each batch, got {self.replay:g}")
        if self.images < 0 or not self.minutes > 0:
            raise ConfigError(f"plan: images must be >= 0 and minutes > 0, got {self.images} and {self.minutes:g}")
        if any(not 0 < weight <= 10 for weight in self.classes):
            raise ConfigError("plan: classes must be weights of more than 0 and at most 10")

    def _repr_html_(self) -> str:
        """What a notebook shows: the reasons, and what is trained against."""
        threat = self.recipe.get("threat", {})
        measured = f"{threat.get('norm')} eps {threat.get('eps')}, suite {self.suite}"
        head = f"plan of {self.programme}, round {self.round}: {measured}"
        cells = [(one.rule, one.decision, one.because) for one in self.reasons]
        lines = ["".join(f"<td>{escape(text)}</td>" for text in row) for row in cells]
        return f"<table><caption>{escape(head)}</caption>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"

    def plain(self) -> dict[str, Any]:
        """The plan as JSON."""
        told = {one.name: getattr(self, one.name) for one in fields(self)}
        told |= {"gates": asdict(self.gates), "reasons": [asdict(one) for one in self.reasons]}
        return json.loads(canonical_json(told | {"format": FORMAT, "classes": list(self.classes)}))  # type: ignore[no-any-return]


def plan_of(plain: Any, where: str) -> Plan:
    """The plan that `Plan.plain` told. Raises ConfigError, naming `where`."""
    if not isinstance(plain, dict) or plain.get("format") != FORMAT:
        raise ConfigError(f"{where}: is no plan of format {FORMAT}", "write one: python -m harden.round action=plan")
    values = {key: value for key, value in plain.items() if key != "format"}
    known = {one.name for one in fields(Plan)}
    if strange := sorted(values.keys() - known):
        raise ConfigError(f"{where}: a plan has no {', '.join(strange)}; it has {', '.join(sorted(known))}")
    try:
        values["gates"] = Gates(**values.get("gates", {}))
        values["reasons"] = tuple(Reason(**one) for one in values.get("reasons", ()))
        values["classes"] = tuple(float(weight) for weight in values.get("classes", ()))
        values["recipe"] = dict(values["recipe"])
        return Plan(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error.message}", error.hint) from error
    except (TypeError, ValueError, KeyError) as error:
        raise ConfigError(f"{where}: is no plan: {error}") from error


def read_plan(path: Path) -> Plan:
    """The plan in a file, JSON or YAML. Raises ConfigError."""
    try:
        plain = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    return plan_of(plain, str(path))


def yaml_of(plan: Plan) -> str:
    """The plan as people edit it."""
    return str(yaml.safe_dump(plan.plain(), sort_keys=False, allow_unicode=True))


def edits(proposed: Plan, wanted: Plan) -> list[dict[str, Any]]:
    """What was changed by hand, a row a field: its dotted name, what was proposed, what is run."""
    one, other = dict(_leaves(proposed.plain(), "")), dict(_leaves(wanted.plain(), ""))
    names = sorted({*one, *other} - {name for name in {*one, *other} if name.startswith("reasons")})
    return [
        {"field": name, "proposed": one.get(name), "run": other.get(name)}
        for name in names
        if one.get(name) != other.get(name)
    ]


def _leaves(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, one in value.items():
            yield from _leaves(one, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def renamed(plan: Plan, quarter: Quarter) -> Plan:
    """The same plan for another quarter."""
    return replace(plan, round=quarter.name)
