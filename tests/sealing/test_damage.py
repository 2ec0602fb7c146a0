"""What is changed by somebody who knows the format is noticed, and mended where it may be; see `test_mutations`."""

import hashlib
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.cobblestone import Cobblestone256Decryptor

from harden.errors import SealError
from harden.sealing import Change, Facts, rewrap
from harden.sealing.derive import binding
from harden.sealing.errors import BadSignature, Damaged, NotSealed, Untrusted
from harden.sealing.heads import Head, read_head
from harden.sealing.layout import SEALED_CHUNK
from harden.sealing.opening import unlocked
from harden.sealing.slots import MARK_AT, WRITING

MANY = 64  # chunks of the file whose chunks change places


class Altered:
    """A sealed file in memory, changed and mended again: each change is tried by itself."""

    def __init__(self, cast: Any, handle: int, data: bytes, plain: bytes) -> None:
        self.cast, self.handle, self.data, self.plain = cast, handle, data, plain

    def opens_with(self, at: int, patch: bytes) -> bool:
        """Whether the file opens with `patch` at `at`."""
        os.pwrite(self.handle, patch, at)
        try:
            return self.opens()
        finally:
            os.pwrite(self.handle, self.data[at : at + len(patch)], at)
            os.ftruncate(self.handle, len(self.data))

    def opens_as(self, data: bytes) -> bool:
        """Whether the file opens with these bytes in the place of its own."""
        os.ftruncate(self.handle, 0)
        os.pwrite(self.handle, data, 0)
        try:
            return self.opens()
        finally:
            os.ftruncate(self.handle, 0)
            os.pwrite(self.handle, self.data, 0)

    def opens(self) -> bool:
        """Whether the file opens, to exactly what was sealed. What comes before a SealError is a part of that."""
        read, told = b"", ""
        try:
            found = unlocked(self.handle, "f", self.cast.identities["alice"], self.cast.trust, self.cast.provider)
            for piece in found.payload.pieces():
                read += piece
        except SealError as error:
            told = error.message
        assert self.plain.startswith(read), "plaintext that nobody sealed was released"
        assert told.startswith("f: ") if told else read == self.plain
        assert "\n" not in told
        return not told


@pytest.fixture(scope="module")
def small(cast: Any, sample: SimpleNamespace, memory: Callable[[bytes], Any]) -> Iterator[Altered]:
    """A file of one chunk."""
    with memory(sample.data) as handle:
        yield Altered(cast, handle, sample.data, sample.plain)


@pytest.fixture(scope="module")
def chunky(cast: Any, memory: Callable[[bytes], Any], tmp_path_factory: Any) -> Iterator[Altered]:
    """A file of many chunks, none like another."""
    plain = random.Random(0).randbytes(MANY * 16_384 + 9)
    data = cast.seal(plain, tmp_path_factory.mktemp("chunky") / "f")
    with memory(data) as handle:
        yield Altered(cast, handle, data, plain)


def head_of(data: bytes, memory: Callable[[bytes], Any]) -> Head:
    """The head of a file."""
    with memory(data) as handle:
        return read_head(handle, "f")


def test_the_unchanged_file_opens(small: Altered, chunky: Altered) -> None:
    assert small.opens()
    assert chunky.opens()


def test_a_chunk_in_another_place_fails_by_its_tag_too(cast: Any, tmp_path: Path, memory: Any) -> None:
    """A recipient, who can sign nothing, changes an unsigned file and mends the hash list."""
    data = bytearray(cast.seal(random.Random(4).randbytes(5 * 16_384), tmp_path / "f", signer=None))
    layout = head_of(bytes(data), memory).layout
    at = layout.payload + 56
    data[at : at + 2 * SEALED_CHUNK] = data[at + SEALED_CHUNK : at + 2 * SEALED_CHUNK] + data[at : at + SEALED_CHUNK]
    payload = data[layout.payload : layout.payload + layout.payload_len]
    data[layout.payload + layout.payload_len :] = _leaf(bytes(payload))
    with memory(bytes(data)) as handle:
        found = unlocked(handle, "f", cast.identities["alice"], None, cast.provider)
        with pytest.raises(Damaged, match="a tag in MiB 0"):
            next(found.payload.pieces())


