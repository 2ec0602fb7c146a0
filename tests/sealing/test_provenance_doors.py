"""Manifests from the command line: written when a file is sealed or rotated, walked when it is verified."""

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from harden.sealing import inspect, trust_of
from harden.sealing.provenance import read_manifest

PLAIN = bytes(range(256)) * 300
COMMIT = "c" * 40 + "-dirty"

Ask = Callable[..., Any]
in_the_house = pytest.mark.usefixtures("house")

SEAL = ("to=[alice.pub]", "signer=acme.key", "model_id=resnet")
ROTATE = ("action=rotate", "identity=alice.key", "trust=acme.pub", "to=[alice.pub]", "signer=acme.key")


@pytest.fixture
def run(house: Path) -> Path:
    """The folder of a finished run of harden.train, with its weights."""
    folder = house / "run"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(PLAIN)
    (folder / "config.yaml").write_text("is: TrainRequest\n")
    summary = {
        "data": {"name": "digits", "sha256": "d" * 64},
        "recipe_sha256": "e" * 64,
        "weights_sha256": sha256(PLAIN).hexdigest(),
        "commit": COMMIT,
        "run_id": "r-1",
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def done(ask: Ask, *words: str) -> Any:
    """A door's answer, which must be yes."""
    answer = ask(*words)
    assert answer.code == 0, answer.err
    return answer


@pytest.fixture
def rounds(ask: Ask, house: Path, run: Path) -> Path:
    """Three rounds: r1 sealed from a run, r2 sealed anew, r3 rotated."""
    done(ask, "seal", f"weights={run / 'weights.bin'}", *SEAL, "output=r1.sealed", "round=2026Q1")
    done(ask, "seal", "weights=plain", *SEAL, "parent=r1.sealed", "output=r2.sealed", "round=2026Q2")
    done(ask, "seal", *ROTATE, "sealed=r2.sealed", "output=r3.sealed")
    return house


def manifest(path: Path, trust: str = "acme.pub") -> Any:
    """The manifest beside a sealed file, believed."""
    return read_manifest(path.with_name(path.name + ".manifest.json"), trust_of(path.with_name(trust)))


def test_weights_of_a_run_say_how_they_came_about(ask: Ask, house: Path, run: Path) -> None:
    answer = done(ask, "seal", f"weights={run / 'weights.bin'}", *SEAL, "output=r1.sealed")
    assert f"code {COMMIT}" in answer.out
    evidence = manifest(house / "r1.sealed").evidence
    assert evidence.said() == {
        "data": {"digits": "d" * 64},
        "code": COMMIT,
        "configuration": sha256(b"is: TrainRequest\n").hexdigest(),
        "recipe": "e" * 64,
        "summary": sha256((run / "summary.json").read_bytes()).hexdigest(),
        "run": "r-1",
    }
    told = done(ask, "seal", "weights=plain", *SEAL, "run=run", f"code={'a' * 40}", "tell_weights=true", "output=s")
    assert (manifest(house / "s").evidence.weights, "weights " in told.out) == (sha256(PLAIN).hexdigest(), True)
    assert manifest(house / "s").evidence.code == "a" * 40


def test_what_lies_beside_other_weights_is_not_said_of_them(ask: Ask, house: Path, run: Path, caplog: Any) -> None:
    (run / "weights.bin").write_bytes(b"marked since")
    with caplog.at_level("INFO"):
        done(ask, "seal", f"weights={run / 'weights.bin'}", *SEAL, "output=r1.sealed")
    assert "run: is not the run of these weights" in caplog.text
    assert manifest(house / "r1.sealed").evidence.said() == {}
    refused = ask("seal", "weights=run/weights.bin", *SEAL, "run=run", "output=r2.sealed")
    assert (refused.code, "is not the run of these weights" in refused.error) == (2, True)
    assert not (house / "r2.sealed").exists()


def test_verify_walks_the_rounds_and_prints_each(ask: Ask, rounds: Path) -> None:
    answer = done(ask, "verify", "sealed=r3.sealed", "trust=acme.pub")
    lines = [line for line in answer.out.splitlines() if line.startswith("round ")]
    assert [line.split("; ")[0].split(":")[0] for line in lines[-3:]] == [
        "round     epoch 1 (round 2026Q1)",
        "round     epoch 2 (round 2026Q2)",
        "round     epoch 3 (round 2026Q2)",
    ]
    assert f"code {COMMIT}" in lines[-3]
    assert "head and hash list of its file were compared" in lines[-3]
    assert manifest(rounds / "r3.sealed").parent_statement == manifest(rounds / "r2.sealed").digest
    assert "epoch 1" not in done(ask, "verify", "sealed=r3.sealed", "trust=acme.pub", "chain=false").out
    (rounds / "r1.sealed").unlink()
    assert "its file is not here" in done(ask, "verify", "sealed=r3.sealed", "trust=acme.pub").out


def test_what_a_manifest_says_still_holds_after_a_rotation(ask: Ask, house: Path, run: Path) -> None:
    done(ask, "seal", "weights=run/weights.bin", *SEAL, "output=r1.sealed", "tell_weights=true")
    done(ask, "seal", *ROTATE, "sealed=r1.sealed", "output=r2.sealed")
    said = manifest(house / "r1.sealed").evidence.said()
    assert manifest(house / "r2.sealed").evidence.said() == {name: said[name] for name in said.keys() - {"weights"}}
    done(ask, "seal", *ROTATE, "sealed=r1.sealed", "output=r3.sealed", "tell_weights=true", f"code={'a' * 40}")
    assert manifest(house / "r3.sealed").evidence.said() == said | {"code": "a" * 40}
    done(ask, "seal", *ROTATE, "sealed=r1.sealed", "output=r4.sealed", "run=run")
    (run / "summary.json").write_text((run / "summary.json").read_text().replace("weights_sha256", "other"))
    assert ask("seal", *ROTATE, "sealed=r1.sealed", "output=r5.sealed", "run=run").code == 2
    assert not (house / "r5.sealed").exists()


def broken(name: str) -> Callable[[Path], Any]:
    """What happens to the three rounds before they are verified."""

    def flip(file: str, at: int) -> Callable[[Path], None]:
        def change(folder: Path) -> None:
            data = bytearray((folder / file).read_bytes())
            data[at] ^= 1
            (folder / file).write_bytes(data)

        return change

    def swap(folder: Path) -> None:
        shutil.copy(folder / "r2.sealed.manifest.json", folder / "r3.sealed.manifest.json")

    changes: dict[str, Callable[[Path], Any]] = {
        "missing": lambda folder: (folder / "r1.sealed.manifest.json").unlink(),
        "altered": flip("r2.sealed.manifest.json", 300),
        "own altered": flip("r3.sealed.manifest.json", 300),
        "cut": lambda folder: (folder / "r3.sealed.manifest.json").write_bytes(b'{"payload":"'),
        "swapped": swap,
        "file of a round": flip("r1.sealed", -3400),
    }
    return changes[name]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing", "r2.sealed.manifest.json: resnet, epoch 2 (round 2026Q2): the round before it is missing"),
        ("altered", "r3.sealed.manifest.json: resnet, epoch 3 (round 2026Q2): the round before it "),
        ("own altered", "r3.sealed.manifest.json: "),
        ("cut", "r3.sealed.manifest.json: is cut off"),
        ("swapped", "r3.sealed: is not the file of its manifest"),
        ("file of a round", "r1.sealed: is not the file of its manifest"),
    ],
)
def test_a_broken_link_has_its_own_line_and_is_not_trusted(name: str, says: str, ask: Ask, rounds: Path) -> None:
    broken(name)(rounds)
    answer = ask("verify", "sealed=r3.sealed", "trust=acme.pub")
    assert (answer.code, answer.out) == (4, "")
    assert says in answer.error
    assert done(ask, "verify", "sealed=r3.sealed", "trust=acme.pub", "chain=false")


