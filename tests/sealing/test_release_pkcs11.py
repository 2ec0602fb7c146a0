"""Shares under a key in a PKCS#11 token: SoftHSM2, a fresh token a module."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harden.errors import ConfigError, MissingExtra
from harden.sealing import keyfiles, provider, seal_bytes, unseal_bytes
from harden.sealing.core import Facts
from harden.sealing.errors import Refused, Unreadable, WrongKey
from harden.sealing.release import split
from harden.sealing.release.pkcs11 import BLOB, TokenWrapper, make_key
from harden.sealing.release.places import Place, place_of
from harden.sealing.suites import HYBRID

LIBRARIES = ("lib/softhsm", "lib/x86_64-linux-gnu/softhsm", "lib/aarch64-linux-gnu/softhsm", "lib64/pkcs11", "lib64")
MODULE = next((p for part in LIBRARIES if (p := Path("/usr", part, "libsofthsm2.so")).is_file()), None)
TOOL = shutil.which("softhsm2-util")
missing = [
    name
    for name, there in {
        "libsofthsm2.so": MODULE,
        "softhsm2-util": TOOL,
        "python-pkcs11": importlib.util.find_spec("pkcs11"),
    }.items()
    if not there
]
needs_token = pytest.mark.skipif(
    bool(missing), reason=f"no token to try (Debian has SoftHSM2 as softhsm2): not installed: {', '.join(missing)}"
)
PIN, H = "493817", bytes(range(64))


class Asked:
    """Somebody with a PIN, who counts."""

    def __init__(self, pin: str = PIN) -> None:
        self.pin, self.questions = pin, list[str]()

    def __call__(self, what: str) -> str:
        self.questions.append(what)
        return self.pin


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A token called `harden` with a key called `weights`."""
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    settings = folder / "softhsm2.conf"
    settings.write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(settings))
        for label in ("harden", "other"):
            words = ["--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "77665544"]
            subprocess.run([str(TOOL), *words], check=True, capture_output=True, timeout=60)
        place = Place(MODULE or Path(), "harden", "weights")
        make_key(place, Asked())
        yield place


@needs_token
def test_the_token_wraps_and_unwraps_and_is_asked_for_its_pin_once(token: Place) -> None:
    ask = Asked()
    with TokenWrapper(token, ask) as wrapper:
        assert ask.questions == []
        for share in (os.urandom(32), os.urandom(32)):
            blob = wrapper.wrap(share, H)
            assert len(blob) == BLOB
            assert share not in blob
            assert wrapper.unwrap(blob, H) == share
    assert ask.questions == ["token harden, its PIN"]


@needs_token
def test_another_h_a_flipped_bit_and_a_cut_are_not_opened(token: Place) -> None:
    with TokenWrapper(token, Asked()) as wrapper:
        blob = wrapper.wrap(bytes(32), H)
        assert wrapper.unwrap(blob, bytes(64)) is None
        for at in range(BLOB):
            assert wrapper.unwrap(blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :], H) is None
        for length in (0, 1, BLOB - 1):
            assert wrapper.unwrap(blob[:length], H) is None
        assert wrapper.unwrap(blob, H) == bytes(32)


