"""keygen, seal, unseal and verify from the command line: what they do, every exit code, and no secret in sight."""

import os
import pty
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harden.sealing import inspect

CANARY = "canary-passphrase-5b1f"
PLAIN = bytes(range(256)) * 300

Ask = Callable[..., Any]

in_the_house = pytest.mark.usefixtures("house")


UNSEAL = ("sealed=f.sealed", "identity=alice.key", "trust=acme.pub", "output=out")


def test_the_way_of_the_readme(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(PLAIN)
    for name in ("alice", "bob"):
        assert ask("keygen", "action=recipient", f"output={name}", "protect=none").code == 0
    assert ask("keygen", "action=signer", "output=acme", "protect=none").code == 0
    words = ("weights=plain", "to=[alice.pub,bob.pub]", "signer=acme.key", "output=f.sealed")
    done = ask("seal", *words, "model_id=resnet", "round=2026Q3", "watermark=1f2e", "bom=3d4c")
    assert done.code == 0, done.err
    for name in ("alice", "bob"):
        done = ask("unseal", "sealed=f.sealed", f"identity={name}.key", "trust=acme.pub", f"output={name}.out")
        assert done.code == 0, done.err
        assert (tmp_path / f"{name}.out").read_bytes() == PLAIN
    done = ask("verify", "sealed=f.sealed", "trust=acme.pub")
    assert done.code == 0
    for line in ("resnet, epoch 1", "2026Q3", "1f2e", "3d4c", "2 recipients", "ML-DSA-65 and Ed25519"):
        assert line in done.out
    assert ask("verify", "sealed=f.sealed", "trust=acme.pub", "identity=bob.key").code == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        *("alice.key", "alice.pub", "bob.key", "bob.pub", "acme.key", "acme.pub"),
        *("plain", "f.sealed", "f.sealed.manifest.json", "alice.out", "bob.out"),
    }


@in_the_house
def test_rewrap_rotate_inspect_and_a_trust_store(ask: Ask) -> None:
    assert ask("keygen", "action=trust", "output=trust.json", "add=[acme.pub]").code == 0
    who = ("sealed=f.sealed", "identity=alice.key", "trust=trust.json")
    assert "1 can open it now" in ask("seal", "action=rewrap", *who, "to=[alice.pub]").out
    assert ask("unseal", "sealed=f.sealed", "identity=bob.key", "trust=trust.json", "output=o").code == 4
    assert "2 can open it now" in ask("seal", "action=rewrap", *who, "add=[bob.pub]").out
    assert ask("unseal", "sealed=f.sealed", "identity=bob.key", "trust=trust.json", "output=o").code == 0
    done = ask("seal", "action=rotate", *who, "to=[bob.pub]", "signer=acme.key", "output=g.sealed")
    assert "epoch 2" in done.out, done.err
    shown = ask("seal", "action=inspect", "sealed=g.sealed").out
    assert "epoch 2" in shown
    assert "parent" in shown
    assert ask("verify", "sealed=g.sealed", "trust=trust.json", "identity=bob.key").code == 0
    old = ask("verify", "sealed=f.sealed", "trust=trust.json")
    assert (old.code, "epoch 1, seen before: 2" in old.error) == (4, True)
    assert ask("verify", "sealed=f.sealed", "trust=trust.json", "allow_rollback=true").code == 0
    assert ask("keygen", "action=trust", "output=trust.json", "retire=[acme.pub]").out.startswith("retired")
    assert "is retired" in ask("verify", "sealed=g.sealed", "trust=trust.json").error


@in_the_house
def test_a_parent_gives_its_model_and_the_next_epoch(ask: Ask) -> None:
    words = ("weights=plain", "to=[alice.pub]", "signer=acme.key", "output=g.sealed", "parent=f.sealed")
    assert "resnet, epoch 2" in ask("seal", *words).out
    digest = re.search(r"digest +(\w+)", ask("seal", "action=inspect", "sealed=f.sealed").out)
    assert digest is not None
    assert digest[1] in ask("seal", "action=inspect", "sealed=g.sealed").out


@in_the_house
def test_a_rewrap_with_more_recipients_than_there_is_room_for_makes_a_copy(ask: Ask) -> None:
    five = ",".join(["bob.pub"] * 5)
    words = ("action=rewrap", "sealed=f.sealed", "identity=alice.key", "trust=acme.pub", f"add=[{five}]")
    full = ask("seal", *words)
    assert (full.code, "output=FILE" in full.err) == (2, True)
    assert ask("seal", *words, "output=copy.sealed").code == 0
    assert ask("verify", "sealed=copy.sealed", "trust=acme.pub").code == 0


