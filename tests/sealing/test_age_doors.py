"""export and import from the command line: what goes over, what is lost, and what makes an age file believable."""

import base64
import io
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from harden.sealing import provider
from harden.sealing.age import HybridIdentity, encrypt, export_age, import_age
from harden.sealing.age.header import Stanza
from harden.sealing.keyfiles import RECIPIENT, generate, write_public, write_secret
from harden.sealing.suites import CNSA

DANA = HybridIdentity(bytes(range(32)))
PUBLIC, SECRET = str(DANA.recipient()), DANA.spelled()
PLAIN = bytes(range(256)) * 300

Ask = Callable[..., Any]


@pytest.fixture
def abroad(house: Path) -> Path:
    """The house, with dana's keys as age spells them, and `f.age` for her."""
    (house / "dana.txt").write_text(f"# public key: {PUBLIC[:20]}...\n{SECRET}\n")
    (house / "dana.txt").chmod(0o600)
    (house / "people.txt").write_text(f"# dana\n{PUBLIC}\n\n")
    export_age(house / "plain", house / "f.age", [DANA.recipient()])
    return house


def content(path: Path, who: HybridIdentity = DANA) -> bytes:
    """What the age file at `path` holds, by the room's own function."""
    out = path.with_suffix(".read")
    import_age(path, out, [who], check=lambda _: None)
    return out.read_bytes()


@pytest.mark.parametrize("to", [PUBLIC, "people.txt"])
@pytest.mark.parametrize("source", [("weights=plain",), ("sealed=f.sealed", "identity=alice.key", "trust=acme.pub")])
def test_a_plain_or_sealed_file_goes_out_and_the_door_says_what_is_lost(
    ask: Ask, abroad: Path, source: tuple[str, ...], to: str
) -> None:
    done = ask("seal", "action=export", *source, f"to=[{to}]", "output=g.age")
    assert done.code == 0, done.err
    assert "exported  g.age: 76800 bytes, for 1" in done.out
    assert "no signature, no bound facts, no epoch" in done.out
    assert content(abroad / "g.age") == PLAIN
    assert {path.name for path in abroad.iterdir() if "part" in path.name} == set()


def test_keys_of_harden_serve_for_age_files_too(ask: Ask, house: Path) -> None:
    assert ask("seal", "action=export", "weights=plain", "to=[alice.pub,bob.pub]", "output=g.age").code == 0
    words = ("action=import", "age=g.age", "output=back", "allow_unsigned=true")
    assert ask("seal", *words, "identity=acme.key").code == 2
    assert ask("seal", *words, "identity=bob.key").code == 0
    assert (house / "back").read_bytes() == PLAIN


IMPORT = ("action=import", "age=f.age", "identity=dana.txt", "output=back")


def test_an_import_that_nothing_vouches_for_is_not_trusted(ask: Ask, abroad: Path) -> None:
    done = ask("seal", *IMPORT)
    assert (done.code, done.out) == (4, "")
    assert done.error == "f.age: nobody signs an age file, so nothing says who made it"
    assert "allow_unsigned=true" in done.err
    assert not (abroad / "back").exists()
    done = ask("seal", *IMPORT, "allow_unsigned=true")
    assert (done.code, "of unknown origin" in done.out) == (0, True)
    assert (abroad / "back").read_bytes() == PLAIN
    assert stat.S_IMODE((abroad / "back").stat().st_mode) == 0o600


def sealing(ask: Ask, *words: str) -> None:
    done = ask("seal", "weights=plain", "to=[alice.pub]", "signer=acme.key", "output=g.sealed", *words)
    assert done.code == 0, done.err


VOUCHED = (*IMPORT, "manifest=g.sealed.manifest.json", "trust=acme.pub")


def test_a_signed_manifest_with_the_digest_vouches_for_an_import(ask: Ask, abroad: Path) -> None:
    sealing(ask, "tell_weights=true", "model_id=resnet", "round=2026Q3")
    done = ask("seal", *VOUCHED)
    assert done.code == 0, done.err
    assert "vouches for: model resnet, epoch 1 (round 2026Q3)" in done.out
    assert (abroad / "back").read_bytes() == PLAIN


