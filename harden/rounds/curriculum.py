"""The next plan from the last round, by rules that are functions of validation outcomes alone.

Test outcomes would leak into training: `Lesson` has no field that could hold them, but for one bit, whether the model
was promoted. Each rule says what it decided and on what figures.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

from harden.attacks.mixed import weights_of
from harden.rounds.plan import Plan, Reason
from harden.rounds.quarter import Quarter

FLOOR, FACTOR = 0.05, 2.0
"""Least share of an attack in the mix; by what factor a share may change from round to round."""

WORST, HEAVIER, HEAVIEST = 3, 1.5, 2.0
"""How many classes weigh more, by what factor, and at most how much."""

HARDER = Decimal("1.25")
"""By what factor eps grows: on digits a step of 1.1 gains less than two seeds of one recipe differ by."""

REPLAY = 0.1
OFTEN = 2
"""Most of a batch that comes from the bank; how much more an entry may weigh than a training image. A few hard images
that are replayed all the time cost more than they teach."""
LEAST = 0.5
"""Worst-case accuracy on validation images from which on eps may grow."""

WIDEST = 512
"""Hidden units up to which a network is made wider by rule; the budget is asked before a round is run."""

SUITE_AFTER = {"quick": "standard", "standard": "demanding"}


@dataclass(frozen=True)
class Lesson:
    """What a round found on validation images, and whether its model was promoted.

    worst, clean, before: accuracies as `{value, low, high, n}`; before: the worst case of the model that stood before
    it, under this round's threat. credit: share of breaks by way of attack. classes: rows of name, n, value, low.
    first_clean: clean accuracy of the first round's model. entries: attacks on
    training images in the bank; trained: images that were trained on. held: the attack steps that training ended with.
    """

    promoted: bool
    reliable: bool
    clean: Mapping[str, float]
    worst: Mapping[str, float]
    before: Mapping[str, float] | None
    credit: Mapping[str, float]
    classes: tuple[Mapping[str, Any], ...]
    first_clean: float
    entries: int
    trained: int
    held: int | None = None

    @property
    def gain(self) -> float | None:
        """By how much the worst case rose over the model before it."""
        return None if self.before is None else self.worst["value"] - self.before["value"]

    @property
    def half(self) -> float:
        """Half of the worst case's interval: what a smaller gain cannot be told from."""
        return (self.worst["high"] - self.worst["low"]) / 2


def propose(plan: Plan, lessons: tuple[Lesson, ...]) -> Plan:
    """The plan of the quarter after `plan`; `lessons` of all rounds so far, the last one `plan`'s own."""
    lesson = lessons[-1]
    after = replace(plan, round=Quarter.of(plan.round).next.name, after=plan.round, reasons=())
    if not lesson.reliable:
        return _with(after, "unreliable", "nothing is made harder", "a sanity check failed: mend the evaluation first")
    after = _mix(after, lesson)
    after = _classes(after, lesson)
    after = _replay(after, lesson)
    after = _steps(after, lesson)
    return _harder(after, lessons)


def _with(plan: Plan, rule: str, decision: str, because: str, **change: Any) -> Plan:
    return replace(plan, reasons=(*plan.reasons, Reason(rule, decision, because)), **change)


def _recipe(plan: Plan, **change: Any) -> dict[str, Any]:
    return {**plan.recipe, **change}


def _mix(plan: Plan, lesson: Lesson) -> Plan:
    """Weight by the share of breaks; a floor, and at most a factor a round."""
    attack = plan.recipe.get("attack")
    if not isinstance(attack, Mapping) or attack.get("is") not in ("Pgd", "Mixed"):
        return plan
    told = ", ".join(f"{name} {100 * share:.0f} %" for name, share in lesson.credit.items())
    if not sum(lesson.credit.values()):
        return _with(plan, "attack mix", "stays", "no validation image was broken")
    before = attack["weights"] if attack["is"] == "Mixed" else {"ce": 1.0}
    shares = {name: _bounded(share, float(before.get(name, 0.0))) for name, share in lesson.credit.items()}
    weights = weights_of(shares)
    mixed = {"is": "Mixed", "weights": weights, "steps": attack["steps"], "step": attack["step"], "keep": "last"}
    said = ", ".join(f"{name} {100 * share:.0f} %" for name, share in weights.items())
    because = f"share of breaks on validation images: {told}; at least {100 * FLOOR:g} %, at most a factor {FACTOR:g}"
    return _with(plan, "attack mix", said, because, recipe=_recipe(plan, attack=mixed, objective=_objective(plan)))


def _bounded(share: float, before: float) -> float:
    """`share`, at least the floor, and within the factor of what it was; what was nothing may become a third."""
    high = before * FACTOR if before else 1 / 3
    return min(max(share, FLOOR, before / FACTOR), max(high, FLOOR))


def _objective(plan: Plan) -> Any:
    """Lessons in the place of Madry's objective, which they extend; any other stays."""
    objective = plan.recipe["objective"]
    if objective["is"] != "Madry":
        return objective
    return {"is": "Lessons", "classes": [], "replay": None, "share": REPLAY}


def _classes(plan: Plan, lesson: Lesson) -> Plan:
    """The classes whose lower limits are lowest weigh more, those that no longer are go back."""
    if not lesson.classes or plan.recipe["objective"]["is"] not in ("Madry", "Lessons"):
        return plan
    worst = sorted(lesson.classes, key=lambda row: (row["low"], row["name"]))[:WORST]
    names = {row["name"] for row in worst}
    old = plan.classes or (1.0,) * len(lesson.classes)
    weights = tuple(
        min(weight * HEAVIER, HEAVIEST) if row["name"] in names else max(1.0, weight / HEAVIER)
        for row, weight in zip(lesson.classes, old, strict=True)
    )
    told = ", ".join(
        f"{row['name']} ({100 * row['value']:.0f} % of {row['n']}, at least {100 * row['low']:.0f} %)" for row in worst
    )
    said = f"{', '.join(sorted(names))} weigh up to {max(weights):g}"
    recipe = _recipe(plan, objective=_objective(plan))
    return _with(plan, "worst classes", said, f"lowest on validation images: {told}", classes=weights, recipe=recipe)


