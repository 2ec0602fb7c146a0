"""What a folder of `harden.train` says of how its weights came about."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from harden.errors import ConfigError
from harden.files import sha256_of
from harden.sealing.heads import opened
from harden.sealing.provenance.statement import Evidence
from harden.sealing.publish import naming

CONFIG, SUMMARY, RECORD = "config.yaml", "summary.json", "record.json"
LONGEST = 64 << 20
"""Bytes of the longest file of a run that is read; weights are not among them."""


def gather(run: Path, *, weights: str | None = None, code: str | None = None) -> Evidence:
    """The evidence in a run's folder. `code`: the commit, else the one that the run noted.

    `weights`: SHA-256 of the file to be sealed, which must be the run's. It is not said all the same, as strangers
    could recognise the weights by it; whoever wants that: `replace(evidence, weights=weights)`.
    Raises ConfigError where there is no finished run, or not the one of these weights; Unreadable.
    """
    raw = _read(run / SUMMARY)
    summary = _object(raw, run / SUMMARY)
    if weights is not None:
        _check_weights(weights, summary, run)
    return Evidence(
        data=_data_of(summary, run),
        code=code or summary.get("commit") or "",
        configuration=sha256(_read(run / CONFIG)).hexdigest(),
        recipe=summary.get("recipe_sha256") or "",
        summary=sha256(raw).hexdigest(),
        run=_run_id(run) or summary.get("run_id") or "",
    )


def digest_of(path: Path) -> str:
    """SHA-256 of a file in hex, read in constant memory; of a claim or a bill of materials, say. Raises Unreadable."""
    with naming(path):
        return sha256_of(path)


def _check_weights(weights: str, summary: dict[str, Any], run: Path) -> None:
    if weights != (wanted := summary.get("weights_sha256")):
        raise ConfigError(
            f"{run}: is not the run of these weights: their SHA-256 is {weights[:16]}..., its {str(wanted)[:16]}...",
            "name the folder of the run that these weights come from",
        )


def _data_of(summary: dict[str, Any], run: Path) -> dict[str, str]:
    """The digest of the run's data set by name; `Evidence` checks that it is one."""
    data = summary.get("data")
    name = data.get("name") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(name, str) or "sha256" not in data:
        raise ConfigError(f"{run / SUMMARY}: names no data set", "wanted the folder of a finished run of harden.train")
    return {name: data["sha256"]}


def _run_id(run: Path) -> str | None:
    path = run / RECORD
    found = _object(_read(path), path).get("run_id") if path.is_file() else None
    return found if isinstance(found, str) else None


def _object(data: bytes, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not JSON", "wanted the folder of a finished run of harden.train") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: is no JSON object", "wanted the folder of a finished run of harden.train")
    return value


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise ConfigError(f"{path}: is not there", "wanted the folder of a finished run of harden.train")
    with opened(path) as handle, naming(path), open(handle, "rb", closefd=False) as file:
        data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise ConfigError(f"{path}: is longer than {LONGEST} bytes", "wanted the folder of a finished run")
    return data