def test_rounds_may_lie_elsewhere_and_a_manifest_can_be_demanded(ask: Ask, rounds: Path) -> None:
    (rounds / "old").mkdir()
    for name in ("r1.sealed.manifest.json", "r2.sealed.manifest.json"):
        (rounds / name).rename(rounds / "old" / name)
    assert ask("verify", "sealed=r3.sealed", "trust=acme.pub").code == 4
    done(ask, "verify", "sealed=r3.sealed", "trust=acme.pub", "among=[old]")
    missing = ask("verify", "sealed=r2.sealed", "trust=acme.pub", "chain=true")
    assert (missing.code, missing.error) == (4, "r2.sealed.manifest.json: is not there")
    assert "how it came about is not known" in done(ask, "verify", "sealed=r2.sealed", "trust=acme.pub").out
    both = ask("verify", "sealed=r3.sealed", "trust=acme.pub", "chain=false", "among=[old]")
    assert (both.code, both.error) == (2, "chain=false and among contradict each other")


def test_a_round_by_a_stranger_breaks_the_chain(ask: Ask, rounds: Path) -> None:
    done(ask, "keygen", "action=signer", "output=heir", "protect=none")
    words = ("weights=plain", "to=[alice.pub]", "signer=heir.key", "parent=r3.sealed", "output=r4.sealed")
    refused = ask("seal", *words)
    assert (refused.code, "is not trusted" in refused.error) == (4, True)
    assert not (rounds / "r4.sealed").exists()
    done(ask, "seal", *words, "trust=acme.pub")
    assert ask("verify", "sealed=r4.sealed", "trust=heir.pub").code == 4
    done(ask, "keygen", "action=trust", "output=trust.json", "add=[acme.pub,heir.pub]")
    assert (
        done(ask, "verify", "sealed=r4.sealed", "trust=trust.json").out.count(
            "head and hash list of its file were compared"
        )
        == 4
    )


