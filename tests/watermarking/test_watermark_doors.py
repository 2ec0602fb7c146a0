"""keygen action=owner and watermark from the command line: what they write, every exit code, no secret in sight."""

import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

import harden.keygen
import harden.watermark
from harden.data import Digits, load
from harden.models import Card, CnnSmall, arguments_of, build, name_of, save
from harden.models.container import decode, encode
from harden.owners import Book
from harden.sealing import passphrase, provider, seal_file
from harden.sealing.core import Facts
from harden.sealing.keyfiles import OWNER, RECIPIENT, generate, recipient_of, write_public, write_secret
from harden.sealing.passphrase import Cost
from harden.sealing.suites import HYBRID
from harden.seeds import stream
from harden.spelling import spell

# what mlflow's own imports warn of is not ours to mend
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

DOORS = {"keygen": harden.keygen, "watermark": harden.watermark}
CANARY = "canary-passphrase-77aa"
QUIET = "tracking.uri=none"


class Answer(NamedTuple):
    """A door's exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of the error."""
        (line,) = [line for line in self.err.splitlines() if line.startswith("harden: error: ")]
        return line.removeprefix("harden: error: ")


Ask = Callable[..., Answer]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Ask:
    """Runs a verb over the words of a command line in an empty folder. This process may be dumped still."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(passphrase, "COST", Cost(64, 1, 1))
    return lambda verb, *words: _answer(verb, words, monkeypatch, capfd)


def _answer(
    verb: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Answer:
    GlobalHydra.instance().clear()
    capfd.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(DOORS[verb], "forbid_dumps", lambda: None)
        patch.setattr("harden.unlocking.forbid_dumps", lambda: None)
        patch.setattr(sys, "argv", [f"harden.{verb}", *words])
        with pytest.raises(SystemExit) as stop:
            DOORS[verb].main()
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    return Answer(int(stop.value.code or 0), out, err)


@pytest.fixture
def told() -> Iterator[Callable[..., str]]:
    """A descriptor from which passphrases can be read, a line each."""
    opened = []

    def tell(*lines: str) -> str:
        read, write = os.pipe()
        os.write(write, "".join(f"{line}\n" for line in lines).encode())
        os.close(write)
        opened.append(read)
        return f"passphrase_fd={read}"

    yield tell
    for handle in opened:
        os.close(handle)


def network(path: Path, seed: int = 0) -> None:
    """Weights of the default network for digits as harden writes them, untrained."""
    data = load(Digits())
    choice = CnnSmall()
    model = build(choice, shape=data.shape, classes=10, mean=data.mean, std=data.std, rng=stream(seed, "init"))
    card = Card(
        model=name_of(choice),
        arguments=arguments_of(choice),
        shape=data.shape,
        classes=data.classes,
        data={key: value for key, value in spell(Digits()).items() if key != "root"},
        data_name=data.name,
        data_digest=data.digest,
        threat={"norm": "linf", "eps": "0.1", "low": 0.0, "high": 1.0},
    )
    save(path, model, card)


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A folder with an owner's keys and a network's weights, where one stands."""
    for name in ("acme", "other"):
        key = generate(OWNER, HYBRID, provider())
        write_secret(tmp_path / f"{name}.key", key, None)
        write_public(tmp_path / f"{name}.pub", key.public)
    network(tmp_path / "w.safetensors")
    return tmp_path


EMBED = ("action=embed", "weights=w.safetensors", "owner=acme.key", "output=marked", "score.images=0", QUIET)
LOOK = ("action=verify", "owner=acme.key", "claim=marked/claim.json", QUIET)
MARKED = "weights=marked/weights.safetensors"


@pytest.fixture
def marked(house: Path, ask: Ask) -> Path:
    """The same, with marked weights beside."""
    done = ask("watermark", *EMBED)
    assert done.code == 0, done.err
    return house / "marked"


in_a_marked_house = pytest.mark.usefixtures("marked")