def test_a_manifest_of_other_weights_of_none_or_of_a_stranger_vouches_for_nothing(ask: Ask, abroad: Path) -> None:
    sealing(ask)
    assert "does not tell the digest" in ask("seal", *VOUCHED).error
    (abroad / "plain").write_bytes(b"others")
    sealing(ask, "tell_weights=true", "overwrite=true")
    done = ask("seal", *VOUCHED)
    assert (done.code, "is not what g.sealed.manifest.json" in done.error) == (4, True)
    assert ask("keygen", "action=signer", "output=mallory", "protect=none").code == 0
    stranger = ask("seal", *VOUCHED[:-1], "trust=mallory.pub")
    assert (stranger.code, "is not trusted" in stranger.error) == (4, True)
    assert not (abroad / "back").exists()


@pytest.mark.usefixtures("abroad")
def test_an_import_counts_as_seeing_its_epoch(ask: Ask) -> None:
    assert ask("keygen", "action=trust", "output=trust.json", "add=[acme.pub]").code == 0
    sealing(ask, "model_id=resnet")
    words = ("weights=plain", "to=[alice.pub]", "signer=acme.key", "output=h.sealed", "parent=g.sealed")
    assert ask("seal", *words, "tell_weights=true").code == 0
    by = (*IMPORT, "manifest=h.sealed.manifest.json", "trust=trust.json")
    assert ask("seal", *by).code == 0
    old = ask("verify", "sealed=g.sealed", "trust=trust.json")
    assert (old.code, "epoch 1, seen before: 2" in old.error) == (4, True)
    sealing(ask, "model_id=resnet", "tell_weights=true", "overwrite=true")
    back = ask("seal", *VOUCHED[:-1], "trust=trust.json", "output=again")
    assert (back.code, "epoch 1, seen before: 2" in back.error) == (4, True)
    assert ask("seal", *VOUCHED[:-1], "trust=trust.json", "output=again", "allow_rollback=true").code == 0


class Typist:
    """What `age -p` writes, with little work: RFC 7914, c2sp.org/age."""

    def wrap(self, file_key: bytes) -> Stanza:
        salt = bytes(range(16))
        key = Scrypt(salt=b"age-encryption.org/v1/scrypt" + salt, length=32, n=1 << 4, r=8, p=1).derive(b"open sesame")
        body = ChaCha20Poly1305(key).encrypt(bytes(12), file_key, None)
        return Stanza((b"scrypt", base64.b64encode(salt).rstrip(b"="), b"4"), body)


def locked(plain: bytes, path: Path) -> None:
    """An age file under a passphrase."""
    target = io.BytesIO()
    encrypt(io.BytesIO(plain), target, [Typist()])  # type: ignore[list-item]
    path.write_bytes(target.getvalue())
    path.chmod(0o600)


def test_a_passphrase_opens_an_age_file(ask: Ask, abroad: Path, told: Any) -> None:
    locked(PLAIN, abroad / "p.age")
    words = ("action=import", "age=p.age", "output=back", "allow_unsigned=true")
    wrong = ask("seal", *words, told("open sesam"))
    assert (wrong.code, wrong.error) == (4, "p.age: the passphrase does not fit")
    assert not (abroad / "back").exists()
    done = ask("seal", *words, told("open sesame"))
    assert (done.code, "open sesame" in done.out + done.err) == (0, False)
    assert (abroad / "back").read_bytes() == PLAIN


