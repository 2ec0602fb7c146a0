"""What goes in comes out, at every border of a chunk and in pieces of any size; and in constant memory."""

import io
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harden.errors import ConfigError
from harden.sealing.age import (
    AgeReader,
    AgeWriter,
    BadPayload,
    HybridIdentity,
    NoMatch,
    decrypt,
    encrypt,
)
from harden.sealing.age.header import MOST_STANZAS, Stanza, parse, render
from harden.sealing.age.intake import Intake, pouring
from harden.sealing.age.payload import CHUNK, TAG, plaintext_bytes

ALICE, BOB, EVE = (HybridIdentity(bytes([number]) * 32) for number in (1, 2, 3))
TO_ALICE = [ALICE.recipient()]
HEADER_BYTES = 1627
"""Version line 22, arguments 1513, body 44, MAC 48."""

lengths = st.sampled_from([0, CHUNK, 2 * CHUNK]).flatmap(lambda near: st.integers(max(0, near - 2), near + 2))


def sealed(plain: bytes, recipients: list[HybridIdentity] | None = None) -> bytes:
    """An age file of `plain`."""
    target = io.BytesIO()
    encrypt(io.BytesIO(plain), target, [identity.recipient() for identity in recipients or [ALICE]])
    return target.getvalue()


def opened(age: bytes, *identities: HybridIdentity) -> bytes:
    """The plaintext of an age file."""
    target = io.BytesIO()
    decrypt(io.BytesIO(age), target, identities or (ALICE,))
    return target.getvalue()


