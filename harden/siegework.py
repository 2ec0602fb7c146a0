"""A siege as a table for people, as JSON, and in the ledger, row by row as it goes on."""

import math
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harden.besieging import Siege
from harden.environment import environment
from harden.errors import ConfigError, Interrupted
from harden.files import write_json
from harden.ledger import open_ledger
from harden.spelling import spell
from harden.testimony import EXPERIMENT
from harden.watermarking.edits.forging import Forged
from harden.watermarking.edits.suite import MATCH, Result, Row

HEAD = (
    f"{'family':<15} {'attack':<26} {'clean':>6} {'robust':>6} "
    f"{'Z':>7} {'log10 p':>8} {'Z best':>7} {'log10 p':>8} {'wrong':>8} {'s':>6}  result"
)
FORMAT = 1


def besiege(siege: Siege, stop: Callable[[], bool]) -> list[Row]:
    """Prints each row as it comes, records all; the rows in which the mark was removed and that was not expected."""
    request = siege.request
    if request.output and Path(request.output).exists():
        raise ConfigError(f"output={request.output}: exists already", "choose another file")
    path = Path(str(request.weights))
    rows: list[Row] = []
    with open_ledger(
        uri=request.tracking.uri,
        folder=path.resolve().parent.parent,
        experiment=request.tracking.experiment or EXPERIMENT,
        name=f"attack-{path.parent.name}",
    ) as ledger:
        ledger.note(spell(request))
        ledger.tag(environment() | {"harden.kind": "watermark.attack", "harden.claim": siege.claim.id})
        sys.stdout.write(HEAD + "\n")
        for number, row in enumerate(siege.rows()):
            rows.append(row)
            sys.stdout.write(line(row) + "\n")
            sys.stdout.flush()
            ledger.log(figures(row), number)
            if stop():
                raise Interrupted("stopped on request")
        forged = list(siege.forgeries())
        for one in forged:
            sys.stdout.write(forged_line(one) + "\n")
        counts = {f"attempts.{kind.value}": sum(row.result is kind for row in rows[1:]) for kind in Result}
        ledger.log({name: float(count) for name, count in counts.items()}, len(rows))
        if request.output:
            write_json(Path(request.output), told(siege, rows, forged))
            ledger.keep(Path(request.output))
    sys.stdout.write(", ".join(f"{count} {name.split('.')[1]}" for name, count in counts.items()) + "\n")
    return [row for row in rows if row.result is Result.removed and not row.note]


def line(row: Row) -> str:
    """One row of the table."""
    if row.reading is None:
        return f"{row.family:<15} {row.attack:<26} {row.result.value}: {row.note}"
    one = row.reading
    accuracy = " ".join(f"{'-' if math.isnan(a) else f'{100 * a:.1f}':>6}" for a in (row.clean, row.robust))
    residual = f"{_number(one.z_residual):>7} {_number(one.log10_p_residual):>8}"
    wrong = f"{one.errors}/{one.bits}"
    result = row.result.value if row.result is row.blind else f"{row.result.value} (blind {row.blind.value})"
    return (
        f"{row.family:<15} {row.attack:<26} {accuracy} {one.z:>7.1f} {one.log10_p:>8.1f} {residual} {wrong:>8} "
        f"{row.seconds:>6.1f}  {row.note or result}"
    )


def forged_line(one: Forged) -> str:
    """What a forger reached."""
    below = "a match" if one.log10_corrected <= MATCH else "no match"
    chance = f"log10 p {one.log10_p:.1f}, counted {one.log10_corrected:.1f}"
    return f"{'forging':<15} {one.attack}: Z {one.z:.1f}, {chance}: {below}"


def figures(row: Row) -> dict[str, float]:
    """The numbers of a row for the ledger, under the attempt's name."""
    stem = "".join(c if c.isalnum() or c in "._-" else "_" for c in row.attack)
    found: dict[str, float] = {"clean": row.clean, "robust": row.robust, "seconds": row.seconds}
    if row.reading is not None:
        found |= {name: float(value) for name, value in asdict(row.reading).items() if name != "mode"}
    return {f"{stem}.{name}": value for name, value in found.items() if not math.isnan(value)}


def told(siege: Siege, rows: list[Row], forged: list[Forged]) -> dict[str, Any]:
    """The whole table as JSON values; what is not there is null."""
    return {
        "format": FORMAT,
        "claim_id": siege.claim.id,
        "attacks": siege.request.attacks.value,
        "weights": siege.mark.layout.count,
        "rows": [_plain(asdict(row) | {"result": row.result.value, "blind": row.blind.value}) for row in rows],
        "forging": [_plain(asdict(one) | {"log10_corrected": one.log10_corrected}) for one in forged],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"
