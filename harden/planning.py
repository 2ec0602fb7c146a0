"""Which plan a round follows: the first is made of the request, later ones of the round before, or read from a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from harden.console import downloads
from harden.data import DataSet, load
from harden.errors import ConfigError
from harden.rounds.bench import NEXT, TRAIN
from harden.rounds.plan import Plan, Reason, edits, read_plan
from harden.rounds.quarter import Quarter
from harden.rounds.record import Record, unfinished
from harden.rounds.request import RoundRequest
from harden.rounds.stage import read_entry
from harden.rounds.training import recipe_with
from harden.schema import recalled
from harden.spelling import spell
from harden.training import Recipe
from harden.training.network import network

SHAPES_THE_FIRST = {"suite", "images", "gates", "minutes", "programme", *(one.name for one in fields(Recipe))}
"""Keys that make the first plan; a later plan comes from the round before it."""


@dataclass(frozen=True)
class Wanted:
    """The plan that is run, the one that was proposed, what was changed between the two, and why."""

    plan: Plan
    proposed: Plan
    edits: Sequence[Mapping[str, Any]] = ()
    why: str = ""


def wanted(request: RoundRequest, overrides: Sequence[str], chain: Sequence[Record], data: DataSet | None) -> Wanted:
    """The plan of the round that is asked for. Raises ConfigError for a gap, a round that exists, keys out of place."""
    quarter = which(request, chain)
    if chain:
        _refuse_keys(overrides)
        proposed = proposal(Path(request.home), chain)
    else:
        if data is None:
            raise ValueError("the first plan needs its data")
        proposed = first(request, quarter, data)
    if request.plan is None:
        return Wanted(proposed, proposed)
    plan = read_plan(Path(request.plan))
    if plan.round != quarter.name or plan.after != proposed.after or plan.programme != proposed.programme:
        got, want = (f"{one.programme} {one.round} after {one.after}" for one in (plan, proposed))
        raise ConfigError(f"{request.plan}: is the plan of {got}, wanted {want}")
    recipe_of(plan, request.plan)
    changed = edits(proposed, plan)
    if changed and not request.why:
        names = ", ".join(str(one["field"]) for one in changed[:4])
        raise ConfigError(f"{request.plan}: differs from the proposal in {names}", "say why: why='...'")
    return Wanted(plan, proposed, changed, request.why or "")


def planned(request: RoundRequest, overrides: Sequence[str], chain: Sequence[Record]) -> tuple[Wanted, DataSet]:
    """The plan, and its data; of a later round the data of the plan."""
    if not chain:
        with downloads() as progress:
            data = load(request.data, progress=progress)
        return wanted(request, overrides, chain, data), data
    found = wanted(request, overrides, chain, None)
    with downloads() as progress:
        data = load(recipe_of(found.plan, "the plan").data, progress=progress)
    was = chain[-1].said["stages"][TRAIN]["inputs"]["data"]
    if data.digest != was:
        raise ConfigError(
            f"{data.name} is not the data of the rounds before: its digest is {data.digest[:16]}, wanted {was[:16]}"
        )
    return found, data


def which(request: RoundRequest, chain: Sequence[Record]) -> Quarter:
    """The quarter that is asked for, where it is the next one. Raises ConfigError."""
    if request.round is None:
        raise ConfigError("round=QUARTER is missing", "for example round=2026Q4; action=due says which one is due")
    quarter = Quarter.of(request.round)
    if begun := [one.name for one in unfinished(Path(request.home)) if one != quarter]:
        raise ConfigError(
            f"round {begun[0]} was begun in {request.home} and is not finished",
            f"finish it: round={begun[0]}, or remove {Path(request.home) / begun[0]}",
        )
    if not chain:
        return quarter
    last = chain[-1].quarter
    if quarter in [record.quarter for record in chain]:
        raise ConfigError(
            f"round {quarter.name} exists in {request.home} and is finished", f"next is round={last.next.name}"
        )
    if quarter != last.next:
        where = "lies before" if quarter < last else "leaves a gap in the chain after"
        raise ConfigError(f"round {quarter.name} {where} the last one, {last.name}", f"next is round={last.next.name}")
    return quarter


def first(request: RoundRequest, quarter: Quarter, data: DataSet) -> Plan:
    """The plan that a request makes: what was said, and what the defaults are."""
    recipe = request.recipe_part()
    plain = spell(replace(recipe, model=network(recipe, data)))
    plain.pop("init")
    eps = recipe.threat.eps.replace("/", "_")
    name = request.programme or f"{data.name}-{recipe.threat.norm.value}-{eps}"
    attack = "no attack" if recipe.attack is None else recipe.attack.label
    reason = Reason("first round", f"{attack} within {recipe.threat.label}", "asked for: there is no round before it")
    return Plan(
        round=quarter.name,
        programme=name,
        recipe=plain,
        suite=request.suite,
        images=request.images,
        gates=request.gates,
        minutes=request.minutes,
        reasons=(reason,),
    )


def proposal(home: Path, chain: Sequence[Record]) -> Plan:
    """What the last round proposes, as its record has it."""
    last = chain[-1]
    entry = read_entry(home / last.quarter.name, NEXT)
    if entry.record() != last.said["stages"][NEXT]:
        raise ConfigError(f"round {last.quarter.name}: the next plan is not the one of its record")
    path = home / last.quarter.name / NEXT / "plan.json"
    return read_plan(path)


def recipe_of(plan: Plan, where: str, *, home: Path | None = None) -> Recipe:
    """The training recipe of a plan, with its lessons; `home`: the folder of rounds, where the bank lies."""
    recipe: Recipe = recalled({**plan.recipe, "init": None}, Recipe, where=where)
    bank = home / plan.after if home is not None and plan.after else None
    return recipe_with(recipe, plan.classes, plan.replay, bank)


def _refuse_keys(overrides: Sequence[str]) -> None:
    """Keys of a recipe say nothing to a later round; the attack that rounds began with may be repeated."""
    for word in overrides:
        key = word.lstrip("+").partition("=")[0]
        if key.partition(".")[0] in SHAPES_THE_FIRST and key != "attack":
            raise ConfigError(
                f"{key}: the plan of a later round comes from the round before it, got {word}",
                "action=plan output=plan.yaml writes it; edit it and say plan=plan.yaml why='...'",
            )