def test_an_owners_key_is_under_a_passphrase_and_nobody_elses_to_read(ask: Ask, tmp_path: Path, told: Any) -> None:
    done = ask("keygen", "action=owner", "output=acme", told(CANARY))
    assert done.code == 0
    assert stat.S_IMODE((tmp_path / "acme.key").stat().st_mode) == 0o600
    plain = json.loads((tmp_path / "acme.key").read_text())
    assert (plain["kind"], plain["protect"], plain["suite"]) == ("owner", "argon2id", "hybrid")
    assert json.loads((tmp_path / "acme.pub").read_text())["public"] == plain["public"]
    assert CANARY not in done.out + done.err
    assert ask("keygen", "action=owner", "output=acme", told(CANARY)).code == 2
    assert ask("keygen", "action=owner", "output=b", "suite=cnsa", "protect=none").code == 2


def test_a_folder_of_marked_weights_holds_these_files_and_no_word_of_the_mark_in_the_weights(marked: Path) -> None:
    assert {path.name for path in marked.iterdir()} == {
        *("weights.safetensors", "claim.json", "receipt.json", "weights.sidecar", "book.json"),
    }
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in marked.iterdir()}
    assert modes["book.json"] == modes["weights.sidecar"] == 0o600
    _, before = decode(marked.parent / "w.safetensors")
    tensors, after = decode(marked / "weights.safetensors")
    assert before == after
    receipt = json.loads((marked / "receipt.json").read_text())["receipt"]
    assert float(receipt["margin"]) >= 3
    assert {name: float(value) < -38.5 for name, value in receipt["log10_p"].items()} == dict.fromkeys(
        ("float32", "float16", "bfloat16"), True
    )
    assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())


@in_a_marked_house
def test_the_mark_is_found_and_not_in_the_weights_before(ask: Ask) -> None:
    found = ask("watermark", *LOOK, MARKED)
    assert found.code == 0
    assert "the mark is there (level court)" in found.out
    assert "0 of 16 bits wrong" in found.out
    assert "priority is not shown" in found.out
    none = ask("watermark", *LOOK, "weights=w.safetensors")
    assert (none.code, "the mark was not found" in none.out) == (3, True)
    assert ask("watermark", *LOOK, MARKED, "level=court").code == 0


def test_the_sidecar_makes_the_evidence_stronger_and_no_other_one_is_taken(marked: Path, ask: Ask) -> None:
    done = ask("watermark", *LOOK, MARKED, "sidecar=marked/weights.sidecar", "output=evidence")
    assert done.code == 0
    told = json.loads((marked.parent / "evidence" / "verification.json").read_text())
    by = {one["mode"]: one for one in told["readings"]}
    assert by["residual"]["z"] > 5 * by["blind"]["z"] > 50
    assert told["log10_p"] < -1000
    assert (marked.parent / "evidence" / "evidence.svg").read_text().lstrip().startswith("<?xml")
    refused = ask("watermark", *LOOK, MARKED, "sidecar=marked/weights.safetensors")
    assert (refused.code, "not the sidecar of this claim" in refused.error) == (4, True)


def test_a_leaf_is_enough_for_a_third_party_and_is_left_out_from_then_on(marked: Path, ask: Ask) -> None:
    shown = ask("watermark", "action=disclose", "claim=marked/claim.json", "owner=acme.key", "output=leaf.json")
    assert (shown.code, "number 0 of 2" in shown.out) == (0, True)
    (marked.parent / "acme.key").rename(marked.parent / "away.key")
    for owner in ((), ("owner=acme.pub",)):
        done = ask("watermark", "action=verify", MARKED, "leaf=leaf.json", *owner, QUIET)
        assert done.code == 0
        assert "of 8 bits wrong" in done.out
    assert ask("watermark", "action=verify", MARKED, "leaf=leaf.json", "owner=other.pub", QUIET).code == 4
    (marked.parent / "away.key").rename(marked.parent / "acme.key")
    again = ask("watermark", *LOOK, MARKED)
    assert "leaves 0 were shown and left out" in again.out
    assert "of 8 bits wrong" in again.out
    assert (
        ask("watermark", "action=disclose", "claim=marked/claim.json", "owner=acme.key", "output=leaf.json").code == 2
    )


