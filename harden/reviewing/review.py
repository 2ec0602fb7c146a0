"""An after-action review as a value: what was planned, what happened, why, what follows. Rendering is elsewhere.

The order is that of the US Army's TC 25-20 (1993). Everything is made of what a tracking store holds, so that equal
stores give equal reviews.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harden.errors import ConfigError
from harden.reviewing.findings import Action, Finding, actions, findings
from harden.reviewing.identifiers import Identified, identified
from harden.reviewing.told import Told

FORMAT = "harden-review/1"


@dataclass(frozen=True)
class Happening:
    """A line of the timeline: when it began (UTC), what, how long."""

    at: str
    round: str
    what: str
    seconds: float


@dataclass(frozen=True)
class Row:
    """A round's model: as its own round measured it, and under the newest round's suite, None where not measured."""

    round: str
    threat: str
    suite: str
    clean: Mapping[str, float]
    worst: Mapping[str, float]
    now: Mapping[str, float] | None
    pair: Mapping[str, Any] | None
    promoted: bool
    minutes: float
    run: str
    link: str


@dataclass(frozen=True)
class ClassRow:
    """A class under attack: this model and the champion before, on the same images under the same suite."""

    name: str
    n: int
    clean: Mapping[str, float]
    robust: Mapping[str, float]
    champion: float | None
    mistaken_for: str | None
    weight: float | None


@dataclass(frozen=True)
class Review:
    """Everything a page shows, in its order. `newest` is the round the review is about, the others are its past."""

    programme: str
    title: str
    verdict: str
    summary: str
    newest: Told
    rows: tuple[Row, ...]
    timeline: tuple[Happening, ...]
    classes: tuple[ClassRow, ...]
    findings: tuple[Finding, ...]
    actions: tuple[Action, ...]
    helped: tuple[tuple[str, str, str], ...]
    identifiers: tuple[Identified, ...]
    curves: tuple[tuple[str, Sequence[Mapping[str, Any]]], ...]
    digests: tuple[tuple[str, str, str], ...]

    @property
    def top(self) -> tuple[Finding, ...]:
        """What fits on the first page."""
        return self.findings[:4]

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from harden.reviewing.render import html

        return html(self, whole=False)

    @property
    def planned(self) -> Mapping[str, Any]:
        """The plan that was run."""
        return self.newest.plan


def review(rounds: Sequence[Told], *, owner: str = "model owner") -> Review:
    """The review of the newest of `rounds`, with the others as its past. Raises ConfigError where there is none."""
    if not rounds:
        raise ConfigError("there is no round to review", "name some: rounds=[2026Q3,2026Q4]")
    told = sorted(rounds, key=lambda one: one.quarter)
    newest, past = told[-1], told[:-1]
    found = findings(newest, past[-1] if past else None)
    return Review(
        programme=newest.programme,
        title=f"After-action review {newest.round}",
        verdict="promoted" if newest.promoted else "refused",
        summary=_summary(newest),
        newest=newest,
        rows=tuple(_row(one, newest) for one in told),
        timeline=tuple(line for one in told for line in _timeline(one)),
        classes=_classes(newest),
        findings=tuple(found),
        actions=tuple(actions(newest, found, owner)),
        helped=tuple(_helped(newest)),
        identifiers=tuple(identified(newest)),
        curves=tuple((one.round, one.evaluation["curve"]["points"]) for one in told if "curve" in one.evaluation),
        digests=tuple(_digests(newest)),
    )


def _summary(told: Told) -> str:
    worst, clean = told.worst, told.clean
    said = (
        f"Within {told.threat} the model of {told.round} keeps {_percent(worst)} of {worst['n']} test images right "
        f"at worst, and {_percent(clean)} without an attack."
    )
    if told.champion is not None:
        pair, row = told.comparison["pairs"][told.champion], told.under_suite(told.champion)
        if row is not None:
            luck = "this could be luck" if pair["p"] >= 0.05 else "this is not luck"
            said += (
                f" The champion before, of {told.champion}, keeps {_percent(row['worst'])} under the same attacks: "
                f"{pair['gained']} images won, {pair['lost']} lost, p {pair['p']:.2g}; {luck} at 5 %."
            )
    shut = [gate["name"] for gate in told.gates["gates"] if gate["answer"] == "shut"]
    if shut:
        return f"{said} It was refused by: {', '.join(shut)}."
    return f"{said} All gates that apply opened, and it is the champion."


def _row(one: Told, newest: Told) -> Row:
    now = newest.under_suite(one.round)
    return Row(
        round=one.round,
        threat=one.threat,
        suite=one.evaluation["suite"]["label"],
        clean=one.clean,
        worst=one.worst,
        now=None if now is None else now["worst"],
        pair=newest.comparison["pairs"].get(one.round),
        promoted=one.promoted,
        minutes=round(one.seconds / 60, 2),
        run=one.run,
        link=one.link,
    )


def _timeline(told: Told) -> list[Happening]:
    rows = sorted(told.entries.items(), key=lambda item: item[1]["began"])
    return [Happening(_when(one["began"]), told.round, name, one["seconds"]) for name, one in rows]


def _when(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")


def _classes(told: Told) -> tuple[ClassRow, ...]:
    names, labels = told.evaluation["data"]["classes"], told.comparison["labels"]
    row = told.under_suite(told.champion) if told.champion else None
    weights = told.plan["classes"] or [None] * len(names)
    other = _by_class(labels, row["robust_flags"], len(names)) if row else [None] * len(names)
    place = {name: at for at, name in enumerate(names)}
    return tuple(
        ClassRow(
            one["name"],
            one["n"],
            one["clean"],
            one["robust"],
            other[place[one["name"]]],
            one["mistaken_for"],
            weights[place[one["name"]]],
        )
        for one in told.evaluation["classes"]
    )


def _by_class(labels: Sequence[int], flags: str, classes: int) -> list[float | None]:
    whole, right = [0] * classes, [0] * classes
    for label, flag in zip(labels, flags, strict=True):
        whole[label] += 1
        right[label] += flag == "1"
    return [held / n if n else None for held, n in zip(right, whole, strict=True)]


def _helped(told: Told) -> list[tuple[str, str, str]]:
    """Whether what the plan changed did what it was to do: rule, decision, what came of it."""
    return [(one["rule"], one["decision"], _outcome(told, one["rule"])) for one in told.plan["reasons"]]


def _outcome(told: Told, rule: str) -> str:
    if rule == "worst classes" and told.champion is not None:
        heavy = [one for one in _classes(told) if one.weight and one.weight > 1 and one.champion is not None]
        if heavy:
            now = sum(one.robust["value"] * one.n for one in heavy) / sum(one.n for one in heavy)
            was = sum((one.champion or 0.0) * one.n for one in heavy) / sum(one.n for one in heavy)
            return f"these classes: {100 * was:.1f} % before, {100 * now:.1f} % now, same images and suite"
    if rule == "replay" and "lost" in told.replay:
        return f"{told.replay['lost']} regressions, {told.replay['gained']} attacks of the past no longer work"
    if told.champion is None:
        return "nothing to compare with in the first round"
    pair = told.comparison["pairs"][told.champion]
    end = "promoted" if told.promoted else "refused"
    return f"{pair['gained']} images won, {pair['lost']} lost against the champion; {end}"


def _digests(told: Told) -> list[tuple[str, str, str]]:
    """Stage, file and SHA-256 of everything the round made."""
    return [
        (stage, file, digest)
        for stage, entry in told.entries.items()
        for file, digest in sorted({**entry["outputs"], **entry["timed"]}.items())
    ]


def _percent(one: Mapping[str, Any]) -> str:
    return f"{100 * one['value']:.1f} % ({100 * one['low']:.1f}–{100 * one['high']:.1f})"