@in_the_house
def test_a_file_rotated_onto_itself_keeps_the_manifest_of_the_round_before(ask: Ask, house: Path) -> None:
    done(ask, "seal", "weights=plain", *SEAL, "output=r.sealed")
    for epoch in (2, 3):
        done(ask, "seal", *ROTATE, "sealed=r.sealed", "output=r.sealed", "overwrite=true")
        answer = done(ask, "verify", "sealed=r.sealed", "trust=acme.pub")
        assert answer.out.count("round     epoch") == epoch
    assert (house / "r.sealed.epoch-1.manifest.json").exists()
    assert (house / "r.sealed.epoch-2.manifest.json").exists()


@in_the_house
def test_a_round_that_is_replaced_without_a_manifest_is_warned_of(ask: Ask, caplog: Any) -> None:
    done(ask, "seal", *ROTATE, "sealed=f.sealed", "output=f.sealed", "overwrite=true")
    assert "f.sealed: replaces the round before, of which no manifest is kept: walks end here" in caplog.text
    assert "f.sealed.manifest.json: is not there" in caplog.text
    assert "not known" in done(ask, "verify", "sealed=f.sealed", "trust=acme.pub").out


def test_without_the_manifest_of_the_round_before_there_is_none_and_it_can_be_made_up_for(
    ask: Ask, house: Path, caplog: Any
) -> None:
    words = ("weights=plain", "to=[alice.pub]", "signer=acme.key", "parent=f.sealed", "output=g.sealed")
    refused = ask("seal", *words, "manifest=true")
    assert (refused.code, "f.sealed.manifest.json: is not there" in refused.error) == (2, True)
    assert not (house / "g.sealed").exists()
    done(ask, "seal", *words)
    assert "no walk gets past this round" in caplog.text
    assert not (house / "g.sealed.manifest.json").exists()
    first = ask("seal", "action=vouch", "sealed=g.sealed", "signer=acme.key")
    assert (first.code, "continues another file" in first.error) == (2, True)
    done(ask, "seal", "action=vouch", "sealed=f.sealed", "signer=acme.key", f"code={'a' * 40}")
    done(ask, "seal", "action=vouch", "sealed=g.sealed", "signer=acme.key", "parent=f.sealed")
    assert done(ask, "verify", "sealed=g.sealed", "trust=acme.pub", "chain=true").out.count("round     epoch") == 2
    again = ask("seal", "action=vouch", "sealed=g.sealed", "signer=acme.key", "parent=f.sealed")
    assert (again.code, again.error) == (2, "g.sealed.manifest.json: exists already")
    done(ask, "seal", "action=vouch", "sealed=g.sealed", "signer=acme.key", "parent=f.sealed", "overwrite=true")


