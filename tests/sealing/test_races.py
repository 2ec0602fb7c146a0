"""Between check and use: files that are replaced, locks that are not there, reports of what was checked."""

import errno
import fcntl
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from harden.sealing import Change, inspect, opening, rewrap, unseal_bytes, verify
from harden.sealing.errors import Damaged, Unreadable, UnsafeKeyFile
from harden.sealing.memory import secret_key
from harden.sealing.trust import TrustStore, read_store, with_signers

REWRAP: Any = sys.modules[rewrap.__module__]


@pytest.fixture
def store(cast: Any, tmp_path: Path) -> TrustStore:
    """A trust store that trusts acme."""
    key = cast.signers["acme"].key
    with_signers(tmp_path / "trust.json", add={key.id: key}, retire={})
    return TrustStore(tmp_path / "trust.json")


def without_locks(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, locks fail with this error."""

    def failing(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", failing)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_there_are_no_locks_files_can_be_read_and_copied_but_not_changed(
    number: int, cast: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cast.seal(b"content", tmp_path / "f")
    without_locks(number, monkeypatch)
    change = Change(to=[cast.recipients["alice"], cast.recipients["carol"]])
    assert bytes(unseal_bytes(tmp_path / "f", cast.identities["alice"], trust=cast.trust)[0]) == b"content"
    with pytest.raises(Unreadable, match="its file system has no locks"):
        rewrap(tmp_path / "f", cast.identities["alice"], change, trust=cast.trust)
    assert (tmp_path / "f").read_bytes() == before
    rewrap(tmp_path / "f", cast.identities["alice"], change, trust=cast.trust, output=tmp_path / "copy")
    assert bytes(unseal_bytes(tmp_path / "copy", cast.identities["carol"], trust=cast.trust)[0]) == b"content"


def test_a_lock_that_fails_otherwise_is_told(
    cast: Any, tmp_path: Path, store: TrustStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    cast.seal(b"content", tmp_path / "f")
    without_locks(errno.EIO, monkeypatch)
    with pytest.raises(Unreadable, match="f: input/output error"):
        unseal_bytes(tmp_path / "f", cast.identities["alice"], trust=cast.trust)
    with pytest.raises(Unreadable, match=r"trust\.json: input/output error"):
        with_signers(store.path, add={}, retire={})


def test_a_rewrap_of_a_file_that_was_replaced_meanwhile_is_no_success(
    cast: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else somebody who was taken off would still open the file that lies there now."""
    other = cast.seal(b"content", tmp_path / "other")
    cast.seal(b"content", tmp_path / "f")
    real = REWRAP._replace

    def replaced(*words: Any) -> None:
        os.replace(tmp_path / "other", tmp_path / "f")
        real(*words)

    monkeypatch.setattr(REWRAP, "_replace", replaced)
    with pytest.raises(Unreadable, match="was replaced by another file meanwhile"):
        rewrap(tmp_path / "f", cast.identities["alice"], Change(to=[cast.recipients["alice"]]), trust=cast.trust)
    assert (tmp_path / "f").read_bytes() == other


def test_verify_tells_of_the_reading_that_it_checked(
    cast: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is another one after its head was read; a second reading would be told, or checked, but not both."""
    cast.seal(b"content", tmp_path / "f")

    def twice(*_: Any) -> None:
        raise AssertionError("the head was read again")

    for name in ("read_head", "read_marked", "read_slots"):
        monkeypatch.setattr(opening, name, twice)
    assert verify(tmp_path / "f", cast.trust, identity=cast.identities["alice"]).settled


def test_verify_remembers_an_epoch_when_every_byte_has_passed(cast: Any, tmp_path: Path, store: TrustStore) -> None:
    data = bytearray(cast.seal(bytes(3 * 2**20), tmp_path / "f"))
    data[-2_000_000] ^= 1
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(Damaged):
        verify(tmp_path / "f", store, identity=cast.identities["alice"])
    assert read_store(store.path).seen == {}
    data[-2_000_000] ^= 1
    (tmp_path / "f").write_bytes(data)
    verify(tmp_path / "f", store)
    assert read_store(store.path).seen == {}, "without a key nobody knows that the file opens"
    verify(tmp_path / "f", store, identity=cast.identities["alice"])
    assert [seen.epoch for models in read_store(store.path).seen.values() for seen in models.values()] == [1]


def test_a_trust_store_of_another_user_is_refused(store: TrustStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner could change it at any time; root's is as good as one's own."""
    read_store(store.path)
    if os.geteuid() == 0:
        os.chown(store.path, 4321, -1)
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    with pytest.raises(UnsafeKeyFile, match=r"user \d+ can change whom you trust"):
        read_store(store.path)


def test_a_file_key_that_does_not_fit_is_overwritten(
    cast: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that an entry gave and whose tag is wrong, and one of a payload that is another's."""
    made: list[memoryview] = []

    def kept(key: bytes) -> memoryview:
        made.append(secret_key(key))
        return made[-1]

    monkeypatch.setattr(opening, "secret_key", kept)
    data = bytearray(cast.seal(b"content", tmp_path / "f", signer=None))
    payload = inspect(tmp_path / "f").head.layout.payload
    for at in (payload - 1, payload + 30):  # the tag of slot B, the commitment
        (tmp_path / "f").write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        for act in (
            lambda: unseal_bytes(tmp_path / "f", cast.identities["alice"], trust=None),
            lambda: rewrap(tmp_path / "f", cast.identities["alice"], Change(), trust=None) and None,
        ):
            made.clear()
            with suppress(Damaged):
                act()
            assert made
            assert not any(map(any, made))
