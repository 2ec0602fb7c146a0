"""What is refused rarely: locks that others hold, generations that ran out, libraries that lack an algorithm."""

import fcntl
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import mlkem

from harden.errors import ConfigError, MissingExtra
from harden.sealing import Change, PassphraseRecipient, heads, pyca, rewrap, slots, trust, unseal_bytes
from harden.sealing.errors import Damaged, Unreadable, WrongKey, WrongPassphrase
from harden.sealing.heads import opened, read_head
from harden.sealing.passphrase import Cost, unlock
from harden.sealing.signing import failing
from harden.sealing.suites import CNSA
from harden.sealing.trust import with_signers
from harden.sealing.writing import from_memory, write_payload

CHEAP = Cost(kib=64, iterations=1, lanes=1)


@pytest.fixture
def file(cast: Any, tmp_path: Path) -> Path:
    """A sealed file for alice and bob."""
    cast.seal(b"plain", tmp_path / "f")
    return tmp_path / "f"


def test_a_file_that_somebody_is_rewrapping_is_waited_for_and_then_given_up(
    cast: Any, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "PATIENCE", 0.1)
    with opened(file) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        for action in (
            lambda: unseal_bytes(file, cast.identities["alice"], trust=cast.trust),
            lambda: rewrap(file, cast.identities["alice"], Change(), trust=cast.trust),
        ):
            with pytest.raises(Unreadable, match="another process is changing it"):
                action()
    unseal_bytes(file, cast.identities["alice"], trust=cast.trust)


def test_readers_wait_for_a_rewrap_to_end(cast: Any, file: Path) -> None:
    """A process that holds the lock for a moment costs a reader no more than that moment."""
    hold = "f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); time.sleep(0.3)"
    code = f"import fcntl, sys, time; {hold}"
    with subprocess.Popen([sys.executable, "-c", code, str(file)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert bytes(unseal_bytes(file, cast.identities["alice"], trust=cast.trust)[0]) == b"plain"


def test_a_trust_store_that_somebody_holds_is_given_up(
    cast: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = cast.signers["acme"].key
    with_signers(tmp_path / "trust.json", add={key.id: key}, retire={})
    monkeypatch.setattr(trust, "PATIENCE", 0.1)
    with (tmp_path / "trust.json").open() as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(Unreadable, match="holds its lock"):
            with_signers(tmp_path / "trust.json", add={key.id: key}, retire={})


def test_recipients_who_do_not_fit_a_file_are_refused_and_nothing_is_written(
    cast: Any, each_cast: Any, file: Path
) -> None:
    before = file.read_bytes()
    alice = cast.identities["alice"]
    with pytest.raises(ConfigError, match="exclude each other"):
        Change(to=[cast.recipients["bob"]], add=[cast.recipients["carol"]])
    with pytest.raises(ConfigError, match="a passphrase beside none"):
        rewrap(file, alice, Change(add=[PassphraseRecipient("x", CHEAP)]), trust=cast.trust)
    with pytest.raises(ConfigError, match="at most 128"):
        rewrap(file, alice, Change(add=[cast.recipients["carol"]] * 127), trust=cast.trust)
    with pytest.raises(WrongKey):
        rewrap(file, cast.identities["carol"], Change(), trust=cast.trust)
    if each_cast.suite == CNSA:
        with pytest.raises(ConfigError, match="the new recipients of another"):
            rewrap(file, alice, Change(to=[each_cast.recipients["bob"]]), trust=cast.trust)
    assert file.read_bytes() == before


def test_a_file_can_be_handed_over_to_a_passphrase(cast: Any, file: Path) -> None:
    rewrap(file, cast.identities["alice"], Change(to=[PassphraseRecipient("x", CHEAP)]), trust=cast.trust)
    with pytest.raises(WrongPassphrase, match="is sealed with a passphrase"):
        cast.open(file.read_bytes())


def test_generations_end_before_they_could_overflow(cast: Any, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harden.sealing import rewrap as function

    module = sys.modules[function.__module__]
    monkeypatch.setattr(module, "LAST", 1)
    with pytest.raises(ConfigError, match="generations are used up"):
        rewrap(file, cast.identities["alice"], Change(), trust=cast.trust)


def test_two_damaged_slots_open_for_nobody_ever_again(cast: Any, file: Path) -> None:
    with opened(file) as handle:
        layout = read_head(handle, "f").layout
    data = bytearray(file.read_bytes())
    for at in (layout.slots, layout.slots + layout.slot_len):
        data[at] = 0xFF
    file.write_bytes(data)
    with pytest.raises(Damaged, match="nobody can open the file any more"):
        rewrap(file, cast.identities["alice"], Change(), trust=cast.trust)


def test_a_library_without_an_algorithm_is_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(_seed: bytes) -> None:
        raise UnsupportedAlgorithm("ML-KEM-768 is not supported")

    key = type("Lacking", (), {"from_seed_bytes": staticmethod(lacking)})
    monkeypatch.setattr(mlkem, "MLKEM768PrivateKey", key)
    with pytest.raises(MissingExtra, match="ML-KEM-768 is not supported"):
        pyca.engine.__wrapped__()


def test_programmers_mistakes_are_told_as_such(cast: Any) -> None:
    signer = cast.signers["acme"]
    with pytest.raises(ValueError, match="a signature of suite hybrid has 3373 bytes, got 5"):
        failing(signer.key, b"", b"short", cast.provider)
    handle = os.memfd_create("payload")
    with pytest.raises(ValueError, match="the source gave 3 bytes, wanted 4"):
        write_payload(handle, from_memory(memoryview(b"abc")), 4, bytes(32), b"", "sha256")
    os.close(handle)
    with pytest.raises(Damaged, match="too short"):
        unlock(b"x", "pass", b"", "f")
    assert slots.fits(1, 1168, cast.suite)
    assert replace(cast.suite, digest="sha384").digest_size == 48