def test_a_leak_is_traced_to_its_recipient(marked: Path, ask: Ask) -> None:
    for name in ("bob", "carol"):
        words = (MARKED, "owner=acme.key", f"output=copies/{name}", f"recipient={name}", "parent=marked/claim.json")
        assert ask("watermark", "action=embed", *words, "score.images=0", QUIET).code == 0
    look = ("action=trace", "claims=copies", f"base={MARKED.removeprefix('weights=')}", "owner=acme.key", QUIET)
    named = ask("watermark", *look, "weights=copies/carol/weights.safetensors")
    assert named.code == 0
    assert [line.split(":")[0].split()[-1] for line in named.out.splitlines() if line.startswith("named ")] == ["carol"]
    assert ask("watermark", *look, MARKED).code == 3
    assert ask("watermark", *LOOK, "weights=copies/bob/weights.safetensors").code == 0
    assert "carol" not in (marked.parent / "copies" / "carol" / "claim.json").read_text()


@in_a_marked_house
def test_a_mark_can_lie_on_that_of_the_round_before(ask: Ask) -> None:
    words = ("action=embed", MARKED, "owner=acme.key", "output=next", "score.images=0", QUIET)
    twice = ask("watermark", *words)
    assert (twice.code, "already marked" in twice.error) == (2, True)
    assert ask("watermark", *words, "parent=marked/claim.json").code == 0
    for claim in ("marked/claim.json", "next/claim.json"):
        look = ("action=verify", "owner=acme.key", f"claim={claim}", QUIET)
        assert ask("watermark", *look, "weights=next/weights.safetensors").code == 0


def test_accuracy_is_measured_before_and_after_and_the_loss_is_gated(
    house: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*EMBED[:-2], QUIET, "score.images=60", "score.steps=1")
    done = ask("watermark", *words)
    assert done.code == 0
    assert "points on 60 images, McNemar p" in done.out
    receipt = json.loads((house / "marked" / "receipt.json").read_text())["receipt"]["accuracy"]
    assert receipt["images"] == "60"
    monkeypatch.setattr("harden.weighing.Scale.change", lambda *_: {"clean": Lost()})
    refused = ask("watermark", *words[:3], "output=lost", *words[4:])
    assert (refused.code, "would cost 5.0 points of clean accuracy" in refused.error) == (3, True)
    assert not (house / "lost").exists()


class Lost:
    """A loss that no chance explains."""

    difference, p, n = 0.05, 1e-6, 1000


def test_sealed_weights_are_marked_and_looked_at_too(house: Path, ask: Ask) -> None:
    key = generate(RECIPIENT, HYBRID, provider())
    write_secret(house / "alice.key", key, None)
    write_public(house / "alice.pub", key.public)
    to = [recipient_of(house / "alice.pub", provider())]
    seal_file(house / "w.safetensors", house / "w.sealed", to=to, signer=None, facts=Facts("digits"))
    opens = ("identity=alice.key", "allow_unsigned=true")
    done = ask("watermark", "action=embed", "weights=w.sealed", *EMBED[2:], *opens)
    assert done.code == 0, done.err
    assert stat.S_IMODE((house / "marked" / "weights.safetensors").stat().st_mode) == 0o600
    assert ask("watermark", *LOOK, "weights=w.sealed", *opens).code == 3
    assert ask("watermark", *LOOK, "weights=w.sealed").code == 2


def test_other_names_need_a_map(marked: Path, ask: Ask) -> None:
    tensors, _ = decode(marked / "weights.safetensors")
    other = {name.replace("net.", "features."): tensor for name, tensor in tensors.items()}
    (marked.parent / "other.safetensors").write_bytes(encode(other, {}))
    (marked.parent / "names").write_text(
        "# theirs = ours\nfeatures.2.weight = net.2.weight\nfeatures.5.weight=net.5.weight\n"
    )
    lost = ask("watermark", *LOOK, "weights=other.safetensors")
    assert (lost.code, "it wants net.2.weight" in lost.error) == (1, True), lost.err
    assert ask("watermark", *LOOK, "weights=other.safetensors", "map=names").code == 0
    (marked.parent / "names").write_text("features.2.weight\n")
    assert ask("watermark", *LOOK, "weights=other.safetensors", "map=names").code == 2