@pytest.mark.usefixtures("run")
def test_somebody_else_can_vouch_for_a_file_whose_signer_is_trusted(ask: Ask, house: Path) -> None:
    done(ask, "keygen", "action=signer", "output=auditor", "protect=none")
    words = ("action=vouch", "sealed=f.sealed", "signer=auditor.key")
    assert ask("seal", *words).code == 4
    done(ask, "seal", *words, "trust=acme.pub", "run=run")
    assert manifest(house / "f.sealed", "auditor.pub").evidence.run == "r-1"
    damaged = bytearray((house / "f.sealed").read_bytes())
    damaged[20_000] ^= 1
    (house / "f.sealed").write_bytes(damaged)
    refused = ask("seal", *words, "trust=acme.pub", "overwrite=true")
    assert (refused.code, "the payload" in refused.error) == (4, True)


@in_the_house
@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("weights=plain", "to=[alice.pub]", "output=g", "run=run"), 2, "run is for a signed manifest"),
        (
            ("weights=plain", *SEAL, "output=g", "manifest=false", "tell_weights=true"),
            2,
            "tell_weights is for a signed",
        ),
        (("weights=plain", "to=[alice.pub]", "output=g", "manifest=true"), 2, "manifest is for a signed manifest"),
        (("weights=plain", *SEAL, "output=g", "code=main"), 2, "code must be a commit's id in hex"),
        (("weights=plain", *SEAL, "output=g", "run=nowhere"), 2, "nowhere/summary.json: is not there"),
        (("weights=plain", *SEAL, "output=taken"), 2, "taken.manifest.json: exists already"),
        (("weights=plain", "to=[alice.pub]", "output=taken"), 2, "taken.manifest.json: is there already"),
        (("action=vouch", "sealed=f.sealed"), 2, "signer=... is missing"),
        (("action=vouch", "signer=acme.key"), 2, "sealed=... is missing"),
        (("action=vouch", "sealed=f.sealed", "signer=acme.key", "manifest=false"), 2, "vouch writes a manifest"),
        (
            ("action=vouch", "sealed=f.sealed", "signer=acme.key", "parent=f.sealed"),
            2,
            "f.sealed.manifest.json: is not",
        ),
        (("action=vouch", "sealed=plain", "signer=acme.key"), 1, "plain: is not a sealed file"),
    ],
)
def test_misuse_is_told_before_anything_is_written(
    words: tuple[str, ...], code: int, says: str, ask: Ask, house: Path
) -> None:
    (house / "taken.manifest.json").write_text("{}")
    before = sorted(path.name for path in house.iterdir())
    answer = ask("seal", *words)
    assert (answer.code, answer.error[: len(says)]) == (code, says)
    assert sorted(path.name for path in house.iterdir()) == before


@in_the_house
def test_a_parent_of_another_model_or_a_later_epoch_is_refused_before_anything_is_written(
    ask: Ask, house: Path
) -> None:
    done(ask, "seal", "weights=plain", *SEAL, "output=r1.sealed", "epoch=5")
    words = ("weights=plain", "to=[alice.pub]", "signer=acme.key", "parent=r1.sealed", "output=r2.sealed")
    for more, says in (("model_id=other", "is of model other"), ("epoch=5", "epoch 5 does not come after")):
        refused = ask("seal", *words, more)
        assert (refused.code, says in refused.error) == (2, True)
    assert not (house / "r2.sealed").exists()
    assert inspect(house / "r1.sealed").head.core.facts.epoch == 5