def pattern(count: int) -> bytes:
    """`count` bytes of which no two chunks are alike."""
    return b"".join(number.to_bytes(4, "big") for number in range(count // 4 + 1))[:count]


@given(lengths)
@settings(max_examples=30)
def test_what_was_sealed_opens_at_every_border_of_a_chunk(count: int) -> None:
    plain = pattern(count)
    age = sealed(plain)
    assert opened(age) == plain
    assert plaintext_bytes(len(age) - HEADER_BYTES - 16) == count


@given(lengths, st.lists(st.integers(1, CHUNK + 1), min_size=1, max_size=4), st.integers(1, 2 * CHUNK))
@settings(max_examples=30)
def test_pieces_of_any_size_make_the_same_file_and_read_alike(count: int, pieces: list[int], ask: int) -> None:
    plain, target = pattern(count), io.BytesIO()
    writer, at = AgeWriter(target, TO_ALICE), 0
    while at < count:
        size = pieces[at % len(pieces)]
        assert writer.write(plain[at : at + size]) == len(plain[at : at + size])
        at += size
    writer.finish()
    reader, read = AgeReader(io.BytesIO(target.getvalue()), [ALICE]), b""
    while piece := reader.read(ask):
        assert len(piece) == min(ask, count - len(read)), "a short read before the end"
        read += piece
    assert read == plain


@given(st.binary(max_size=2000))
@settings(max_examples=30)
def test_reading_some_and_draining_the_rest_loses_nothing(plain: bytes) -> None:
    reader, target = AgeReader(io.BytesIO(sealed(plain)), [ALICE]), io.BytesIO()
    begin = reader.read(len(plain) // 2) or b""
    assert reader.drain(target) == len(plain) - len(begin)
    assert begin + target.getvalue() == plain


def test_every_recipient_opens_it_and_nobody_else() -> None:
    age = sealed(b"weights", [ALICE, BOB])
    assert opened(age, ALICE) == opened(age, EVE, BOB) == b"weights"
    with pytest.raises(NoMatch, match="sealed for 2 recipients"):
        opened(age, EVE)


def test_two_files_of_the_same_plaintext_share_no_secret_part() -> None:
    first, second = sealed(bytes(100)), sealed(bytes(100))
    assert len(first) == len(second) == HEADER_BYTES + 16 + 100 + 16
    assert first[-132:] != second[-132:]
    assert parse(Intake(pouring(io.BytesIO(first)))).stanzas[0] != parse(Intake(pouring(io.BytesIO(second)))).stanzas[0]


@pytest.mark.parametrize("count", [0, 129])
def test_no_recipient_and_too_many_are_refused_before_anything_is_written(count: int) -> None:
    target = io.BytesIO()
    with pytest.raises(ConfigError, match=f"got {count} recipients, wanted 1 to 128"):
        AgeWriter(target, TO_ALICE * count)
    assert target.getvalue() == b""


def test_128_recipients_are_allowed() -> None:
    target = io.BytesIO()
    encrypt(io.BytesIO(b"x"), target, TO_ALICE * 128)
    assert opened(target.getvalue()) == b"x"


def test_no_identity_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="no identity"):
        AgeReader(io.BytesIO(sealed(b"x")), [])


def test_a_writer_that_is_given_up_leaves_a_file_that_reads_as_cut_short() -> None:
    target = io.BytesIO()
    writer = AgeWriter(target, TO_ALICE)
    writer.write(pattern(3 * CHUNK))
    writer.discard()
    with pytest.raises(BadPayload, match="ends behind chunk 2"):
        opened(target.getvalue())
    with pytest.raises(ValueError, match="finished or was given up"):
        writer.finish()


def test_a_writer_whose_target_failed_cannot_be_finished() -> None:
    class Full:
        room = 2000

        def write(self, data: memoryview, /) -> int:
            taken = min(self.room, len(data))
            self.room -= taken
            return taken

    writer = AgeWriter(Full(), TO_ALICE)
    with pytest.raises(BlockingIOError):
        writer.write(bytes(2 * CHUNK))
    with pytest.raises(ValueError, match="given up"):
        writer.finish()


def test_a_target_that_takes_little_at_a_time_gets_everything() -> None:
    class Slow(io.BytesIO):
        def write(self, data: object, /) -> int:
            return super().write(memoryview(data)[:999])  # type: ignore[arg-type]

    target = Slow()
    encrypt(io.BytesIO(pattern(70_000)), target, TO_ALICE)
    assert opened(target.getvalue()) == pattern(70_000)


def test_a_closed_reader_reads_no_more_and_its_source_stays_open() -> None:
    source = io.BytesIO(sealed(b"weights"))
    with AgeReader(source, [ALICE]) as reader:
        assert reader.read(3) == b"wei"
    with pytest.raises(ValueError, match="closed"):
        reader.read(1)
    with pytest.raises(ValueError, match="closed"):
        reader.drain(io.BytesIO())
    assert not source.closed


def test_a_reader_says_whom_the_file_is_for() -> None:
    reader = AgeReader(io.BytesIO(sealed(b"x", [ALICE, BOB])), [BOB])
    assert reader.recipients == ("mlkem768x25519", "mlkem768x25519")
    assert reader.post_quantum
    assert reader.plaintext_bytes is None, "nobody told it the size"


def test_a_classical_recipient_beside_ours_is_reported() -> None:
    key = b"k" * 16
    age = render([ALICE.recipient().wrap(key), Stanza((b"X25519", b"A" * 43), bytes(32))], key) + bytes(16)
    reader = AgeReader(io.BytesIO(age), [ALICE])
    assert not reader.post_quantum
    assert reader.recipients == ("mlkem768x25519", "X25519")


def test_strange_stanzas_are_passed_over_up_to_a_limit() -> None:
    """GREASE: what is not known is for somebody else."""
    key = b"k" * 16
    strange = [Stanza((b"example.com/enigma", b"~!"), bytes(n)) for n in range(MOST_STANZAS - 1)]
    age = render([*strange, ALICE.recipient().wrap(key)], key) + bytes(16)
    assert len(AgeReader(io.BytesIO(age), [ALICE]).recipients) == MOST_STANZAS


class Zeros(io.RawIOBase):
    """A source of many zeros that costs no memory."""

    def __init__(self, count: int) -> None:
        self._left = count

    def readinto(self, buffer: object, /) -> int:
        count = min(len(memoryview(buffer)), self._left)  # type: ignore[arg-type]
        self._left -= count
        return count


class Both:
    """A target that keeps nothing but the count."""

    count = 0

    def write(self, data: memoryview, /) -> int:
        self.count += len(data)
        return len(data)


def test_64_mib_are_sealed_in_less_than_one() -> None:
    target = Both()
    tracemalloc.start()
    encrypt(Zeros(64 << 20), target, TO_ALICE)  # type: ignore[arg-type]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert target.count == HEADER_BYTES + 16 + (64 << 20) + 1024 * TAG
    assert peak < 1 << 20


def test_64_mib_are_opened_in_less_than_one() -> None:
    age = io.BytesIO()
    encrypt(Zeros(64 << 20), age, TO_ALICE)  # type: ignore[arg-type]
    target = Both()
    tracemalloc.start()
    assert decrypt(_rewound(age), target, [ALICE]) == target.count == 64 << 20
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def _rewound(file: io.BytesIO) -> io.BytesIO:
    file.seek(0)
    return file
