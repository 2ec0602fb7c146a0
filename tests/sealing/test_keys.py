"""Key files, passphrases, signatures: what is written, what is refused, and what a stranger's file cannot do."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from harden.errors import ConfigError
from harden.sealing import keyfiles, provider
from harden.sealing.errors import Damaged, UnsafeKeyFile, WrongPassphrase
from harden.sealing.keyfiles import RECIPIENT, SIGNER, read_public, read_secret, write_public, write_secret
from harden.sealing.passphrase import OVERHEAD, Cost, lock, unlock
from harden.sealing.provider import ENGINES, Provider
from harden.sealing.signing import SignerKey, failing, signer_of
from harden.sealing.suites import CNSA, HYBRID, ML_KEM_1024, X_WING, Suite

CHEAP = Cost(kib=64, iterations=1, lanes=1)
KINDS = [(kind, suite) for kind in (RECIPIENT, SIGNER) for suite in (HYBRID, CNSA)]
each_kind = pytest.mark.parametrize(("kind", "suite"), KINDS, ids=lambda one: getattr(one, "name", one))


@each_kind
@pytest.mark.parametrize("passphrase", [None, "correct horse"])
def test_keys_come_back_from_their_files(kind: str, suite: Suite, passphrase: str | None, tmp_path: Path) -> None:
    key = keyfiles.generate(kind, suite, provider())
    write_secret(tmp_path / "a.key", key, passphrase, CHEAP)
    write_public(tmp_path / "a.pub", key.public)
    assert read_secret(tmp_path / "a.key", kind, lambda _: str(passphrase), provider()) == key
    assert read_public(tmp_path / "a.pub", kind) == key.public
    assert stat.S_IMODE((tmp_path / "a.key").stat().st_mode) == 0o600
    assert key.seed.hex() not in repr(key)
    if passphrase:
        assert key.seed.hex() not in (tmp_path / "a.key").read_text()


@each_kind
def test_a_wrong_passphrase_opens_nothing(kind: str, suite: Suite, tmp_path: Path) -> None:
    write_secret(tmp_path / "a.key", keyfiles.generate(kind, suite, provider()), "right", CHEAP)
    with pytest.raises(WrongPassphrase, match="does not open it"):
        read_secret(tmp_path / "a.key", kind, lambda _: "wrong", provider())


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601, 0o620])
def test_a_key_file_that_others_can_read_is_refused(mode: int, tmp_path: Path, never: Any) -> None:
    path = tmp_path / "a.key"
    write_secret(path, keyfiles.generate(RECIPIENT, HYBRID, provider()), None)
    path.chmod(mode)
    with pytest.raises(UnsafeKeyFile, match=f"its mode is {mode:04o}, wanted 0600"):
        read_secret(path, RECIPIENT, never, provider())


def test_a_key_file_is_never_overwritten(tmp_path: Path) -> None:
    key = keyfiles.generate(RECIPIENT, HYBRID, provider())
    (tmp_path / "a").write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        write_secret(tmp_path / "a", key, None)
    with pytest.raises(ConfigError, match="exists already"):
        write_public(tmp_path / "a", key.public)
    assert (tmp_path / "a").read_text() == "mine"


def test_one_kind_of_key_does_not_stand_for_another(tmp_path: Path, never: Any) -> None:
    write_secret(tmp_path / "a.key", keyfiles.generate(SIGNER, HYBRID, provider()), None)
    with pytest.raises(ConfigError, match="is the key of a signer, wanted that of a recipient"):
        read_secret(tmp_path / "a.key", RECIPIENT, never, provider())
    with pytest.raises(ConfigError, match="wanted a public"):
        read_public(tmp_path / "a.key", SIGNER)


def _changed(path: Path, **fields: Any) -> None:
    raw = json.loads(path.read_text()) | fields
    text = json.dumps({name: one for name, one in raw.items() if one is not ...}, sort_keys=True, separators=(",", ":"))
    path.write_text(text)


@pytest.mark.parametrize(
    "fields",
    [
        {"suite": "toy"},
        {"suite": 1},
        {"suite": "cnsa"},
        {"public": "00"},
        {"public": 5},
        {"public": "0" * 2432},
        {"secret": "00" * 31},
        {"secret": "11" * 32},
        {"secret": "GG" * 32},
        {"protect": "rot13"},
        {"protect": "argon2id"},
        {"protect": 1},
        {"kind": "pet"},
        {"kind": 2},
        {"more": "x"},
        {"secret": ...},
    ],
)
def test_a_changed_key_file_is_damaged(fields: dict[str, Any], tmp_path: Path, never: Any) -> None:
    path = tmp_path / "a.key"
    write_secret(path, keyfiles.generate(RECIPIENT, HYBRID, provider()), None)
    _changed(path, **fields)
    with pytest.raises(Damaged):
        read_secret(path, RECIPIENT, never, provider())


@pytest.mark.parametrize("content", [b"", b"x", b"{}", b"\xff" * 100, b"[" * 70_000, b"x" * 70_000])
def test_a_file_that_is_no_key_is_told_so(content: bytes, tmp_path: Path, never: Any) -> None:
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "a").chmod(0o600)
    with pytest.raises((Damaged, ConfigError)):
        read_secret(tmp_path / "a", RECIPIENT, never, provider())
    with pytest.raises((Damaged, ConfigError)):
        read_public(tmp_path / "a", RECIPIENT)


def test_a_pipe_in_the_place_of_a_key_does_not_hold_us_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.pub")
    with pytest.raises(Damaged):
        read_public(tmp_path / "a.pub", RECIPIENT)


def test_a_secret_under_a_passphrase_is_bound_and_fresh() -> None:
    box = lock(b"secret", "pass", b"info", CHEAP)
    assert len(box) == 6 + OVERHEAD
    assert unlock(box, "pass", b"info", "f") == b"secret"
    assert unlock(box, "pass", b"other", "f") is None
    assert unlock(box, "Pass", b"info", "f") is None
    assert lock(b"secret", "pass", b"info", CHEAP) != box
    with pytest.raises(ConfigError, match="at least one character"):
        lock(b"secret", "", b"info", CHEAP)


@pytest.mark.parametrize(
    "cost",
    [
        Cost(2**20 + 1, 1, 1),
        Cost(64, 11, 1),
        Cost(64, 1, 17),
        Cost(0, 1, 1),
        Cost(64, 0, 1),
        Cost(64, 1, 0),
        Cost(31, 1, 4),
    ],
)
def test_a_strangers_file_cannot_ask_for_the_whole_memory(cost: Cost) -> None:
    box = lock(b"secret", "pass", b"", CHEAP)
    absurd = b"".join(one.to_bytes(4, "big") for one in (cost.kib, cost.iterations, cost.lanes)) + box[12:]
    with pytest.raises(Damaged, match="beyond bounds"):
        unlock(absurd, "pass", b"", "f")


def test_the_usual_cost_is_bearable() -> None:
    assert Cost().is_bearable
    assert (Cost().kib, Cost().iterations, Cost().lanes) == (256 * 1024, 3, 4)


@pytest.mark.parametrize("suite", [HYBRID, CNSA], ids=lambda suite: suite.name)
def test_both_halves_of_a_signature_must_verify(suite: Suite) -> None:
    by = provider()
    signer, other = (signer_of(suite, os.urandom(suite.signer_seed), by) for _ in range(2))
    signature = signer.sign(b"message")
    assert failing(signer.key, b"message", signature, by) == []
    names = [scheme.name for scheme in suite.schemes]
    assert failing(signer.key, b"massage", signature, by) == names
    assert failing(other.key, b"message", signature, by) == names
    assert failing(signer.key, b"message", signature, by, b"other context") == names[:1]
    at = 0
    for scheme in suite.schemes:
        mixed = bytearray(signature)
        mixed[at : at + scheme.signature] = other.sign(b"message")[at : at + scheme.signature]
        assert failing(signer.key, b"message", bytes(mixed), by) == [scheme.name]
        at += scheme.signature


def test_a_signers_id_is_that_of_its_keys() -> None:
    keys = [SignerKey(HYBRID, bytes(HYBRID.signer_public)), SignerKey(HYBRID, b"\1" * HYBRID.signer_public)]
    assert len({key.id for key in keys}) == 2
    assert all(len(bytes.fromhex(key.id)) == 32 for key in keys)


class Padding:
    """An engine as careless as liboqs: it takes whatever length comes, and gives back too little."""

    def public_of_kem(self, *_: Any) -> bytes:
        return b"short"

    def public_of_scheme(self, *_: Any) -> bytes:
        return b"short"

    def wrap(self, *_: Any) -> bytes:
        return b"short"

    def opener(self, *_: Any) -> Any:
        return lambda *_: bytes(32)

    def signing(self, *_: Any) -> Any:
        return lambda *_: b"short"

    def verifies(self, *_: Any) -> bool:
        return True


def test_no_wrong_length_gets_past_a_provider() -> None:
    by = Provider("careless", Padding())
    scheme = HYBRID.schemes[0]
    for call in (
        lambda: by.public_of_kem(X_WING, bytes(31)),
        lambda: by.public_of_kem(X_WING, bytes(32)),
        lambda: by.public_of_scheme(scheme, bytes(33)),
        lambda: by.public_of_scheme(scheme, bytes(32)),
        lambda: by.wrap(ML_KEM_1024, bytes(1567), bytes(32), b""),
        lambda: by.wrap(ML_KEM_1024, bytes(1568), bytes(31), b""),
        lambda: by.wrap(ML_KEM_1024, bytes(1568), bytes(32), b""),
        lambda: by.opener(X_WING, bytes(64)),
        lambda: by.signing(scheme, bytes(31)),
        lambda: by.signing(scheme, bytes(32))(b"message", b""),
    ):
        with pytest.raises(ValueError, match=r"has .* bytes, got"):
            call()
    opens = by.opener(X_WING, bytes(32))
    assert [opens(bytes(length), b"") for length in (0, 1167, 1168, 1169)] == [None, None, bytes(32), None]
    assert not by.verifies(scheme, bytes(1951), b"", bytes(3309), b"")
    assert not by.verifies(scheme, bytes(1952), b"", bytes(3308), b"")


def test_an_unknown_provider_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match=f"one of {', '.join(ENGINES)}, got nacl"):
        provider("nacl")


@pytest.mark.parametrize("kem", [X_WING, ML_KEM_1024], ids=lambda kem: kem.name)
def test_a_public_key_that_is_none_is_refused(kem: Any) -> None:
    by = provider()
    sound = by.public_of_kem(kem, bytes(kem.seed))
    assert by.wrap(kem, sound, bytes(32), b"") is not None
    assert by.wrap(kem, b"\xff" * len(sound), bytes(32), b"") is None  # coefficients above q
    if kem == X_WING:
        assert by.wrap(kem, sound[:1184] + bytes(32), bytes(32), b"") is None  # a point of low order