def _replay(plan: Plan, lesson: Lesson) -> Plan:
    if not lesson.entries or plan.recipe["objective"]["is"] not in ("Madry", "Lessons"):
        return plan
    share = round(min(REPLAY, OFTEN * lesson.entries / lesson.trained), 4)
    because = f"the bank holds {lesson.entries} attacks on training images, beside {lesson.trained} images"
    recipe = _recipe(plan, objective=_objective(plan))
    return _with(plan, "replay", f"{100 * share:.1f} % of each batch", because, replay=share, recipe=recipe)


def _steps(plan: Plan, lesson: Lesson) -> Plan:
    """After a trip of the watchdog the next round starts with the steps that held."""
    attack = plan.recipe.get("attack")
    if lesson.held is None or not isinstance(attack, Mapping) or attack.get("steps") == lesson.held:
        return plan
    recipe = _recipe(plan, attack={**attack, "steps": lesson.held, "step": 0.3})
    because = "training ended with them after a trip"
    return _with(plan, "watchdog", f"{lesson.held} attack steps", because, recipe=recipe)


def _harder(plan: Plan, lessons: tuple[Lesson, ...]) -> Plan:
    """One thing at a time: a larger network where nothing was gained, else a larger eps where the gates allow it."""
    lesson = lessons[-1]
    if not lesson.promoted:
        return _larger_network(_stays(plan, "the gates refused this round's model: nothing is made harder"))
    if _saturated(lessons):
        because = f"two rounds gained {_gains(lessons)} points, less than half an interval"
        return _larger_network(_stays(plan, because))
    fall, allowed = lesson.first_clean - lesson.clean["value"], plan.gates.clean_fall
    if fall > allowed:
        told = (
            f"clean validation accuracy fell {_points(fall)} points since the first round, allowed: {_points(allowed)}"
        )
        return _larger_network(_stays(plan, told))
    if lesson.worst["value"] < LEAST:
        told = f"the worst case on validation images is {_percent(lesson.worst['value'])}, wanted {_percent(LEAST)}"
        return _larger_network(_stays(plan, told))
    if lesson.before is not None and lesson.worst["low"] <= lesson.before["low"]:
        told = (
            f"lower limit {_percent(lesson.before['low'])} before, {_percent(lesson.worst['low'])} now: it did not rise"
        )
        return _larger_network(_stays(plan, told))
    return _larger_eps(plan, lesson, fall)


def _larger_eps(plan: Plan, lesson: Lesson, fall: float) -> Plan:
    old = plan.recipe["threat"]
    eps = larger(str(old["eps"]))
    rose = "" if lesson.before is None else f" (the model before: {_percent(lesson.before['low'])})"
    because = (
        f"promoted; {_points(fall)} of {_points(plan.gates.clean_fall)} points of clean accuracy lost; "
        f"lower limit of the worst case {_percent(lesson.worst['low'])}{rose}"
    )
    recipe = _recipe(plan, threat={**old, "eps": eps})
    return _with(plan, "threat", f"eps {old['eps']} -> {eps}", because, recipe=recipe)


def _stays(plan: Plan, because: str) -> Plan:
    return _with(plan, "threat", "stays", because)


def _saturated(lessons: tuple[Lesson, ...]) -> bool:
    """Whether the last two rounds gained less than their intervals can tell."""
    last = lessons[-2:]
    return len(last) == 2 and all(one.gain is not None and one.gain < one.half for one in last)


def _larger_network(plan: Plan) -> Plan:
    """A network of twice the width; where there is none, a harder suite."""
    model = wider(plan.recipe.get("model"))
    if model is not None:
        because = "what a network cannot hold, one of twice the width may"
        return _with(plan, "capacity", "a network of twice the width", because, recipe=_recipe(plan, model=model))
    if plan.suite in SUITE_AFTER:
        suite = SUITE_AFTER[plan.suite]
        return _with(plan, "adversary", f"suite {plan.suite} -> {suite}", "no larger network is known", suite=suite)
    return _with(plan, "adversary", "stays", "no larger network and no harder suite are known")


def _gains(lessons: tuple[Lesson, ...]) -> str:
    return " and ".join(_points(one.gain or 0.0) for one in lessons[-2:])


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _points(share: float) -> str:
    return f"{100 * share:.1f}"


def larger(eps: str) -> str:
    """eps times `HARDER`, written as text: decimals stay decimals, fractions fractions, nothing is rounded."""
    if "/" in eps:
        value = Fraction(eps) * Fraction(HARDER)
        return f"{value.numerator}/{value.denominator}"
    return format((Decimal(eps) * HARDER).normalize(), "f")


def wider(model: Any) -> dict[str, Any] | None:
    """The same network with twice the width; None for one whose width is not known, or wide enough."""
    if not isinstance(model, Mapping) or model.get("is") not in ("CnnSmall", "Cnn", "Mlp"):
        return None
    if max(model["hidden"] if model["is"] == "Mlp" else [model["hidden"]]) >= WIDEST:
        return None
    if model["is"] == "Mlp":
        return {**model, "hidden": [2 * width for width in model["hidden"]]}
    return {**model, "channels": [2 * width for width in model["channels"]], "hidden": 2 * model["hidden"]}
