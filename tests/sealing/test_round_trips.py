"""What was sealed comes out, for every suite, length, way and number of recipients."""

import os
import random
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.cobblestone import Cobblestone256Decryptor
from hypothesis import given, settings
from hypothesis import strategies as st

from harden.errors import ConfigError
from harden.sealing import (
    Change,
    Facts,
    PassphraseIdentity,
    PassphraseRecipient,
    inspect,
    rewrap,
    rotate,
    seal_file,
    unseal_bytes,
    unseal_file,
    verify,
)
from harden.sealing.ciphertext import Ciphertext
from harden.sealing.derive import payload_key
from harden.sealing.errors import Damaged, WrongKey, WrongPassphrase
from harden.sealing.heads import opened, read_head, read_slots
from harden.sealing.opening import unlock, unlocked
from harden.sealing.passphrase import Cost

LENGTHS = [0, 1, 16383, 16384, 16385, 32768, 2**20 - 1, 2**20, 2**20 + 1, 2**20 - 56, 2**20 - 57, 9 * 2**20 + 7]
CHEAP = Cost(kib=64, iterations=1, lanes=1)


@pytest.mark.parametrize("length", LENGTHS)
def test_what_was_sealed_comes_out(length: int, each_cast: Any, tmp_path: Path) -> None:
    plain, path = os.urandom(length), tmp_path / "f.sealed"
    each_cast.seal(plain, path)
    for name in ("alice", "bob"):
        view, head = unseal_bytes(path, each_cast.identities[name], trust=each_cast.trust)
        assert (bytes(view), head.core.plaintext_bytes) == (plain, length)
    unseal_file(path, tmp_path / "plain", each_cast.identities["bob"], trust=each_cast.trust)
    assert (tmp_path / "plain").read_bytes() == plain
    assert verify(path, each_cast.trust).settled
    assert verify(path, each_cast.trust, identity=each_cast.identities["alice"]).settled
    with pytest.raises(WrongKey, match="sealed for 2 recipients"):
        unseal_bytes(path, each_cast.identities["carol"], trust=each_cast.trust)


@pytest.mark.parametrize("length", LENGTHS)
def test_the_librarys_reader_agrees_with_ours(length: int, cast: Any, tmp_path: Path) -> None:
    plain, path = os.urandom(length), tmp_path / "f.sealed"
    data = cast.seal(plain, path)
    with opened(path) as handle:
        head = read_head(handle, "file")
        key = payload_key(unlock(head, read_slots(handle, head), cast.identities["alice"]), head.bound)
    layout = head.layout
    decryptor = Cobblestone256Decryptor(key, head.bound)
    theirs = decryptor.update(data[layout.payload : layout.payload + layout.payload_len]) + decryptor.finalize()
    assert theirs == plain


