"""Records are signed and chained: a change, a gap and a missing round are told by name."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from harden.errors import ConfigError, Untrusted
from harden.files import canonical_json
from harden.rounds import record as records
from harden.rounds.quarter import Quarter
from harden.sealing import Signer, Trust, provider
from harden.sealing.keyfiles import SIGNER, generate
from harden.sealing.provenance.statements import attested
from harden.sealing.signing import signer_of
from harden.sealing.suites import HYBRID
from harden.sealing.trust import OneSigner

BY = provider()


@pytest.fixture(scope="module")
def signer() -> Signer:
    return signer_of(HYBRID, generate(SIGNER, HYBRID, BY).seed, BY)


@pytest.fixture(scope="module")
def trust(signer: Signer) -> Trust:
    return OneSigner(signer.key)


def said(name: str, previous: dict[str, str] | None, **more: Any) -> dict[str, Any]:
    plain = {"format": records.FORMAT, "round": name, "programme": "p", "number": 1, "previous": previous}
    plain |= {"stages": {"train": {"result": {"robust": 0.5}}, "gates": {}}}
    return plain | {"verdict": {"promoted": True, "champion": name}, "circumstances": {"seconds": 1.5}} | more


def write(home: Path, told: dict[str, Any], signer: Signer) -> None:
    folder = home / str(told["round"])
    folder.mkdir(parents=True)
    records.prepare(folder, told, signer)
    records.settle(folder)


@pytest.fixture
def home(tmp_path: Path, signer: Signer, trust: Trust) -> Path:
    """Three rounds."""
    previous = None
    for name in ("2026Q1", "2026Q2", "2026Q3"):
        write(tmp_path, said(name, previous), signer)
        previous = {"round": name, "sha256": records.read(tmp_path / name, trust).sha256}
    return tmp_path


def change(home: Path, name: str, *path: str, value: Any) -> None:
    """Changes one field of a record and writes it as it would be spelled."""
    file = home / name / records.RECORD
    told = json.loads(file.read_bytes())
    inner = told
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    file.write_bytes(canonical_json(told) + b"\n")


def test_a_chain_is_read_oldest_first(home: Path, trust: Trust) -> None:
    found = records.chain(home, trust)
    assert [record.quarter.name for record in found] == ["2026Q1", "2026Q2", "2026Q3"]
    assert all(record.promoted for record in found)


def test_equal_records_have_equal_bytes_and_only_the_signature_differs(tmp_path: Path, signer: Signer) -> None:
    for name in ("one", "other"):
        write(tmp_path / name, said("2026Q1", None), signer)
    files = [tmp_path / name / "2026Q1" / records.RECORD for name in ("one", "other")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (("verdict", "promoted"), "verdict.promoted"),
        (("stages", "train"), "stages.train"),
        (("circumstances", "seconds"), "circumstances.seconds"),
        (("programme",), "programme"),
    ],
)
def test_an_altered_record_is_told_by_round_and_field(
    home: Path, trust: Trust, path: tuple[str, ...], field: str
) -> None:
    change(home, "2026Q2", *path, value=0)
    with pytest.raises(Untrusted, match=rf"round 2026Q2: field {field} is not as it was signed"):
        records.chain(home, trust)


def test_every_flipped_bit_of_a_record_is_noticed(home: Path, trust: Trust) -> None:
    file = home / "2026Q1" / records.RECORD
    data = file.read_bytes()
    for place in range(0, len(data), 7):
        file.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(Untrusted):
            records.read(home / "2026Q1", trust)


def test_another_signature_is_noticed(home: Path, trust: Trust) -> None:
    stranger = signer_of(HYBRID, generate(SIGNER, HYBRID, BY).seed, BY)
    records.prepare(home / "2026Q1", said("2026Q1", None), stranger)
    records.settle(home / "2026Q1")
    with pytest.raises(Untrusted, match="trusted is"):
        records.read(home / "2026Q1", trust)


def test_a_record_rewritten_by_its_own_signer_breaks_the_chain(home: Path, signer: Signer, trust: Trust) -> None:
    shutil.rmtree(home / "2026Q1")
    write(home, said("2026Q1", None, programme="other"), signer)
    with pytest.raises(Untrusted, match="round 2026Q2: field previous: follows another record of 2026Q1"):
        records.chain(home, trust)


def test_a_missing_predecessor_is_told(home: Path, trust: Trust) -> None:
    shutil.rmtree(home / "2026Q2")
    with pytest.raises(ConfigError, match="round 2026Q3: its predecessor 2026Q2 is missing"):
        records.chain(home, trust)


def test_a_gap_is_told(home: Path, signer: Signer, trust: Trust) -> None:
    last = {"round": "2026Q3", "sha256": records.read(home / "2026Q3", trust).sha256}
    write(home, said("2027Q1", last), signer)
    with pytest.raises(ConfigError, match="round 2027Q1: a gap in the chain: it follows 2026Q3"):
        records.chain(home, trust)


def test_a_second_first_round_is_told(home: Path, signer: Signer, trust: Trust) -> None:
    write(home, said("2026Q4", None), signer)
    with pytest.raises(Untrusted, match="round 2026Q4: field previous names no round"):
        records.chain(home, trust)


def test_the_signed_statement_is_an_in_toto_statement_that_names_the_record(home: Path, trust: Trust) -> None:
    found = attested(home / "2026Q1" / "record.json.sig", records.KIND, trust)
    assert set(found.files) == {records.RECORD}
    assert "verdict.promoted" in found.said["fields"]


def test_a_round_without_a_record_is_unfinished(home: Path) -> None:
    (home / "2026Q4").mkdir()
    (home / "keys").mkdir()
    assert records.unfinished(home) == [Quarter(2026, 4)]
    assert Quarter(2026, 4) not in records.finished(home)