def test_keys_under_a_passphrase_and_files_under_one(ask: Ask, house: Path, told: Any) -> None:
    assert ask("keygen", "action=recipient", "output=carol", told(CANARY)).code == 0
    assert ask("keygen", "action=signer", "output=corp", told(CANARY)).code == 0
    words = ("weights=plain", "to=[carol.pub]", "signer=corp.key", "output=g.sealed")
    assert ask("seal", *words, told(CANARY)).code == 0
    opening = ("sealed=g.sealed", "identity=carol.key", "trust=corp.pub")
    wrong = ask("unseal", *opening, "output=o", told("wrong"))
    assert (wrong.code, wrong.error) == (4, "carol.key: the passphrase does not open it")
    assert not (house / "o").exists()
    assert ask("unseal", *opening, "output=o", told(CANARY)).code == 0
    rotate = ("action=rotate", *opening, "signer=corp.key", "output=h.sealed", "passphrase=true")
    assert ask("seal", *rotate, told(CANARY, CANARY, "shared")).code == 0
    plain = ("sealed=h.sealed", "trust=corp.pub", "output=p")
    assert ask("unseal", *plain, told("shard")).code == 4
    assert ask("unseal", *plain, told("shared")).code == 0
    assert (house / "p").read_bytes() == PLAIN


@in_the_house
def test_a_suite_is_chosen_with_the_keys(ask: Ask) -> None:
    assert ask("keygen", "action=recipient", "output=dora", "protect=none", "suite=cnsa").code == 0
    assert ask("keygen", "action=signer", "output=firm", "protect=none", "suite=cnsa").code == 0
    mixed = ask("seal", "weights=plain", "to=[alice.pub,dora.pub]", "output=g.sealed")
    assert (mixed.code, "different suites" in mixed.error) == (2, True)
    assert ask("seal", "weights=plain", "to=[dora.pub]", "signer=firm.key", "output=g.sealed").code == 0
    assert "ML-DSA-87" in ask("verify", "sealed=g.sealed", "trust=firm.pub", "identity=dora.key").out


def spoiled(name: str) -> Callable[[Path], Any]:
    """What happens to a house before it is asked."""

    def flip(at: int) -> Callable[[Path], None]:
        def change(house: Path) -> None:
            data = bytearray((house / "f.sealed").read_bytes())
            data[at] ^= 1
            (house / "f.sealed").write_bytes(data)

        return change

    changes: dict[str, Callable[[Path], Any]] = {
        "magic": flip(0),
        "version": flip(9),
        "suite": flip(11),
        "preamble": flip(23),
        "core": flip(40),
        "slot": flip(700),
        "payload": flip(20_000),
        "list": flip(-3400),
        "ML-DSA": flip(-500),
        "Ed25519": flip(-5),
        "cut": lambda house: os.truncate(house / "f.sealed", 30_000),
        "gone": lambda house: (house / "f.sealed").unlink(),
        "folder": lambda house: (house / "f.sealed").rename(house / "g").with_name("f.sealed").mkdir(),
        "key mode": lambda house: (house / "alice.key").chmod(0o644),
        "key gone": lambda house: (house / "alice.key").unlink(),
        "key damaged": lambda house: (house / "alice.key").write_bytes(b"{}"),
        "output there": lambda house: (house / "out").write_text("mine"),
    }
    return changes[name]


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("magic", 1, "f.sealed: is not a sealed file"),
        ("version", 1, "f.sealed: version 0 is unknown"),
        ("suite", 1, "f.sealed: suite 0x0000 is unknown"),
        ("preamble", 4, "f.sealed: the preamble has impossible lengths"),
        ("core", 4, "f.sealed: the core"),
        ("slot", 4, "f.sealed: the tag of slot A is wrong"),
        ("payload", 4, "f.sealed: the payload: MiB 0 of it is not what the hash list says"),
        ("list", 4, "f.sealed: the signature is not one of this file: ML-DSA-65 and Ed25519 said no"),
        ("ML-DSA", 4, "f.sealed: the signature is not one of this file: ML-DSA-65 said no"),
        ("Ed25519", 4, "f.sealed: the signature is not one of this file: Ed25519 said no"),
        ("cut", 4, "f.sealed: is cut off: 30000 bytes, wanted"),
        ("gone", 1, "f.sealed: no such file or directory"),
        ("folder", 1, "f.sealed: is a directory"),
        ("key mode", 4, "alice.key: others can read this secret: its mode is 0644, wanted 0600"),
        ("key gone", 1, "alice.key: no such file or directory"),
        ("key damaged", 2, "alice.key: wanted a secret (.key) key file"),
        ("output there", 2, "out: exists already"),
    ],
)
def test_bad_input_has_its_own_line_and_code_and_leaves_no_output(
    name: str, code: int, says: str, ask: Ask, house: Path
) -> None:
    spoiled(name)(house)
    before = sorted(path.name for path in house.iterdir())
    done = ask("unseal", *UNSEAL)
    assert done.code == code
    assert done.error.startswith(says)
    assert done.out == ""
    assert sorted(path.name for path in house.iterdir()) == before