@settings(max_examples=40)
@given(length=st.integers(0, 5 * 2**20), data=st.data())
def test_any_range_can_be_read_by_itself(length: int, data: st.DataObject, cast: Any, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("ranges") / "f.sealed"
    plain = bytes(one % 251 for one in range(1000)) * (length // 1000) + bytes(length % 1000)
    cast.seal(plain, path)
    with opened(path) as handle:
        payload = unlocked(handle, "file", cast.identities["alice"], cast.trust, cast.provider).payload
        for _ in range(5):
            start = data.draw(st.integers(0, len(plain)))
            into = bytearray(data.draw(st.integers(0, len(plain) - start)))
            payload.read_into(start, memoryview(into))
            assert into == plain[start : start + len(into)]


def test_neighbours_are_read_once_whatever_the_order(cast: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """A MiB that was checked is held: what lies in it is neither read nor hashed again, forward, back or across."""
    plain = os.urandom(12 * 2**20 + 5)
    cast.seal(plain, tmp_path / "f")
    with opened(tmp_path / "f") as handle:
        payload = unlocked(handle, "f", cast.identities["alice"], cast.trust, cast.provider).payload
        read: list[int] = []
        real = Ciphertext.read

        def counting(self: Ciphertext, start: int, into: memoryview) -> None:
            read.append(len(into) >> 20)
            real(self, start, into)

        monkeypatch.setattr(Ciphertext, "read", counting)
        rng = random.Random(0)
        for start, length, fresh in (
            (0, 100, 1),
            (200, 100, 0),
            (2**20 - 1000, 2**20, 2),
            (2**20 + 5, 9, 0),
            (3 * 2**19, 3 * 2**20, 2),
            (2**20 + 5, 9, 0),
            (0, 9, 1),
            *((rng.randrange(len(plain) - 2**21), rng.randrange(2**21), None) for _ in range(60)),
        ):
            read.clear()
            into = bytearray(length)
            payload.read_into(start, memoryview(into))
            assert into == plain[start : start + length]
            assert fresh is None or sum(read) == fresh, start


def test_a_mib_that_was_changed_is_not_held(cast: Any, tmp_path: Path) -> None:
    """Each access tells anew, and an intact neighbour is still read."""
    plain = os.urandom(3 * 2**20)
    data = bytearray(cast.seal(plain, tmp_path / "f"))
    data[5632 + 2**20 + 2**19] ^= 1
    (tmp_path / "f").write_bytes(data)
    with opened(tmp_path / "f") as handle:
        payload = unlocked(handle, "f", cast.identities["alice"], cast.trust, cast.provider).payload
        for start, good in ((0, True), (2**20, False), (2**20, False), (5 * 2**19, True), (2**20 - 9, False)):
            into = bytearray(9 if good else 2**18)
            if good:
                payload.read_into(start, memoryview(into))
                assert into == plain[start : start + 9]
                continue
            with pytest.raises(Damaged, match="MiB 1 of it"):
                payload.read_into(start, memoryview(into))


def test_threads_that_read_at_once_get_what_they_asked_for(cast: Any, tmp_path: Path) -> None:
    plain = os.urandom(6 * 2**20)
    cast.seal(plain, tmp_path / "f")
    with opened(tmp_path / "f") as handle, ThreadPoolExecutor(4) as pool:
        payload = unlocked(handle, "f", cast.identities["alice"], cast.trust, cast.provider).payload

        def reads(start: int) -> bool:
            into = bytearray(50_000)
            payload.read_into(start, memoryview(into))
            return into == plain[start : start + 50_000]

        rng = random.Random(1)
        assert all(pool.map(reads, [rng.randrange(len(plain) - 50_000) for _ in range(300)]))


def test_sealing_a_file_and_sealing_bytes_are_the_same(cast: Any, tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(os.urandom(3_000_000))
    seal_file(
        tmp_path / "plain", tmp_path / "f", to=[cast.recipients["bob"]], signer=cast.signers["acme"], facts=Facts("m")
    )
    view, _ = unseal_bytes(tmp_path / "f", cast.identities["bob"], trust=cast.trust)
    assert bytes(view) == (tmp_path / "plain").read_bytes()


def test_two_sealings_share_nothing(cast: Any, tmp_path: Path) -> None:
    first, second = (cast.seal(bytes(100), tmp_path / name) for name in "ab")
    assert first[5632:] != second[5632:]
    heads = [inspect(tmp_path / name).head for name in "ab"]
    assert heads[0].core.file_id != heads[1].core.file_id
    assert heads[0].bound != heads[1].bound


def test_the_plain_file_is_for_its_owner_alone(cast: Any, tmp_path: Path) -> None:
    cast.seal(b"secret", tmp_path / "f")
    unseal_file(tmp_path / "f", tmp_path / "plain", cast.identities["alice"], trust=cast.trust)
    assert stat.S_IMODE((tmp_path / "plain").stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f", "plain"]


def test_facts_come_back_and_bind(cast: Any, tmp_path: Path) -> None:
    facts = Facts("resnet", epoch=7, parent="ab" * 64, metadata={"round": "2026Q3", "watermark": "12", "bom": "34"})
    cast.seal(b"x", tmp_path / "f", facts=facts)
    assert inspect(tmp_path / "f").head.core.facts == facts


@pytest.mark.parametrize("count", [1, 2, 100, 128])
def test_every_one_of_many_recipients_opens(count: int, cast: Any, tmp_path: Path) -> None:
    to = [cast.recipients["carol"]] * (count - 1) + [cast.recipients["alice"]]
    data = cast.seal(b"many", tmp_path / "f", to=to)
    assert cast.open(data) == b"many"
    assert cast.open(data, cast.identities["carol"] if count > 1 else None) == b"many"


@pytest.mark.parametrize("count", [0, 129])
def test_none_and_too_many_recipients_are_refused(count: int, cast: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="1 to 128 recipients"):
        cast.seal(b"", tmp_path / "f", to=[cast.recipients["alice"]] * count)
    assert not list(tmp_path.iterdir())


def test_rewrap_adds_and_removes_without_touching_the_payload(each_cast: Any, tmp_path: Path) -> None:
    path, plain = tmp_path / "f", os.urandom(40_000)
    before = each_cast.seal(plain, path)
    alice, carol = each_cast.identities["alice"], each_cast.identities["carol"]
    _, count = rewrap(path, alice, Change(add=[each_cast.recipients["carol"]]), trust=each_cast.trust)
    assert count == 3
    for identity in each_cast.identities.values():
        assert each_cast.open(path.read_bytes(), identity) == plain
    rewrap(path, carol, Change(to=[each_cast.recipients["carol"]]), trust=each_cast.trust)
    after = path.read_bytes()
    assert each_cast.open(after, carol) == plain
    with pytest.raises(WrongKey):
        each_cast.open(after, alice)
    start = inspect(path).head.layout.payload
    assert before[start:] == after[start:]
    assert verify(path, each_cast.trust).settled


def test_a_rewrap_without_room_asks_for_a_copy_which_keeps_the_signature(cast: Any, tmp_path: Path) -> None:
    path, plain = tmp_path / "f", os.urandom(2**21)
    before = cast.seal(plain, path, room=0)
    many = Change(add=[cast.recipients["carol"]] * 5)
    with pytest.raises(ConfigError, match=r"its slots have 2560"):
        rewrap(path, cast.identities["alice"], many, trust=cast.trust)
    assert path.read_bytes() == before
    rewrap(path, cast.identities["alice"], many, trust=cast.trust, output=tmp_path / "copy")
    assert path.read_bytes() == before
    copy = (tmp_path / "copy").read_bytes()
    assert cast.open(copy, cast.identities["carol"]) == plain
    assert inspect(path).head.bound == inspect(tmp_path / "copy").head.bound
    assert verify(tmp_path / "copy", cast.trust).settled


def test_rotate_makes_the_next_epoch_under_another_key(cast: Any, tmp_path: Path) -> None:
    path, plain = tmp_path / "f", os.urandom(40_000)
    cast.seal(plain, path, facts=Facts("m", metadata={"round": "1"}))
    before = inspect(path).head
    rotate(
        path,
        path,
        cast.identities["alice"],
        to=[cast.recipients["carol"]],
        signer=cast.signers["acme"],
        trust=cast.trust,
        overwrite=True,
    )
    after = inspect(path).head
    assert cast.open(path.read_bytes(), cast.identities["carol"]) == plain
    assert after.core.facts == Facts("m", epoch=2, parent=before.bound.hex(), metadata={"round": "1"})
    with pytest.raises(WrongKey):
        cast.open(path.read_bytes())


def test_a_passphrase_opens_and_another_does_not(cast: Any, tmp_path: Path) -> None:
    data = cast.seal(b"plain", tmp_path / "f", to=[PassphraseRecipient("caf\u00e9", CHEAP)])
    assert cast.open(data, PassphraseIdentity(lambda _: "cafe\u0301")) == b"plain"  # the same in NFC
    with pytest.raises(WrongPassphrase):
        cast.open(data, PassphraseIdentity(lambda _: "cafe"))
    with pytest.raises(WrongPassphrase):
        cast.open(data)


def test_nobody_is_asked_where_no_entry_wants_a_passphrase(cast: Any, sample: Any, never: Any) -> None:
    with pytest.raises(WrongKey):
        cast.open(sample.data, PassphraseIdentity(never))


def test_a_passphrase_stands_alone(cast: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="stands alone"):
        cast.seal(b"", tmp_path / "f", to=[PassphraseRecipient("x", CHEAP), cast.recipients["bob"]])


def test_keys_of_two_suites_do_not_go_into_one_file(cast: Any, each_cast: Any, tmp_path: Path) -> None:
    if each_cast.suite == cast.suite:
        each_cast.seal(b"", tmp_path / "f", signer=cast.signers["acme"])
        return
    with pytest.raises(ConfigError, match="different suites: cnsa, hybrid"):
        each_cast.seal(b"", tmp_path / "f", signer=cast.signers["acme"])


def test_a_file_that_grows_while_it_is_sealed_is_refused(cast: Any, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "plain").write_bytes(bytes(5_000_000))
    real, calls = os.preadv, []

    def growing(handle: int, buffers: Any, offset: int) -> int:
        calls.append(offset)
        if len(calls) == 2:
            with (tmp_path / "plain").open("ab") as file:
                file.write(b"more")
        return real(handle, buffers, offset)

    monkeypatch.setattr(os, "preadv", growing)
    with pytest.raises(Exception, match="changed while it was being read"):
        seal_file(tmp_path / "plain", tmp_path / "f", to=[cast.recipients["bob"]], facts=Facts("m"))
    assert [path.name for path in tmp_path.iterdir()] == ["plain"]