BAD: dict[str, tuple[tuple[str, ...], int, str]] = {
    "another owner": (("owner=other.key",), 4, "the key that of"),
    "no key": (("owner=acme.pub",), 2, "wanted a secret (.key) key file"),
    "a recipient without the owner's mark": (("recipient=bob",), 2, "parent=... is missing"),
    "bits": (("bits=20",), 2, "power of two"),
    "an unknown profile": (("profile=loud",), 2, "profile"),
    "too many leaves": (("leaves=32",), 2, "leaves must be a power of two"),
    "an output that is there": (("output=w.safetensors",), 2, "exists already"),
    "too few weights": (("skip=[net.5.weight]", "level=court"), 1, "alpha"),
    "no eligible layer": (("skip=[net.2.weight,net.5.weight]",), 1, "no layer to be marked"),
    "no such file": (("weights=none.safetensors",), 1, "there is no such file"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests_get_one_line_and_no_file(case: str, house: Path, ask: Ask) -> None:
    words, code, told = BAD[case]
    if case == "another owner":
        assert ask("watermark", *EMBED).code == 0
        refused = ask("watermark", *LOOK[:1], *words, *LOOK[2:], MARKED)
    else:
        keys = {word.split("=")[0] for word in words}
        refused = ask("watermark", *(word for word in EMBED if word.split("=")[0] not in keys), *words)
        assert not (house / "marked").exists()
    assert (refused.code, told in refused.error) == (code, True), refused.err


def test_bad_weights_are_refused(house: Path, ask: Ask) -> None:
    tensors, metadata = decode(house / "w.safetensors")
    tensors["net.2.weight"][0, 0, 0, 0] = torch.nan
    (house / "w.safetensors").write_bytes(encode(tensors, metadata))
    refused = ask("watermark", *EMBED)
    assert (refused.code, "not finite" in refused.error) == (1, True)
    (house / "w.safetensors").write_bytes(b"\x80\x04pickle")
    assert ask("watermark", *EMBED).code == 4
    assert sorted(path.name for path in house.iterdir()) == [
        "acme.key",
        "acme.pub",
        "other.key",
        "other.pub",
        "w.safetensors",
    ]


@pytest.mark.parametrize("name", ["body", "signature", "half", "public", "unsigned"])
def test_a_claim_that_was_changed_is_not_trusted(marked: Path, ask: Ask, name: str) -> None:
    plain = json.loads((marked / "claim.json").read_text())
    if name == "body":
        plain["body"]["round"] = "2020Q1"
    elif name == "signature":
        plain["signature"] = "00" + plain["signature"][2:]
    elif name == "half":
        plain["signature"] = plain["signature"][: 2 * 3309]
    elif name == "public":
        plain["public"] = json.loads((marked.parent / "other.pub").read_text())["public"]
    else:
        plain["signature"] = ""
    (marked / "claim.json").write_text(json.dumps(plain, sort_keys=True, separators=(",", ":")) + "\n")
    refused = ask("watermark", *LOOK, MARKED)
    assert (refused.code, "marked/claim.json" in refused.error) == (4, True)


def test_a_wrong_passphrase_opens_nothing(house: Path, ask: Ask, told: Any) -> None:
    assert ask("keygen", "action=owner", "output=mine", told(CANARY)).code == 0
    words = [word for word in EMBED if not word.startswith("owner=")]
    assert ask("watermark", *words, "owner=mine.key", told("wrong")).code == 4
    assert not (house / "marked").exists()
    done = ask("watermark", *words, "owner=mine.key", told(CANARY))
    assert done.code == 0
    assert CANARY not in done.out + done.err


def test_the_record_has_claim_verdict_and_picture_and_no_secret(marked: Path, ask: Ask) -> None:
    look = [word for word in LOOK if word != QUIET]
    done = ask("watermark", *look, MARKED, f"tracking.uri=sqlite:///{marked.parent / 'runs.db'}")
    assert done.code == 0, done.err
    kept = {path.name for path in marked.parent.rglob("artifacts/*")}
    assert {"claim.json", "verification.json", "evidence.svg"} <= kept
    secret = json.loads((marked.parent / "acme.key").read_text())["secret"]
    for path in marked.parent.rglob("*"):
        if path.is_file() and path.name != "acme.key":
            assert secret[128:].encode() not in path.read_bytes()
    assert secret[128:] not in done.out + done.err


def test_a_book_of_another_claim_is_not_believed(marked: Path, ask: Ask) -> None:
    Book("00" * 32, shown=(0, 1)).write(marked / "book.json")
    assert "left out" not in ask("watermark", *LOOK, MARKED).out


def test_watermark_needs_an_action(ask: Ask) -> None:
    assert ask("watermark").code == 2
    assert ask("watermark", "action=remove").code == 2