@pytest.mark.parametrize(
    ("verb", "words", "code", "says"),
    [
        ("keygen", (), 2, "keygen needs an action"),
        ("keygen", ("action=pet",), 2, "there is no action 'pet'; there are: recipient, signer, owner, trust"),
        ("keygen", ("action=recipient",), 2, "output=... is missing"),
        ("keygen", ("action=recipient", "output=alice", "protect=none"), 2, "alice.key: exists already"),
        ("keygen", ("action=recipient", "output=x", "protect=rot13"), 2, "protect must be one of passphrase, none"),
        ("keygen", ("action=recipient", "output=x", "passphrase=secret"), 2, "there is no key passphrase"),
        ("keygen", ("action=trust", "output=t", "add=[alice.pub]"), 2, "alice.pub: is the key of a recipient"),
        ("keygen", ("action=trust", "output=t"), 2, "there is nothing to change"),
        ("seal", ("weights=plain", "output=g"), 2, "to=[...] is missing"),
        ("seal", ("weights=plain", "to=[alice.pub]"), 2, "output=... is missing"),
        ("seal", ("weights=plain", "to=[alice.key]", "output=g"), 2, "alice.key: wanted a public (.pub) key file"),
        ("seal", ("weights=plain", "to=[acme.pub]", "output=g"), 2, "acme.pub: is the key of a signer"),
        ("seal", ("weights=plain", "to=[nobody.pub]", "output=g"), 1, "nobody.pub: no such file"),
        ("seal", ("weights=f.sealed", "to=[alice.pub]", "output=g"), 2, "f.sealed: is sealed already"),
        (
            "seal",
            ("action=export", "weights=f.sealed", "to=[alice.pub]", "output=g"),
            2,
            "f.sealed: is sealed already",
        ),
        ("seal", ("weights=none", "to=[alice.pub]", "output=g"), 1, "none: no such file"),
        ("seal", ("weights=plain", "to=[alice.pub]", "output=f.sealed"), 2, "f.sealed: exists already"),
        ("seal", ("weights=plain", "to=[alice.pub]", "output=g", "epoch=0"), 2, "epoch must be a whole number from 1"),
        (
            "seal",
            ("weights=plain", "to=[alice.pub]", "output=g", "sealing.provider=nacl"),
            2,
            "sealing.provider must be",
        ),
        ("seal", ("weights=plain", "to=[alice.pub]", "passphrase=true", "output=g"), 2, "a passphrase stands alone"),
        ("seal", ("action=rewrap", "sealed=f.sealed", "identity=alice.key"), 2, "trust=FILE is missing"),
        ("unseal", ("sealed=f.sealed", "identity=alice.key", "output=o"), 2, "trust=FILE is missing"),
        ("unseal", (*UNSEAL, "allow_unsigned=true"), 2, "trust and allow_unsigned contradict"),
        ("unseal", ("sealed=f.sealed", "trust=acme.pub", "output=o"), 4, "f.sealed: the key does not open it"),
        ("unseal", (*UNSEAL, "passphrase=x"), 2, "there is no key passphrase"),
        ("unseal", (UNSEAL[0], "identity=alice.pub", *UNSEAL[2:]), 2, "alice.pub: wanted a secret (.key) key file"),
        ("unseal", (UNSEAL[0], "identity=acme.key", *UNSEAL[2:]), 2, "acme.key: is the key of a signer"),
        ("unseal", (*UNSEAL, "passphrase_fd=x"), 2, "passphrase_fd must be a whole number"),
        ("verify", ("sealed=f.sealed",), 2, "trust=... is missing"),
        ("verify", ("sealed=f.sealed", "trust=alice.pub"), 2, "alice.pub: is the key of a recipient"),
        ("verify", ("sealed=f.sealed", "trust=plain"), 4, "plain: is neither a public key nor a trust store"),
        ("verify", ("sealed=plain", "trust=acme.pub"), 1, "plain: is not a sealed file"),
    ],
)
def test_misuse_is_told_in_one_line(
    verb: str, words: tuple[str, ...], code: int, says: str, ask: Ask, house: Path
) -> None:
    before = sorted(path.name for path in house.iterdir())
    done = ask(verb, *words)
    assert (done.code, done.error[: len(says)]) == (code, says)
    assert sorted(path.name for path in house.iterdir()) == before


