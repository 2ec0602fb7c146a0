"""The record of a round: canonical JSON, signed, chained to the record before it.

`record.json` names every input and output by digest. `circumstances` alone holds what another run of the same round
would make otherwise: times, the machine, files sealed under fresh keys. `record.json.sig` is a signed statement of
its digest and of the digest of every field, so that a changed record is told by round and field.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harden.errors import ConfigError, HardenError, Untrusted
from harden.files import canonical_json, write_bytes
from harden.rounds.quarter import SPELLING, Quarter
from harden.sealing.provenance.statements import SUFFIX, attest, attested
from harden.sealing.signing import Signer
from harden.sealing.trust import Trust

FORMAT = "harden-round/1"
KIND = "urn:harden:round:1"
RECORD = "record.json"
CIRCUMSTANCES = "circumstances"
READY = ".record"


@dataclass(frozen=True)
class Record:
    """A record, read and believed. `sha256`: of its bytes, what the next one is chained to."""

    quarter: Quarter
    sha256: str
    said: Mapping[str, Any]

    @property
    def number(self) -> int:
        """Which round it is of its programme, from 1."""
        return int(self.said["number"])

    @property
    def promoted(self) -> bool:
        """Whether its model became the champion."""
        return bool(self.said["verdict"]["promoted"])

    def result(self, stage: str) -> Mapping[str, Any]:
        """The figures of a stage; empty where it was not done."""
        found: Mapping[str, Any] = self.said["stages"].get(stage, {}).get("result", {})
        return found


def core(said: Mapping[str, Any]) -> dict[str, Any]:
    """What two runs of the same round have in common: all but the circumstances."""
    return {name: value for name, value in said.items() if name != CIRCUMSTANCES}


def digest_of(value: Any) -> str:
    """SHA-256 of the canonical JSON of `value`, in hex."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def prepare(home: Path, said: Mapping[str, Any], signer: Signer) -> Path:
    """A folder with the record and its signature, not yet in their places, so that they can be kept elsewhere first."""
    data = canonical_json(dict(said)) + b"\n"
    fields = {name: digest_of(value) for name, value in flat(said)}
    name = {RECORD: hashlib.sha256(data).hexdigest()}
    write_bytes(home / READY / RECORD, data)
    attest(home / READY / (RECORD + SUFFIX), KIND, name, {"fields": fields}, signer, overwrite=True)
    return home / READY


def settle(home: Path) -> None:
    """Puts what `prepare` made into the round's folder, the record last: it is what makes a round exist."""
    for name in (RECORD + SUFFIX, RECORD):
        (home / READY / name).replace(home / name)
    (home / READY).rmdir()


def flat(said: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The fields by dotted name, two levels deep: `stages.train`, `verdict.promoted`."""
    for name, value in said.items():
        if isinstance(value, Mapping) and value:
            yield from ((f"{name}.{key}", one) for key, one in value.items())
        else:
            yield name, value


def read(home: Path, trust: Trust) -> Record:
    """The record of the round in `home`. Raises Untrusted, naming round and field, where it is not as it was signed."""
    path = home / RECORD
    try:
        data = path.read_bytes()
    except OSError as error:
        raise HardenError(f"{path}: cannot be read: {error.strerror}") from error
    signed = attested(home / (RECORD + SUFFIX), KIND, trust)
    return parsed(data, signed.files.get(RECORD, ""), signed.said.get("fields", {}), str(path), home.name)


def parsed(data: bytes, sha256: str, fields: Mapping[str, str], where: str, name: str) -> Record:
    """The record in `data`, whose digest and fields' digests were signed. Raises Untrusted."""
    try:
        said = json.loads(data)
        found = {key: digest_of(value) for key, value in flat(said)}
    except (ValueError, AttributeError, RecursionError) as error:
        raise Untrusted(f"{where}: round {name}: is no record", HINT) from error
    if wrong := sorted(key for key in {*found, *fields} if found.get(key) != fields.get(key)):
        raise Untrusted(f"{where}: round {name}: field {', '.join(wrong)} is not as it was signed", HINT)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise Untrusted(f"{where}: round {name}: its bytes are not as they were signed", HINT)
    if said["format"] != FORMAT:
        raise Untrusted(f"{where}: round {name}: has format {said['format']!r}, wanted {FORMAT}")
    if said["round"] != name:
        raise Untrusted(f"{where}: the record is of round {said['round']}, wanted {name}", HINT)
    return Record(Quarter.of(name), sha256, said)


HINT = "the record was changed after it was signed: get the one that was published"


def chain(home: Path, trust: Trust) -> list[Record]:
    """The finished rounds below `home`, oldest first, each chained to the one before.

    Raises Untrusted where a record was changed or follows another one than is there, ConfigError for a gap.
    """
    records: list[Record] = []
    for quarter in finished(home):
        record = read(home / quarter.name, trust)
        _check_link(records[-1] if records else None, record)
        records.append(record)
    return records


def finished(home: Path) -> list[Quarter]:
    """The rounds below `home` that have a record, in order."""
    names = [path.parent.name for path in home.glob(f"*/{RECORD}")] if home.is_dir() else []
    return sorted(Quarter.of(name) for name in names if SPELLING.fullmatch(name))


def unfinished(home: Path) -> list[Quarter]:
    """The rounds below `home` that were begun and have no record yet."""
    names = [path.name for path in home.iterdir() if path.is_dir()] if home.is_dir() else []
    return sorted({Quarter.of(name) for name in names if SPELLING.fullmatch(name)} - set(finished(home)))


def _check_link(before: Record | None, record: Record) -> None:
    name, link = record.quarter.name, record.said["previous"]
    if link is None:
        if before is not None:
            raise Untrusted(
                f"round {name}: field previous names no round, but {before.quarter.name} is before it", HINT
            )
        return
    if before is None or before.quarter.name != link["round"]:
        there = before.quarter.name if before else "none"
        raise ConfigError(
            f"round {name}: its predecessor {link['round']} is missing, before it is {there}",
            f"put {link['round']} back into the folder of rounds",
        )
    if record.quarter.previous != before.quarter:
        raise ConfigError(f"round {name}: a gap in the chain: it follows {before.quarter.name}")
    if before.sha256 != link["sha256"]:
        raise Untrusted(
            f"round {name}: field previous: follows another record of {link['round']} than the one that is there", HINT
        )