def test_unauthenticated_plaintext_is_cleared(cast: Any, tmp_path: Path, memory: Any) -> None:
    """The library leaves it in the buffer: the leaf is right here, one byte of the tag is not."""
    data = bytearray(cast.seal(b"\xaa" * 16_384, tmp_path / "f", signer=None))
    layout = head_of(bytes(data), memory).layout
    data[layout.payload + 56 + SEALED_CHUNK - 1] ^= 1
    sealed = bytes(data[layout.payload : layout.payload + layout.payload_len])
    data[layout.payload + layout.payload_len :] = _leaf(sealed)
    with memory(bytes(data)) as handle:
        payload = unlocked(handle, "f", cast.identities["alice"], None, cast.provider).payload
        for start, length in ((0, 16_384), (5, 100)):
            into = bytearray(b"\x55" * length)
            with pytest.raises(Damaged):
                payload.read_into(start, memoryview(into))
            assert b"\xaa" not in into
        into = bytearray(2 * len(sealed))
        reader = Cobblestone256Decryptor(payload._key, payload._context)
        with pytest.raises(Damaged):
            payload._decrypted(reader, 0, memoryview(sealed), memoryview(into))
        assert not any(into)


@pytest.mark.parametrize("part", ["slots", "slot A", "slot B", "payload", "list", "signature", "core and preamble"])
def test_parts_of_another_file_are_noticed(part: str, cast: Any, small: Altered, memory: Any, tmp_path: Path) -> None:
    """The other file has the same people, facts and content."""
    other = cast.seal(small.plain, tmp_path / "f")
    assert len(other) == len(small.data)
    lay = head_of(other, memory).layout
    end = lay.payload + lay.payload_len
    start, stop = {
        "core and preamble": (0, lay.slots),
        "slots": (lay.slots, lay.payload),
        "slot A": (lay.slots, lay.slots + lay.slot_len),
        "slot B": (lay.slots + lay.slot_len, lay.payload),
        "payload": (lay.payload, end),
        "list": (end, lay.signature),
        "signature": (lay.signature, lay.size),
    }[part]
    assert not small.opens_with(start, other[start:stop])


def test_each_half_of_the_signature_counts(cast: Any, small: Altered, memory: Any) -> None:
    at = head_of(small.data, memory).layout.signature
    for start, length, name in ((at, 3309, "ML-DSA-65"), (at + 3309, 64, "Ed25519")):
        broken = bytearray(small.data)
        broken[start : start + length] = bytes(length)
        with pytest.raises(BadSignature, match=rf"{name} said no"):
            cast.open(bytes(broken))
    with pytest.raises(BadSignature, match="ML-DSA-65 and Ed25519 said no"):
        cast.open(small.data[:at] + bytes(3309 + 64))


def test_a_stripped_signature_breaks_the_key(cast: Any, small: Altered, memory: Any) -> None:
    """Somebody takes the signer out of the core and the signature off the end: H is another then."""
    head = head_of(small.data, memory)
    signer = f'"signer":"{head.core.signer}"'.encode()
    text = head.core.encode().replace(signer, b'"signer":""')
    preamble = head.preamble.__class__(head.preamble.suite, len(text), head.preamble.slot_len)
    stripped = (preamble.encode() + text).ljust(head.layout.slots, b"\0")
    stripped += small.data[head.layout.slots : head.layout.signature]
    assert binding(preamble, text) != head.bound
    with pytest.raises(Untrusted):
        cast.open(stripped)
    with memory(stripped) as handle, pytest.raises(SealError):
        unlocked(handle, "f", cast.identities["alice"], None, cast.provider)