@in_the_house
def test_an_unsigned_file_opens_only_when_nobody_asks_where_it_comes_from(ask: Ask, caplog: Any) -> None:
    assert ask("seal", "weights=plain", "to=[alice.pub]", "output=g.sealed").code == 0
    assert "no signer: whoever can open the file could have made it" in caplog.text
    words = ("sealed=g.sealed", "identity=alice.key", "output=o")
    refused = ask("unseal", *words, "trust=acme.pub")
    assert (refused.code, refused.error) == (4, "g.sealed: is not signed")
    assert ask("verify", "sealed=g.sealed", "trust=acme.pub").code == 4
    opened = ask("unseal", *words, "allow_unsigned=true")
    assert (opened.code, "of unknown origin" in opened.out) == (0, True)


def test_verify_says_3_where_a_rewrap_was_cut_short_and_a_rewrap_heals_it(ask: Ask, house: Path) -> None:
    with (house / "f.sealed").open("r+b") as file:
        file.seek(inspect(house / "f.sealed").head.layout.slots + 10)
        file.write(b"\xff")
    done = ask("verify", "sealed=f.sealed", "trust=acme.pub")
    assert (done.code, "a rewrap was cut short" in done.out) == (3, True)
    assert ask("unseal", *UNSEAL).code == 0
    assert ask("seal", "action=rewrap", "sealed=f.sealed", "identity=bob.key", "trust=acme.pub").code == 0
    assert ask("verify", "sealed=f.sealed", "trust=acme.pub").code == 0


def test_without_a_terminal_a_passphrase_is_not_waited_for(
    ask: Ask, house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        done = ask("keygen", "action=recipient", "output=x")
    assert (done.code, "there is no terminal to ask on" in done.error) == (2, True)
    assert not (house / "x.key").exists()


@in_the_house
@pytest.mark.parametrize("lines", [(), ("",), ("x" * 5000,)])
def test_a_descriptor_without_a_passphrase_is_told(lines: tuple[str, ...], ask: Ask, told: Any) -> None:
    done = ask("keygen", "action=recipient", "output=x", told(*lines))
    assert (done.code, "holds no passphrase" in done.error) == (2, True)
    assert ask("keygen", "action=recipient", "output=x", "passphrase_fd=999").code == 2


def test_files_have_the_modes_that_they_should(ask: Ask, house: Path) -> None:
    ask("unseal", *UNSEAL)
    ask("keygen", "action=trust", "output=trust.json", "add=[acme.pub]")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in house.iterdir()}
    assert {modes[name] for name in ("alice.key", "acme.key", "out", "trust.json")} == {0o600}


SLOW_HELP = [
    pytest.param(words, marks=pytest.mark.slow) for words in (("unseal",), ("verify",), ("seal", "action=rewrap"))
]


@pytest.mark.parametrize("words", [("keygen",), ("seal",), *SLOW_HELP])
def test_help_names_every_key(words: tuple[str, ...], ask: Ask) -> None:
    done = ask(*words, "--help")
    assert done.code == 0
    assert "usage: python -m harden." in done.out
    if words != ("keygen",):
        assert "sealed: null" in done.out or "weights: null" in done.out


@pytest.mark.slow
def test_no_secret_shows_on_the_command_line_in_the_environment_or_in_what_is_printed(tmp_path: Path) -> None:
    """A real process, asked on a terminal, with the usual cost of Argon2id; and nothing lies about afterwards."""
    ours, theirs = pty.openpty()
    line = [sys.executable, "-m", "harden.keygen", "action=recipient", "output=x"]
    with subprocess.Popen(
        line, cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        shown = b""
        for _ in range(2):
            while b"passphrase for" not in shown[-80:]:
                shown += os.read(ours, 4096)
            os.write(ours, f"{CANARY}\n".encode())
            shown += b"\n" * 80
        assert process.wait(timeout=120) == 0
    os.close(ours)
    assert CANARY.encode() not in shown
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.key", "x.pub"]
    assert not [path for path in tmp_path.iterdir() if CANARY.encode() in path.read_bytes()]
    assert b'"protect":"argon2id"' in (tmp_path / "x.key").read_bytes()


def test_a_file_that_calls_itself_safetensors_must_be_one(ask: Ask, house: Path) -> None:
    (house / "w.safetensors").write_bytes(PLAIN)
    done = ask("seal", "weights=w.safetensors", "to=[alice.pub]", "output=g.sealed")
    assert (done.code, done.error.startswith("w.safetensors: is not a safetensors file")) == (4, True)
    assert not (house / "g.sealed").exists()


@pytest.mark.slow
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_of_the_results_that_has_gone_gets_no_traceback_and_no_yes(house: Path, unbuffered: str) -> None:
    read, write = os.pipe()
    os.close(read)
    line = [sys.executable, "-m", "harden.verify", "sealed=f.sealed", "trust=acme.pub"]
    variables = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(line, cwd=house, stdout=write, stderr=subprocess.PIPE, text=True, check=False, env=variables)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")