def test_an_identity_file_under_a_passphrase_opens_in_memory(ask: Ask, abroad: Path, told: Any) -> None:
    locked((abroad / "dana.txt").read_bytes(), abroad / "dana.age")
    words = (*IMPORT[:2], "identity=dana.age", "output=back", "allow_unsigned=true")
    wrong = ask("seal", *words, told("no"))
    assert (wrong.code, wrong.error) == (4, "dana.age: the passphrase does not fit")
    assert ask("seal", *words, told("open sesame")).code == 0
    assert (abroad / "back").read_bytes() == PLAIN


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ((*IMPORT[:2], "identity=dana.txt"), 2, "output=... is missing"),
        (("action=import", "identity=dana.txt", "output=b"), 2, "age=... is missing"),
        ((*IMPORT, "trust=acme.pub"), 2, "manifest and trust belong together"),
        ((*VOUCHED, "allow_unsigned=true"), 2, "allow_unsigned and a manifest contradict"),
        (("action=import", "age=plain", *IMPORT[2:], "allow_unsigned=true"), 1, "plain: not an age file"),
        (("action=import", "age=none", *IMPORT[2:], "allow_unsigned=true"), 1, "none: "),
        ((*IMPORT[:2], "identity=alice.key", "output=b", "allow_unsigned=true"), 4, "f.age: no key fits"),
        ((*IMPORT[:2], "identity=acme.key", "output=b", "allow_unsigned=true"), 2, "acme.key: is the key of a signer"),
        ((*IMPORT[:2], "identity=people.txt", "output=b", "allow_unsigned=true"), 4, "people.txt: others can read"),
        ((*IMPORT[:2], "identity=none", "output=b", "allow_unsigned=true"), 1, "none: no such file"),
        ((*IMPORT[:3], "output=plain", "allow_unsigned=true"), 2, "plain: exists already"),
        (("action=export", "to=[people.txt]", "output=b"), 2, "export takes a plain file or a sealed one"),
        (("action=export", "weights=plain", "output=b"), 2, "to=[...] is missing"),
        (("action=export", "weights=plain", "to=[people.txt]"), 2, "output=... is missing"),
        (("action=export", "weights=plain", "identity=alice.key", "to=[people.txt]", "output=b"), 2, "identity and"),
        (("action=export", "sealed=f.sealed", "to=[people.txt]", "output=b"), 2, "trust=FILE is missing"),
        (("action=export", "weights=plain", "to=[plain]", "output=b"), 2, "plain: "),
        (("action=export", "weights=plain", "to=[dana.txt]", "output=b"), 2, "dana.txt: a secret key was given"),
        (("action=export", "weights=plain", "to=[acme.pub]", "output=b"), 2, "acme.pub: is the key of a signer"),
        (("action=export", "weights=plain", "to=[age1abc]", "output=b"), 2, "'age1abc' is a classical recipient"),
        (("action=export", "weights=none", "to=[people.txt]", "output=b"), 1, "none: "),
        (("action=export", "weights=plain", "to=[people.txt]", "output=f.age"), 2, "f.age: exists already"),
        (
            (
                "action=export",
                "sealed=f.sealed",
                "identity=alice.key",
                "trust=alice.pub",
                "to=[people.txt]",
                "output=b",
            ),
            2,
            "alice.pub: is the key of a recipient",
        ),
    ],
)
def test_misuse_is_told_in_one_line(words: tuple[str, ...], code: int, says: str, ask: Ask, abroad: Path) -> None:
    before = sorted(path.name for path in abroad.iterdir())
    done = ask("seal", *words)
    assert (done.code, done.error[: len(says)]) == (code, says)
    assert sorted(path.name for path in abroad.iterdir()) == before


def test_a_damaged_age_file_leaves_nothing(ask: Ask, abroad: Path) -> None:
    whole = (abroad / "f.age").read_bytes()
    for at in (5, 40, len(whole) - 5):
        (abroad / "f.age").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert ask("seal", *IMPORT, "allow_unsigned=true").code in (1, 4)
    (abroad / "f.age").write_bytes(whole[:-20])
    cut = ask("seal", *IMPORT, "allow_unsigned=true")
    assert (cut.code, cut.error.startswith("f.age: ")) == (4, True)
    assert not (abroad / "back").exists()


def test_a_key_of_the_other_suite_is_none_of_ages(ask: Ask, abroad: Path) -> None:
    key = generate(RECIPIENT, CNSA, provider())
    write_public(abroad / "dora.pub", key.public)
    write_secret(abroad / "dora.key", key, None)
    says = "is a key of suite cnsa, age knows hybrid alone"
    assert says in ask("seal", "action=export", "weights=plain", "to=[dora.pub]", "output=b").error
    assert says in ask("seal", *IMPORT[:2], "identity=dora.key", "output=b", "allow_unsigned=true").error


@pytest.mark.parametrize("verb", ["unseal", "verify", "seal", "train", "evaluate"])
def test_a_secret_key_on_the_command_line_is_refused_and_not_repeated(verb: str, ask: Ask, abroad: Path) -> None:
    words = {
        "unseal": ("sealed=f.sealed", "trust=acme.pub", "output=b"),
        "verify": ("sealed=f.sealed", "trust=acme.pub"),
        "seal": ("action=import", "age=f.age", "output=b", "allow_unsigned=true"),
        "train": ("init=f.sealed", "trust=acme.pub", "output=run"),
        "evaluate": ("weights=f.sealed", "trust=acme.pub"),
    }[verb]
    done = ask(verb, *words, f"identity={SECRET}")
    assert (done.code, done.error) == (2, "identity names files, got a secret key itself")
    assert SECRET not in done.out + done.err
    for word in (f"to=[{SECRET.lower()}]", f"signer={SECRET}", SECRET):
        to = ask("seal", "weights=plain", "output=b", word)
        assert (to.code, SECRET in (to.out + to.err).upper()) == (2, False)
    assert not (abroad / "run").exists()