def test_a_slot_that_says_it_is_being_written_does_not_count(
    cast: Any, small: Altered, memory: Any, tmp_path: Path
) -> None:
    """As a rewrap that was killed leaves it; two such slots open for nobody, and one more rewrap mends one."""
    layout = head_of(small.data, memory).layout
    for at in (layout.slots, layout.slots + layout.slot_len):
        assert small.opens_with(at + MARK_AT, bytes([WRITING]) + b"torn")
    both = bytearray(small.data)
    for at in (layout.slots, layout.slots + layout.slot_len):
        both[at + MARK_AT] = WRITING
    with pytest.raises(Damaged, match="both slots"):
        cast.open(bytes(both))
    both[layout.slots + MARK_AT] = 0
    (tmp_path / "f").write_bytes(both)
    rewrap(tmp_path / "f", cast.identities["bob"], Change(), trust=cast.trust)
    healed = (tmp_path / "f").read_bytes()
    slots = healed[layout.slots : layout.slots + layout.slot_len], healed[layout.slots + layout.slot_len :]
    assert slots[1].startswith(slots[0])


def test_a_damaged_slot_is_mended_by_a_rewrap_and_by_nothing_else(
    cast: Any, small: Altered, memory: Any, tmp_path: Path
) -> None:
    layout = head_of(small.data, memory).layout
    for at in (layout.slots + 100, layout.slots + layout.slot_len + 100, layout.slots + 9):
        broken = bytearray(small.data)
        broken[at] ^= 1
        with pytest.raises(Damaged):
            cast.open(bytes(broken))
        (tmp_path / "f").write_bytes(broken)
        rewrap(tmp_path / "f", cast.identities["alice"], Change(), trust=cast.trust)
        assert cast.open((tmp_path / "f").read_bytes(), cast.identities["bob"]) == small.plain


def test_an_entry_that_a_stranger_added_is_never_kept(cast: Any, small: Altered, memory: Any, tmp_path: Path) -> None:
    """A writer of the file puts slot B of a file of theirs, which alice can open, into ours."""
    layout = head_of(small.data, memory).layout
    theirs = cast.seal(small.plain, tmp_path / "theirs", to=[cast.recipients["alice"], cast.recipients["carol"]])
    at = layout.slots + layout.slot_len
    forged = small.data[:at] + theirs[at : at + layout.slot_len] + small.data[at + layout.slot_len :]
    with pytest.raises(Damaged):
        cast.open(forged)
    (tmp_path / "f").write_bytes(forged)
    rewrap(tmp_path / "f", cast.identities["alice"], Change(), trust=cast.trust)
    healed = (tmp_path / "f").read_bytes()
    assert cast.open(healed, cast.identities["bob"]) == small.plain


def test_what_is_no_sealed_file_is_told_so(cast: Any) -> None:
    for data in (b"", b"x", b"PK\3\4" + bytes(100), bytes(64), b"age-encryption.org/v1\n" + bytes(50)):
        with pytest.raises(NotSealed):
            cast.open(data)


def _leaf(payload: bytes) -> bytes:
    parts = [payload[at : at + 2**20] for at in range(0, len(payload), 2**20)]
    return b"".join(hashlib.sha256(b"\0" + part).digest() for part in parts)


def test_facts_cannot_be_changed(cast: Any, tmp_path: Path) -> None:
    """Every fact that is bound: for each a file that differs in it alone, under the other's keys and signature."""
    facts = Facts("model", epoch=3, parent="00" * 64, metadata={"round": "A", "watermark": "w", "bom": "b"})
    data = cast.seal(b"content", tmp_path / "f", facts=facts)
    assert cast.open(data) == b"content"
    for old, new in (
        (b'"model_id":"model"', b'"model_id":"nodel"'),
        (b'"epoch":3', b'"epoch":4'),
        (b'"parent":"0', b'"parent":"1'),
        (b'"round":"A"', b'"round":"B"'),
        (b'"watermark":"w"', b'"watermark":"v"'),
        (b'"bom":"b"', b'"bom":"c"'),
        (b'"created":1', b'"created":2'),
    ):
        assert data.count(old) == 1
        changed = data.replace(old, new)
        with pytest.raises(BadSignature):
            cast.open(changed)
