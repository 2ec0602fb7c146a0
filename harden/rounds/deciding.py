"""The last stages of a round: its gates, and the plan that follows from what was found on validation images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harden.files import write_bytes, write_json
from harden.rounds import curriculum
from harden.rounds.bench import BANK, COMPARE, EVALUATE, MARK, SEAL, TRAIN, VALIDATE, Bench
from harden.rounds.curriculum import Lesson
from harden.rounds.gates import Facts, judged, opens
from harden.rounds.plan import yaml_of
from harden.rounds.sealing import SEALED, Keys, trouble
from harden.rounds.stage import Done, Entry

Entries = Mapping[str, Entry]


def gates(bench: Bench, entries: Entries, keys: Keys, folder: Path) -> Done:
    """Whether the model may become the champion, with the figures of every gate."""
    wanted = str(entries[SEAL].result["weights_sha256"])
    found = judged(facts(bench, entries, trouble(bench.home / SEAL / SEALED, keys, wanted)), bench.plan.gates)
    told = {"promoted": opens(found), "gates": [gate.plain() for gate in found]}
    write_json(folder / "gates.json", told)
    return Done(told)


def facts(bench: Bench, entries: Entries, signature: str) -> Facts:
    """What the gates look at, from what the stages found on test images."""
    figures, replay = entries[EVALUATE].result, entries[BANK].result
    corruption = figures["corruption"]
    return Facts(
        clean=figures["clean"],
        worst=figures["worst"],
        champion=_champion(entries),
        corruption=None if corruption is None else (corruption, _before(bench, "corruption")),
        replay=replay if "p" in replay else None,
        sanity=tuple(figures["failed"]) if figures["failed"] is not None else None,
        mark=entries[MARK].result.get("log10_p", entries[MARK].result.get("skipped", "")),
        signature=signature,
    )


def propose(bench: Bench, entries: Entries, folder: Path) -> Done:
    """The next plan, as JSON and as YAML to edit."""
    plan = curriculum.propose(bench.plan, (*earlier(bench), lesson(bench, entries)))
    write_json(folder / "plan.json", plan.plain())
    write_bytes(folder / "plan.yaml", yaml_of(plan).encode())
    return Done({"round": plan.round, "reasons": plan.plain()["reasons"]})


def lesson(bench: Bench, entries: Entries) -> Lesson:
    """What this round found on validation images; of its test images one bit: promoted or not."""
    told = {name: entries[name].result for name in (TRAIN, VALIDATE, BANK)}
    return _lesson(told, bool(entries["gates"].result["promoted"]), bool(entries[EVALUATE].result["reliable"]), bench)


def earlier(bench: Bench) -> tuple[Lesson, ...]:
    """The lessons of the finished rounds."""
    return tuple(
        _lesson(
            {name: record.result(name) for name in (TRAIN, VALIDATE, BANK)},
            record.promoted,
            bool(record.result(EVALUATE)["reliable"]),
            bench,
        )
        for record in bench.chain
    )


def _lesson(told: Mapping[str, Any], promoted: bool, reliable: bool, bench: Bench) -> Lesson:
    validated = told[VALIDATE]
    first = bench.chain[0].result(VALIDATE) if bench.chain else validated
    return Lesson(
        promoted=promoted,
        reliable=reliable,
        clean=validated["clean"],
        worst=validated["worst"],
        before=validated.get("before"),
        credit=validated["credit"],
        classes=tuple(validated["classes"]),
        first_clean=first["clean"]["value"],
        entries=int(told[BANK]["usable"]),
        trained=int(told[TRAIN]["images"]),
        held=told[TRAIN]["steps_held"],
    )


def _champion(entries: Entries) -> dict[str, Any] | None:
    """The champion under this round's suite, on the same images."""
    told = entries[COMPARE].result
    if told["champion"] is None:
        return None
    row = next(one for one in told["models"] if one["round"] == told["champion"])
    return {"clean": row["clean"], "worst": row["worst"], **told["pairs"][told["champion"]]}


def _before(bench: Bench, name: str) -> float | None:
    return None if bench.champion is None else bench.champion.result(EVALUATE).get(name)
