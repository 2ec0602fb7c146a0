"""Why it went as it did: findings with their evidence, by rules, worst first; and what follows from each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harden.reviewing.told import Told

ORDER = ("bad", "warning", "good", "note")
LEVEL = 0.05


@dataclass(frozen=True)
class Finding:
    """Something that was found. weight: one of `ORDER`; evidence: the file of the run that shows it."""

    weight: str
    title: str
    text: str
    evidence: str
    round: str
    run: str


@dataclass(frozen=True)
class Action:
    """What to sustain or to improve: who, by when, on what evidence."""

    kind: str
    text: str
    owner: str
    due: str
    evidence: str


def findings(told: Told, before: Told | None) -> list[Finding]:
    """The findings of a round, worst first; `before`: the round before it, where it is reviewed too."""
    rules = (
        _gates,
        _sanity,
        _champion,
        _regressions,
        _watchdog,
        _classes,
        _attacks,
        _curve,
        _transfer,
        _budget,
        _mark,
        _edits,
    )
    found = [
        Finding(weight, title, text, evidence, told.round, told.run)
        for rule in rules
        for weight, title, text, evidence in rule(told, before)
    ]
    return sorted(found, key=lambda one: ORDER.index(one.weight))


Found = Iterator[tuple[str, str, str, str]]


def _gates(told: Told, _: Told | None) -> Found:
    for gate in told.gates["gates"]:
        if gate["answer"] == "shut":
            yield "bad", f"gate shut: {gate['name']}", f"{gate['got']}; wanted {gate['wanted']}", "gates/gates.json"


def _sanity(told: Told, _: Told | None) -> Found:
    for row in told.evaluation.get("sanity", ()):
        if row["verdict"] in ("failed", "warned"):
            weight = "bad" if row["verdict"] == "failed" else "warning"
            text = f"{row['figure']}; {row['reason']}"
            yield (
                weight,
                f"sanity check {row['number']}, {row['name']}: {row['verdict']}",
                text,
                "evaluate/evaluation.json",
            )


def _champion(told: Told, _: Told | None) -> Found:
    """The paired comparison, in words that keep luck and gain apart."""
    if told.champion is None:
        ordinary = told.validation.get("before")
        if ordinary:
            now = _percent(told.validation["worst"])
            text = (
                f"under the probes {now} of validation images stay right, with an ordinary model {_percent(ordinary)}"
            )
            yield "good", "hardening pays", text, "validate/validation.json"
        return
    pair = told.comparison["pairs"][told.champion]
    text = (
        f"{pair['gained']} test images won and {pair['lost']} lost against the champion {told.champion}, "
        f"McNemar p {pair['p']:.2g}; difference {_points(pair['difference'])}"
    )
    if pair["p"] >= LEVEL:
        yield "warning", "no difference to the champion that could not be luck", text, "compare/comparison.json"
    elif pair["gained"] > pair["lost"]:
        yield "good", "better than the champion before", text, "compare/comparison.json"
    else:
        yield "bad", "worse than the champion", text, "compare/comparison.json"


def _regressions(told: Told, _: Told | None) -> Found:
    lost = told.replay.get("lost", 0)
    if lost:
        text = (
            f"of {told.replay['entries']} attacks in the bank {lost} broke this model that the champion withstood; "
            f"{told.replay['gained']} the other way round, McNemar p {told.replay['p']:.2g}"
        )
        yield "warning", "regressions on replayed attacks", text, "bank/replay.json"
    elif "lost" in told.replay:
        text = f"of {told.replay['entries']} replayed attacks none broke this model that the champion withstood"
        yield "good", "no regression", text, "bank/replay.json"


def _watchdog(told: Told, _: Told | None) -> Found:
    for event in told.training["events"]:
        yield "warning", f"watchdog: {event['kind']} at epoch {event['epoch']:g}", event["text"], "train/training.json"


def _classes(told: Told, _: Told | None) -> Found:
    rows = sorted(told.evaluation["classes"], key=lambda row: (row["robust"]["value"], row["name"]))
    if rows and rows[0]["robust"]["value"] < told.worst["low"]:
        named = "; ".join(
            f"{row['name']} {_percent(row['robust'])}"
            + (f", mostly taken for {row['mistaken_for']}" if row["mistaken_for"] else "")
            for row in rows[:3]
        )
        yield "note", "weakest classes", named, "evaluate/evaluation.json"


def _attacks(told: Told, _: Told | None) -> Found:
    broke = [one for one in told.evaluation["attacks"] if one["broken"]]
    if broke:
        whole = sum(one["broken"] for one in broke)
        named = ", ".join(f"{one['label']} {one['broken']}" for one in broke)
        yield (
            "note",
            "what broke it",
            f"of {whole} test images broken under attack: {named}",
            "evaluate/evaluation.json",
        )
    credit = ", ".join(f"{way} {100 * share:.0f} %" for way, share in told.validation["credit"].items())
    yield "note", "share of breaks by way of attack", f"on validation images: {credit}", "validate/validation.json"


def _curve(told: Told, _: Told | None) -> Found:
    for check in told.evaluation.get("curve", {}).get("checks", ()):
        if check["finding"] and check["gap"] > 0:
            left, alone = _percent(check["accuracy"]), _percent(check["curve"])
            text = f"at eps {check['eps']} {check['attack']} leaves {left}, the curve's one run {alone}"
            yield "note", "the curve's attack alone would flatter", text, "evaluate/evaluation.json"


def _transfer(told: Told, _: Told | None) -> Found:
    """Images of an earlier round that break this model more often than the champion."""
    for row in told.comparison["transfer"]["rows"]:
        held = row["accuracy"].get(told.round)
        other = row["accuracy"].get(told.champion) if told.champion else None
        if row["round"] not in (told.round, told.champion) and held and other and held["high"] < other["low"]:
            who = f"this model withstands {_percent(held)}, {told.champion} {_percent(other)}"
            text = f"of images that broke {row['round']} {who}"
            yield "warning", "an earlier attack works again", text, "compare/comparison.json"


def _budget(told: Told, _: Told | None) -> Found:
    minutes, budget = told.seconds / 60, float(told.plan["minutes"])
    text = f"{minutes:.1f} of {budget:g} minutes"
    yield (
        ("note" if minutes <= budget else "warning"),
        "within budget" if minutes <= budget else "over budget",
        text,
        "entries.json",
    )


def _mark(told: Told, _: Told | None) -> Found:
    if "skipped" in told.mark:
        yield "warning", "the weights bear no watermark", str(told.mark["skipped"]), "mark/mark.json"


def _edits(told: Told, _: Told | None) -> Found:
    changed = told.edits["edits"]
    if changed:
        named = ", ".join(f"{one['field']}: {one['proposed']} -> {one['run']}" for one in changed)
        yield "note", "the plan was changed by hand", f"{named}; reason given: {told.edits['why']}", "plan/edits.json"


def actions(told: Told, found: Sequence[Finding], owner: str) -> list[Action]:
    """What follows: sustained is what helped, improved what hurt, due with the round after."""
    due = told.quarter.next.last_day.isoformat()
    kept = [
        Action("sustain", f"{one.title}: {one.text}", owner, due, one.evidence) for one in found if one.weight == "good"
    ]
    mended = [
        Action("improve", f"{one.title}: {one.text}", owner, due, one.evidence)
        for one in found
        if one.weight in ("bad", "warning")
    ]
    planned = [
        Action(
            "improve",
            f"{reason['rule']}: {reason['decision']}, because {reason['because']}",
            owner,
            due,
            "next/plan.json",
        )
        for reason in told.after["reasons"]
    ]
    return kept + mended + planned


def _percent(one: Mapping[str, Any]) -> str:
    return f"{100 * one['value']:.1f} % ({100 * one['low']:.1f}–{100 * one['high']:.1f})"


def _points(one: Mapping[str, Any]) -> str:
    return f"{100 * one['value']:+.1f} points ({100 * one['low']:+.1f} to {100 * one['high']:+.1f})"
