"""Entries of type 3: a key file and a token together, neither alone."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from harden.errors import ConfigError
from harden.sealing import Change, keyfiles, provider, rewrap, seal_bytes, unseal_bytes
from harden.sealing.core import Facts
from harden.sealing.derive import wrap_info
from harden.sealing.errors import Refused, WrongKey
from harden.sealing.identity import KeyRecipient
from harden.sealing.release.split import SplitIdentity, SplitRecipient, identity_of, recipient_of, xor
from harden.sealing.slots import PUBLIC_KEY, SPLIT
from harden.sealing.suites import CNSA, HYBRID, Suite

BY = provider()
H = bytes(range(64))


@dataclass
class Box:
    """A wrapper that holds its key itself, and counts how often it is asked."""

    key: bytes = field(default_factory=lambda: os.urandom(32))
    asked: int = 0
    refuses: bool = False

    def wrap(self, share: bytes, aad: bytes) -> bytes:
        nonce = os.urandom(12)
        return nonce + AESGCM(self.key).encrypt(nonce, share, aad)

    def unwrap(self, blob: bytes, aad: bytes) -> bytes | None:
        self.asked += 1
        if self.refuses:
            raise Refused("the box said no")
        try:
            return AESGCM(self.key).decrypt(blob[:12], blob[12:], aad)
        except InvalidTag:
            return None


@dataclass
class Holder:
    """A key file and a box."""

    suite: Suite = HYBRID
    box: Box = field(default_factory=Box)

    def __post_init__(self) -> None:
        self.key = keyfiles.generate(keyfiles.RECIPIENT, self.suite, BY)

    @property
    def recipient(self) -> SplitRecipient:
        return SplitRecipient(KeyRecipient(self.suite, self.key.public.public, BY), self.box)

    def identity(self, box: Box | None = None) -> SplitIdentity:
        return SplitIdentity(self.suite, BY.opener(self.suite.kem, self.key.seed), box or self.box)


def info(suite: Suite = HYBRID, bound: bytes = H) -> bytes:
    return wrap_info(suite, SPLIT, bound)


@pytest.mark.parametrize("suite", [HYBRID, CNSA], ids=lambda suite: suite.name)
def test_key_file_and_token_open_what_was_sealed_for_both(suite: Suite) -> None:
    holder, file_key = Holder(suite), os.urandom(32)
    blob = holder.recipient.wrap(file_key, info(suite))
    assert holder.recipient.suite == suite
    assert holder.recipient.kind == SPLIT
    assert holder.identity().unwrap(SPLIT, blob, info(suite)) == file_key


def test_neither_share_is_the_file_key_and_both_are_fresh_each_time() -> None:
    holder, file_key = Holder(), os.urandom(32)
    opener = BY.opener(HYBRID.kem, holder.key.seed)
    firsts, seconds = set(), set()
    for _ in range(8):
        blob = holder.recipient.wrap(file_key, info())
        first = opener(blob[: HYBRID.kem.blob], info())
        second = holder.box.unwrap(blob[HYBRID.kem.blob :], H)
        assert first is not None
        assert second is not None
        assert xor(first, second) == file_key
        firsts.add(first)
        seconds.add(second)
    assert len(firsts) == len(seconds) == 8
    assert file_key not in firsts | seconds


def test_the_token_is_not_asked_where_the_key_file_does_not_open() -> None:
    holder, stranger = Holder(), Holder()
    blob = holder.recipient.wrap(bytes(32), info())
    assert stranger.identity(holder.box).unwrap(SPLIT, blob, info()) is None
    assert holder.box.asked == 0


def test_another_token_another_h_another_type_do_not_open_it() -> None:
    holder = Holder()
    blob = holder.recipient.wrap(bytes(32), info())
    assert holder.identity(Box()).unwrap(SPLIT, blob, info()) is None
    assert holder.identity().unwrap(SPLIT, blob, info(bound=bytes(64))) is None
    assert holder.identity().unwrap(PUBLIC_KEY, blob, info()) is None
    assert holder.identity().unwrap(SPLIT, blob[: HYBRID.kem.blob], info()) is None


def test_the_second_share_is_bound_to_h_by_the_token_too() -> None:
    """The share of one file beside the first share of another: the token sees the wrong H."""
    holder, at = Holder(), HYBRID.kem.blob
    other = bytes(64)
    mixed = holder.recipient.wrap(bytes(32), info())[:at] + holder.recipient.wrap(bytes(32), info(bound=other))[at:]
    assert holder.identity().unwrap(SPLIT, mixed, info()) is None
    assert holder.box.asked == 1


def test_every_flipped_byte_of_an_entry_is_noticed() -> None:
    holder = Holder()
    blob = holder.recipient.wrap(bytes(32), info())
    for at in range(len(blob)):
        changed = blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]
        assert holder.identity().unwrap(SPLIT, changed, info()) is None


def test_a_token_that_says_no_is_a_refusal_not_a_wrong_key() -> None:
    holder = Holder(box=Box(refuses=True))
    blob = holder.recipient.wrap(bytes(32), info())
    with pytest.raises(Refused, match="the box said no"):
        holder.identity().unwrap(SPLIT, blob, info())


class Long(Box):
    """A wrapper with blobs beyond an entry."""

    def wrap(self, share: bytes, aad: bytes) -> bytes:
        return bytes(8192)


class Short(Box):
    """A wrapper whose shares are cut."""

    def unwrap(self, blob: bytes, aad: bytes) -> bytes | None:
        return bytes(31)


def test_a_wrapper_that_breaks_its_contract_is_stopped() -> None:
    with pytest.raises(ConfigError, match="at most 8192 fit"):
        Holder(box=Long()).recipient.wrap(bytes(32), info())
    holder = Holder(box=Short())
    with pytest.raises(Refused, match="31 bytes, wanted 32"):
        holder.identity().unwrap(SPLIT, holder.recipient.wrap(bytes(32), info()), info())


def test_a_sealed_file_opens_with_key_file_and_token_and_with_neither_alone(tmp_path: Path) -> None:
    holder, plain = Holder(), os.urandom(70_000)
    keyfiles.write_public(tmp_path / "a.pub", holder.key.public)
    keyfiles.write_secret(tmp_path / "a.key", holder.key, None)
    to = recipient_of(tmp_path / "a.pub", holder.box, BY)
    seal_bytes(plain, tmp_path / "w.sealed", to=[to], facts=Facts("m", 1, "", {}))
    identity = identity_of(tmp_path / "a.key", holder.box, lambda _: "", BY)
    assert bytes(unseal_bytes(tmp_path / "w.sealed", identity, trust=None)[0]) == plain
    for half in (keyfiles.identity_of(tmp_path / "a.key", lambda _: "", BY), holder.identity(Box())):
        with pytest.raises(WrongKey):
            unseal_bytes(tmp_path / "w.sealed", half, trust=None)


def test_two_tokens_of_one_key_file_each_find_their_entry(tmp_path: Path) -> None:
    holder, spare = Holder(), Box()
    second = SplitRecipient(holder.recipient.key, spare)
    seal_bytes(b"weights", tmp_path / "w.sealed", to=[holder.recipient, second], facts=Facts("m", 1, "", {}))
    for box in (holder.box, spare):
        assert bytes(unseal_bytes(tmp_path / "w.sealed", holder.identity(box), trust=None)[0]) == b"weights"


@dataclass
class Moody(Box):
    """A keeper that says no to the first `noes` questions."""

    noes: int = 1

    def unwrap(self, blob: bytes, aad: bytes) -> bytes | None:
        self.refuses = self.asked < self.noes
        return super().unwrap(blob, aad)


@pytest.fixture
def twice(tmp_path: Path) -> tuple[Holder, Path]:
    """Somebody with a moody keeper, and a file sealed twice for both."""
    holder = Holder(box=Moody())
    path = tmp_path / "w.sealed"
    seal_bytes(b"weights", path, to=[holder.recipient, holder.recipient], facts=Facts("m", 1, "", {}))
    return holder, path


def test_a_no_for_one_entry_does_not_hide_another_that_opens(twice: tuple[Holder, Path]) -> None:
    holder, path = twice
    assert bytes(unseal_bytes(path, holder.identity(), trust=None)[0]) == b"weights"
    assert holder.box.asked == 2
    holder.box.asked = 0
    assert rewrap(path, holder.identity(), Change(), trust=None)[1] == 2


def test_where_no_entry_opens_the_keepers_no_is_the_answer(twice: tuple[Holder, Path]) -> None:
    holder, path = twice
    holder.box = Moody(key=holder.box.key, noes=99)
    before = path.read_bytes()
    with pytest.raises(Refused, match="the box said no"):
        unseal_bytes(path, holder.identity(), trust=None)
    with pytest.raises(Refused, match="the box said no"):
        rewrap(path, holder.identity(), Change(), trust=None)
    assert path.read_bytes() == before
