"""Rounds as a tracking store holds them, read back and compared with what was signed: all that a review is made of."""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from harden.chronicle import ENTRIES, KEY, KIND, PROGRAMME, PUBLISHED, ROUND
from harden.environment import PACKAGES
from harden.errors import ConfigError, Untrusted
from harden.ledger import Run, Store
from harden.reviewing import Told
from harden.rounds.record import KIND as RECORD_KIND
from harden.rounds.record import RECORD, parsed
from harden.sealing.provenance.statements import SUFFIX, attested_in
from harden.sealing.trust import Trust

FILES = {
    "plan": ("plan", "plan.json"),
    "proposed": ("plan", "proposed.json"),
    "edits": ("plan", "edits.json"),
    "training": ("train", "training.json"),
    "mark": ("mark", "mark.json"),
    "validation": ("validate", "validation.json"),
    "evaluation": ("evaluate", "evaluation.json"),
    "comparison": ("compare", "comparison.json"),
    "replay": ("bank", "replay.json"),
    "gates": ("gates", "gates.json"),
    "after": ("next", "plan.json"),
}
"""Which file of which stage a review reads for what."""

FACTS = ("commit", "platform", "cpu", "cores", "memory", "gpu", "python", *PACKAGES)


def known(store: Store, programme: str | None) -> dict[str, Run]:
    """The runs of the rounds in a store, by quarter. Raises ConfigError where programmes cannot be told apart."""
    runs = [run for run in store.runs(f"tags.`{KIND}` = 'round'") if PUBLISHED in run.tags]
    programmes = sorted({run.tags[PROGRAMME] for run in runs})
    if programme is None and len(programmes) > 1:
        raise ConfigError(f"{store.location} holds the rounds of {', '.join(programmes)}", "say programme=NAME")
    chosen = programme or (programmes[0] if programmes else None)
    return {run.tags[ROUND]: run for run in runs if run.tags[PROGRAMME] == chosen}


def told(store: Store, names: Sequence[str], *, programme: str | None, trust: Trust | None) -> list[Told]:
    """The rounds of these names, in their order; `trust`: from whom records are believed, None: they are not asked for.

    Raises ConfigError for a round that the store does not hold, Untrusted where a file is not what was signed.
    """
    runs = known(store, programme)
    if missing := [name for name in names if name not in runs]:
        there = ", ".join(sorted(runs)) or "none"
        raise ConfigError(f"{store.location} holds no round {', '.join(missing)}; there are: {there}")
    return [one_told(store, runs[name], trust) for name in names]


def one_told(store: Store, run: Run, trust: Trust | None) -> Told:
    """One round, every file compared with its digest, and the digests with the signed record where there is one."""
    name = run.tags[ROUND]
    entries = json.loads(store.read(run.id, ENTRIES))
    record = _record(store, run, entries, trust)
    read = {key: _file(store, run, entries, stage, file) for key, (stage, file) in FILES.items()}
    return Told(
        round=name,
        programme=run.tags[PROGRAMME],
        number=int(run.tags["harden.number"]),
        previous=run.tags.get("harden.previous", ""),
        run=run.id,
        link=store.link(run),
        promoted=bool(read["gates"]["promoted"]),
        entries=entries,
        environment={fact: run.tags[fact] for fact in FACTS if fact in run.tags},
        record=record,
        **read,
    )


def _file(store: Store, run: Run, entries: Mapping[str, Any], stage: str, file: str) -> Any:
    data = store.read(run.id, f"{stage}/{file}")
    wanted = {**entries[stage]["outputs"], **entries[stage]["timed"]}.get(file, "")
    if sha256(data).hexdigest() != wanted:
        raise Untrusted(
            f"{store.location}: round {run.tags[ROUND]}: {stage}/{file} is not what the round wrote",
            "somebody changed the store: publish the round again from its folder",
        )
    return json.loads(data)


def _record(store: Store, run: Run, entries: Mapping[str, Any], trust: Trust | None) -> str:
    """SHA-256 of the signed record, once its stages were found to be those of the run; "" before there is one."""
    if RECORD not in store.files(run.id):
        return ""
    data = store.read(run.id, RECORD)
    if trust is None:
        return sha256(data).hexdigest()
    where, name = f"{store.location}/{RECORD}", run.tags[ROUND]
    signed = attested_in(store.read(run.id, RECORD + SUFFIX), where, RECORD_KIND, trust)
    record = parsed(data, signed.files.get(RECORD, ""), signed.said.get("fields", {}), where, name)
    for stage, entry in record.said["stages"].items():
        if stage in entries and {key: entries[stage][key] for key in entry} != entry:
            raise Untrusted(
                f"{where}: round {name}: stage {stage} is not as its record has it", "somebody changed the store"
            )
    return record.sha256


__all__ = ["KEY", "known", "one_told", "told"]
