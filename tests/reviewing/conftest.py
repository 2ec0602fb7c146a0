"""Rounds as a store tells them, made up: two of them, with every part that a page shows."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harden.evaluation import wilson
from harden.reviewing import Told

STAGES = ("plan", "train", "mark", "validate", "evaluate", "compare", "bank", "seal", "gates", "next")


def accuracy(count: int, n: int = 360) -> dict[str, float]:
    return vars(wilson(count, n))


def attack(name: str, broken: int, attacked: int, after: int) -> dict[str, Any]:
    counts = {"broken": broken, "attacked": attacked, "forward": 12_000, "backward": 400, "seconds": 3.5}
    return {"name": name, "label": name.upper(), "accuracy": accuracy(after)} | counts


def evaluation(eps: str, clean: int, worst: int) -> dict[str, Any]:
    rows = [
        {"name": "0", "n": 180, "clean": accuracy(180, 180), "robust": accuracy(100, 180), "mistaken_for": "1"},
        {"name": "1", "n": 180, "clean": accuracy(175, 180), "robust": accuracy(170, 180), "mistaken_for": None},
    ]
    points = [{"eps": str(at), "radius": at, "accuracy": accuracy(round(clean * (1 - at)))} for at in (0.0, 0.1, 0.2)]
    check = {"eps": "0.15", "attack": "APGD-T", "gap": 0.02, "finding": True}
    check |= {"accuracy": accuracy(200), "curve": accuracy(207), "radius": 0.15}
    sanity = {"number": 1, "name": "eps 0", "verdict": "passed", "figure": "0 of 360 differ", "reason": ""}
    return {
        "threat": {"norm": "linf", "eps": eps},
        "suite": {"label": "AA"},
        "data": {"name": "digits", "classes": ["0", "1"]},
        "clean": accuracy(clean),
        "worst_case": {"accuracy": accuracy(worst)},
        "attacks": [attack("apgd_ce", 40, 355, worst + 3), attack("square", 3, 315, worst)],
        "classes": rows,
        "curve": {"points": points, "checks": [check]},
        "sanity": [sanity, sanity | {"number": 6, "name": "gradients", "verdict": "warned", "reason": "few"}],
    }


def comparison(models: dict[str, int], champion: str | None) -> dict[str, Any]:
    rows = [
        {
            "round": name,
            "clean": accuracy(350),
            "worst": accuracy(worst),
            "clean_flags": "1" * 360,
            "robust_flags": "1" * worst + "0" * (360 - worst),
        }
        for name, worst in models.items()
    ]
    newest = max(models)
    difference = {"value": 0.05, "low": 0.02, "high": 0.08}
    pairs = {name: {"gained": 25, "lost": 7, "p": 0.002, "difference": difference} for name in models if name != newest}
    transfer = [{"round": name, "images": 40, "accuracy": {one: accuracy(20, 40) for one in models}} for name in models]
    return {
        "models": rows,
        "labels": [0] * 180 + [1] * 180,
        "pairs": pairs,
        "transfer": {"models": list(models), "rows": transfer},
        "champion": champion,
    }


def plan(name: str, eps: str) -> dict[str, Any]:
    recipe = {"is": "Recipe", "threat": {"norm": "linf", "eps": eps}, "attack": {"is": "Pgd", "steps": 7}, "seed": 0}
    reason = {"rule": "threat", "decision": f"eps {eps}", "because": "promoted"}
    classes = {"rule": "worst classes", "decision": "0 weighs 1.5", "because": "lowest"}
    return {"round": name, "recipe": recipe, "reasons": [reason, classes], "classes": [1.5, 1.0], "minutes": 60.0}


def first() -> Told:
    compared = comparison({"2026Q1": 290}, None)
    gates = [{"name": "signature", "answer": "opened", "got": "verified", "wanted": "a manifest that verifies"}]
    entry = {"began": 1.8e9, "seconds": 12.5, "inputs": {}, "outputs": {"file.json": "ab" * 32}, "timed": {}}
    entries: dict[str, Any] = {name: entry | {"result": {}} for name in STAGES}
    entries["compare"] = entry | {"result": {"champion": None}}
    validation = {"images": 143, "clean": accuracy(140, 143), "worst": accuracy(110, 143), "before": accuracy(70, 143)}
    validation |= {
        "credit": {"ce": 0.5, "margin": 0.5},
        "broken": {"apgd_ce": 20},
        "attacks": {"apgd_ce": accuracy(120, 143)},
    }
    return Told(
        round="2026Q1",
        programme="digits-linf-0.1",
        number=1,
        previous="",
        run="0123abcd",
        link="",
        promoted=True,
        plan=plan("2026Q1", "0.1"),
        proposed=plan("2026Q1", "0.1"),
        edits={"edits": [], "why": ""},
        training={"events": [], "epochs": []},
        mark={"skipped": "no owner key was given"},
        validation=validation,
        evaluation=evaluation("0.1", 355, 290),
        comparison=compared,
        replay={"entries": 0, "found": 60, "kept": 40, "size": 40, "usable": 12},
        gates={"gates": gates, "promoted": True},
        after=plan("2026Q2", "0.125"),
        entries=entries,
        environment={"torch": "2.13.0", "commit": "0" * 40},
        record="cd" * 32,
    )


def second() -> Told:
    one = first()
    compared = comparison({"2026Q1": 260, "2026Q2": 280}, "2026Q1")
    entries = {**one.entries, "compare": {**one.entries["compare"], "result": {"champion": "2026Q1"}}}
    lost = [{"part": "test", "id": 7, "label": 1, "round": 1}]
    replay = {"entries": 40, "breaking": 9, "lost": 1, "gained": 20, "p": 1e-4, "regressions": lost}
    shut = {"name": "sanity checks", "answer": "shut", "got": "failed: 6 gradients", "wanted": "no failed row"}
    events = [{"kind": "overfitting", "step": 40, "epoch": 3.5, "text": "98 % on its own attack, 12 % on PGD-10"}]
    changed = [{"field": "recipe.seed", "proposed": 0, "run": 3}]
    return replace(
        one,
        round="2026Q2",
        number=2,
        previous="2026Q1",
        promoted=False,
        plan=plan("2026Q2", "0.125"),
        edits={"edits": changed, "why": "another seed"},
        training={"events": events, "epochs": []},
        evaluation=evaluation("0.125", 352, 280),
        comparison=compared,
        replay={**one.replay, **replay},
        gates={"gates": [*one.gates["gates"], shut], "promoted": False},
        after=plan("2026Q3", "0.125"),
        entries=entries,
        link="http://127.0.0.1:5000/#/experiments/1/runs/0123abcd",
    )


@pytest.fixture
def rounds() -> list[Told]:
    """Two rounds, of which the second was refused."""
    return [first(), second()]


@pytest.fixture
def poisoned() -> Callable[[Told, str], Told]:
    """A round in which every text of people, data and attacks is `text`."""

    def poison(value: Any, text: str) -> Any:
        if isinstance(value, dict):
            return {key: one if key in KEPT else poison(one, text) for key, one in value.items()}
        if isinstance(value, list):
            return [poison(one, text) for one in value]
        return text if isinstance(value, str) else value

    def make(told: Told, text: str) -> Told:
        changed = {name: poison(getattr(told, name), text) for name in POISONED}
        return replace(told, programme=text, run=text, record=text, **changed)

    return make


POISONED = ("plan", "edits", "training", "mark", "validation", "evaluation", "replay", "gates", "after", "environment")
KEPT = {"answer", "verdict", "eps", "norm"}
"""Fields that hold one of a few known words, or a number as text."""