@needs_token
def test_the_blob_is_plain_aes_gcm_so_that_no_library_owns_it(token: Place) -> None:
    """A second implementation opens it: the same key, once in the token, once in `cryptography`."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from pkcs11 import Attribute, KeyType, ObjectClass

    with TokenWrapper(token, Asked()) as wrapper:
        wrapper.wrap(bytes(32), H)
        what: dict[Any, Any] = {
            Attribute.CLASS: ObjectClass.SECRET_KEY,
            Attribute.KEY_TYPE: KeyType.AES,
            Attribute.VALUE: bytes(range(32)),
            Attribute.TOKEN: False,
            Attribute.ENCRYPT: True,
            Attribute.DECRYPT: True,
        }
        wrapper._key = wrapper._session.create_object(what)
        blob = wrapper.wrap(b"s" * 32, H)
    assert AESGCM(bytes(range(32))).decrypt(blob[:12], blob[12:], H) == b"s" * 32


@needs_token
def test_a_wrong_pin_is_tried_once_and_refused(token: Place) -> None:
    ask = Asked("000000")
    with TokenWrapper(token, ask) as wrapper:
        with pytest.raises(Refused, match="token harden said no: PinIncorrect") as said:
            wrapper.wrap(bytes(32), H)
        with pytest.raises(Refused, match="PinIncorrect"):  # an entry further on, say: the token would lock
            wrapper.unwrap(bytes(BLOB), H)
    assert len(ask.questions) == 1
    assert "000000" not in f"{said.value.message} {said.value.hint}"


@needs_token
@pytest.mark.parametrize(("change", "says"), [({"token": "lost"}, "NoSuchToken"), ({"key": "lost"}, "NoSuchKey")])
def test_a_token_or_key_that_is_not_there_is_named(token: Place, change: dict[str, str], says: str) -> None:
    place = Place(**({"module": token.module, "token": token.token, "key": token.key} | change))  # type: ignore[arg-type]
    ask = Asked()
    with TokenWrapper(place, ask) as wrapper, pytest.raises(Refused, match=says):
        wrapper.unwrap(bytes(BLOB), H)
    assert len(ask.questions) == ("key" in change)


@needs_token
def test_a_key_that_can_be_read_out_is_refused(token: Place) -> None:
    import pkcs11

    session = pkcs11.lib(str(token.module)).get_token(token_label="harden").open(rw=True, user_pin=PIN)
    loose = {pkcs11.Attribute.SENSITIVE: False, pkcs11.Attribute.EXTRACTABLE: True}
    with session:
        session.generate_key(pkcs11.KeyType.AES, 256, label="loose", store=True, template=loose)
        session.generate_key(pkcs11.KeyType.AES, 128, label="small", store=True)
    for label, says in (("loose", "can be read out"), ("small", "16 bytes, wanted AES-256")):
        place = Place(token.module, token.token, label)
        with TokenWrapper(place, Asked()) as wrapper, pytest.raises(Refused, match=says):
            wrapper.wrap(bytes(32), H)


@needs_token
def test_a_key_is_never_made_over_another(token: Place) -> None:
    with pytest.raises(ConfigError, match="has a weights already"):
        make_key(token, Asked())


@needs_token
def test_two_tokens_do_not_open_each_others_shares(token: Place) -> None:
    other = Place(token.module, "other", "weights")
    make_key(other, Asked())
    with TokenWrapper(token, Asked()) as one, TokenWrapper(other, Asked()) as another:
        assert another.unwrap(one.wrap(bytes(32), H), H) is None


@needs_token
def test_a_closed_token_is_asked_for_its_pin_again(token: Place) -> None:
    ask = Asked()
    wrapper = TokenWrapper(token, ask)
    blob = wrapper.wrap(bytes(32), H)
    wrapper.close()
    wrapper.close()
    assert wrapper.unwrap(blob, H) == bytes(32)
    wrapper.close()
    assert len(ask.questions) == 2


@needs_token
def test_a_file_sealed_for_key_file_and_token_opens_only_with_both(token: Place, tmp_path: Path) -> None:
    by = provider()
    key = keyfiles.generate(keyfiles.RECIPIENT, HYBRID, by)
    keyfiles.write_public(tmp_path / "a.pub", key.public)
    keyfiles.write_secret(tmp_path / "a.key", key, None)
    sealed, plain = tmp_path / "w.sealed", os.urandom(100_000)
    with TokenWrapper(token, Asked()) as wrapper:
        seal_bytes(plain, sealed, to=[split.recipient_of(tmp_path / "a.pub", wrapper, by)], facts=Facts("m", 1, "", {}))
    with TokenWrapper(token, Asked()) as wrapper:
        identity = split.identity_of(tmp_path / "a.key", wrapper, Asked(), by)
        assert bytes(unseal_bytes(sealed, identity, trust=None)[0]) == plain
    with pytest.raises(WrongKey):
        unseal_bytes(sealed, keyfiles.identity_of(tmp_path / "a.key", Asked(), by), trust=None)


def test_a_token_is_named_by_a_uri() -> None:
    found = place_of("pkcs11:token=my%20token;object=k?module-path=/usr/lib/softhsm/libsofthsm2.so")
    assert found == Place(Path("/usr/lib/softhsm/libsofthsm2.so"), "my token", "k")


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("pkcs11:token=t;object=k?module-path=/m&pin-value=1234", "must not hold pin-value"),
        ("pkcs11:token=t;object=k?module-path=/m&pin-source=/pin", "must not hold pin-source"),
        ("pkcs11:token=t;object=k", "got token, object"),
        ("pkcs11:token=;object=k?module-path=/m", "named by its token, object and module-path"),
        ("pkcs11:token=t;object=k;serial=1?module-path=/m", "got token, object, serial, module-path"),
        ("pkcs11:token=t;token=u;object=k?module-path=/m", "twice"),
        ("token=t;object=k?module-path=/m", "none of them"),
        ("", "none of them"),
    ],
)
def test_a_uri_that_names_no_token_or_holds_a_pin_is_refused(uri: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as said:
        place_of(uri)
    assert "1234" not in f"{said.value.message} {said.value.hint}"


@needs_token
def test_a_library_that_is_none_is_refused_before_the_pin(tmp_path: Path) -> None:
    (tmp_path / "no.so").write_bytes(b"not ELF")
    ask = Asked()
    with pytest.raises(Refused, match="said no: PKCS11Error"):
        TokenWrapper(Place(tmp_path / "no.so", "t", "k"), ask).wrap(bytes(32), H)
    with pytest.raises(Unreadable, match="no such library"):
        TokenWrapper(Place(tmp_path / "gone.so", "t", "k"), ask).wrap(bytes(32), H)
    assert ask.questions == []


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    monkeypatch.setitem(sys.modules, "pkcs11.mechanisms", None)
    with pytest.raises(MissingExtra, match="needs python-pkcs11") as said:
        TokenWrapper(Place(Path("/m"), "t", "k"), Asked()).wrap(bytes(32), H)
    assert "harden[pkcs11]" in said.value.hint


def uri(place: Place, key: str = "") -> str:
    """What names the key on a command line."""
    return f"token=pkcs11:token={place.token};object={key or place.key}?module-path={place.module}"


SEALED = ("sealed=g.sealed", "identity=alice.key", "trust=acme.pub")


@needs_token
@pytest.mark.usefixtures("house")
def test_at_the_door_a_key_is_made_in_the_token(ask: Any, token: Place, told: Any) -> None:
    done = ask("keygen", "action=token", uri(token, "fresh"), told(PIN))
    assert (done.code, "made      fresh in token harden" in done.out) == (0, True)
    again = ask("keygen", "action=token", uri(token, "fresh"), told(PIN))
    assert (again.code, again.error) == (2, "token harden has a fresh already")
    wrong = ask("keygen", "action=token", uri(token, "other"), told("000000"))
    assert (wrong.code, wrong.error) == (1, "token harden said no: PinIncorrect")
    assert "000000" not in wrong.err
    assert PIN not in done.out + done.err


@needs_token
def test_at_the_door_a_file_opens_with_key_file_and_token_and_with_neither_alone(
    ask: Any, house: Path, token: Place, told: Any
) -> None:
    plain = (house / "plain").read_bytes()
    words = ("weights=plain", "to=[alice.pub,bob.pub]", "signer=acme.key", "output=g.sealed")
    assert ask("seal", *words, uri(token), told(PIN)).code == 0
    assert ask("unseal", *SEALED, uri(token), told(PIN), "output=out").code == 0
    assert (house / "out").read_bytes() == plain
    alone = ask("unseal", *SEALED, "output=o")
    assert (alone.code, "g.sealed: the key does not open it" in alone.error) == (4, True)
    wrong = ask("unseal", *SEALED, uri(token), told("000000"), "output=o")
    assert (wrong.code, wrong.error, "000000" in wrong.err) == (1, "token harden said no: PinIncorrect", False)
    assert ask("unseal", *SEALED, uri(token, "lost"), told(PIN), "output=o").code == 1
    assert not (house / "o").exists()
    assert ask("verify", *SEALED, uri(token), told(PIN)).code == 0
    assert ask("seal", "action=rewrap", *SEALED, uri(token), told(PIN), "to=[bob.pub]").code == 0
    other = ("sealed=g.sealed", "identity=bob.key", "trust=acme.pub", uri(token), told(PIN))
    rotate = ("action=rotate", "to=[alice.pub]", "signer=acme.key", "output=h.sealed", "key_alone=true")
    assert ask("seal", *rotate, *other).code == 0
    assert ask("unseal", "sealed=h.sealed", *SEALED[1:], "output=p").code == 0
    assert (house / "p").read_bytes() == plain


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("token=pkcs11:token=T;object=K?module-path=/x&pin-value=canary",), "a token's URI must not hold pin-value"),
        (("token=pkcs11:token=T",), "a token is named by its token, object and module-path"),
        (("token=T", "kbs=https://k", "resource=a/b/c"), "token and kbs exclude each other"),
        (("token=pkcs11:token=T;object=K?module-path=/x", "identity=null"), "token and kbs stand beside a key file"),
    ],
)
@pytest.mark.parametrize("verb", ["unseal", "train", "evaluate"])
def test_a_token_that_is_named_badly_is_refused_before_anything_else(
    verb: str, words: tuple[str, ...], says: str, ask: Any, house: Path
) -> None:
    usual = {
        "unseal": ("sealed=f.sealed", "output=o"),
        "train": ("init=f.sealed", "output=run"),
        "evaluate": ("weights=f.sealed",),
    }[verb]
    identity = () if "identity=null" in words else ("identity=alice.key",)
    done = ask(verb, *usual, "trust=acme.pub", *identity, *words)
    assert (done.code, done.error[: len(says)]) == (2, says)
    assert "canary" not in done.out + done.err
    assert not (house / "run").exists()


@needs_token
@pytest.mark.slow
def test_a_real_process_asks_for_the_pin_and_shows_it_nowhere(house: Path, token: Place) -> None:
    read, write = os.pipe()
    os.write(write, f"{PIN}\n".encode())
    os.close(write)
    line = [sys.executable, "-m", "harden.seal", "weights=plain", "to=[alice.pub]", "signer=acme.key"]
    words = ["output=g.sealed", uri(token), f"passphrase_fd={read}"]
    done = subprocess.run([*line, *words], cwd=house, pass_fds=[read], capture_output=True, text=True, check=False)
    os.close(read)
    assert done.returncode == 0, done.stderr
    assert PIN not in done.stdout + done.stderr
    assert not [path for path in house.iterdir() if PIN.encode() in path.read_bytes()]
