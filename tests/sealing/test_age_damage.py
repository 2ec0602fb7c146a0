"""Whatever is done to an age file, opening it raises an error of ours, and only genuine bytes come out."""

import base64
import io
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harden.errors import SealError
from harden.sealing.age import (
    AgeReader,
    BadArmor,
    BadHeader,
    BadMac,
    BadPayload,
    HybridIdentity,
    NotAge,
    Passphrase,
    X25519Identity,
    classical,
    decrypt,
    encrypt,
    header,
)
from harden.sealing.age.armor import BEGIN, END
from harden.sealing.age.header import MOST_STANZAS, Stanza, render
from harden.sealing.age.intake import Intake, pouring
from harden.sealing.age.payload import CHUNK, SEALED_CHUNK, ChunkOpener, ChunkSealer, plaintext_bytes
from harden.sealing.errors import Damaged, NotSealed, Refused, WrongKey

ALICE = HybridIdentity(b"a" * 32)
KEY, NONCE = b"k" * 16, b"n" * 16
PLAIN = b"seventeen letters"
EXIT_CODES = {NotSealed: 1, Damaged: 4, WrongKey: 4}


def sealed(plain: bytes = PLAIN) -> bytes:
    """An age file of `plain` for Alice, with known keys, so that it can be put together in other ways."""
    target = io.BytesIO(start())
    target.seek(0, io.SEEK_END)
    chunks = [plain[at : at + CHUNK] for at in range(0, len(plain), CHUNK)] or [b""]
    sealer = ChunkSealer(target, KEY, NONCE)
    for number, chunk in enumerate(chunks, start=1):
        sealer.seal(memoryview(chunk), last=number == len(chunks))
    return target.getvalue()


def start() -> bytes:
    """Header and nonce."""
    return render([ALICE.recipient().wrap(KEY)], KEY) + NONCE


def armored(age: bytes) -> bytes:
    """`age` as strict PEM."""
    text = base64.b64encode(age)
    return b"\n".join([BEGIN, *(text[at : at + 64] for at in range(0, len(text), 64)), END, b""])


def refused(age: bytes) -> tuple[SealError, bytes]:
    """The error that opening raises, and what came out before."""
    target = io.BytesIO()
    with pytest.raises(SealError) as caught:
        decrypt(io.BytesIO(age), target, [ALICE])
    family = next(family for family in EXIT_CODES if isinstance(caught.value, family))
    assert caught.value.exit_code == EXIT_CODES[family]
    assert "\n" not in caught.value.message + caught.value.hint
    return caught.value, target.getvalue()


AGE = sealed()
HEADER_BYTES = len(AGE) - len(PLAIN) - 32


def flips(of: bytes, bits: range) -> Iterator[bytes]:
    """`of` with one bit changed, for every byte and the given bits."""
    for at in range(len(of)):
        for bit in bits:
            changed = bytearray(of)
            changed[at] ^= 1 << bit
            yield bytes(changed)


@pytest.mark.parametrize("bit", range(8))
def test_no_flipped_bit_is_accepted(bit: int) -> None:
    """All 8 x 1676 of them: nothing in the file is left uncovered."""
    for changed in flips(AGE, range(bit, bit + 1)):
        assert refused(changed)[1] == b""


@pytest.mark.parametrize("bit", [0, pytest.param(range(1, 8), marks=pytest.mark.slow)], ids=["one bit", "the others"])
def test_no_flipped_bit_in_the_armor_is_accepted(bit: int | range) -> None:
    """Outside the block only white space may stand, so there is one byte whose change may pass: the last line feed."""
    text = armored(AGE).rstrip(b"\n")
    for changed in flips(text, range(bit, bit + 1) if isinstance(bit, int) else bit):
        assert refused(changed)[1] == b""


def test_no_shorter_file_is_accepted() -> None:
    for count in range(len(AGE)):
        assert refused(AGE[:count])[1] == b""


@pytest.mark.parametrize(
    "more", [b"\0", b"\n", bytes(15), bytes(16), bytes(17), bytes(CHUNK), AGE[HEADER_BYTES + 16 :]]
)
def test_no_longer_file_is_accepted(more: bytes) -> None:
    error, released = refused(AGE + more)
    assert isinstance(error, BadPayload)
    assert released == b""


@pytest.mark.parametrize("chunks", [2, 3])
def test_a_file_cut_at_a_border_of_chunks_is_noticed_after_the_genuine_ones(chunks: int) -> None:
    plain = bytes(chunks * CHUNK)
    error, released = refused(sealed(plain)[: -(CHUNK + 16)])
    assert error.message == f"payload: cut short, the file ends behind chunk {chunks - 1}"
    assert released == plain[CHUNK:]


def test_a_reader_hands_nothing_out_of_the_chunk_behind_which_the_file_was_cut() -> None:
    """Else whoever reads as many bytes as the size of the file promises would never learn of the cut."""
    cut = sealed(b"x" * 2 * CHUNK)[: -(CHUNK + 16)]
    reader = AgeReader(io.BytesIO(cut), [ALICE], binary_bytes=len(cut))
    assert reader.plaintext_bytes == CHUNK
    for _ in range(3):
        with pytest.raises(BadPayload, match="ends behind chunk 1"):
            reader.read(CHUNK)
    assert bytes(reader._chunks._plain) == bytes(CHUNK)


def test_swapped_doubled_and_dropped_chunks_are_noticed() -> None:
    plain = b"".join(bytes([number]) * CHUNK for number in range(4))
    age = sealed(plain)
    begin, rest = age[: len(start())], age[len(start()) :]
    first, second, third, last = (rest[at : at + CHUNK + 16] for at in range(0, len(rest), CHUNK + 16))
    for order, good in [
        ([second, first, third, last], 0),
        ([first, third, second, last], 1),
        ([first, first, second, third, last], 1),
        ([first, second, last], 2),
        ([first, second, third, last, last], 4),
        ([first, second, third], 3),
        ([last], 0),
    ]:
        error, released = refused(begin + b"".join(order))
        assert isinstance(error, BadPayload)
        assert released == plain[: good * CHUNK]


def test_a_payload_of_another_file_is_noticed() -> None:
    target = io.BytesIO()
    encrypt(io.BytesIO(PLAIN), target, [ALICE.recipient()])
    other = target.getvalue()
    assert isinstance(refused(AGE[:HEADER_BYTES] + other[HEADER_BYTES:])[0], BadPayload)


@pytest.mark.parametrize("bad", [0, CHUNK - 1, CHUNK + 15])
def test_plaintext_that_failed_its_tag_is_cleared(bad: int) -> None:
    """`decrypt_into` leaves it in the buffer (measured): nobody finds it there afterwards."""
    age = bytearray(sealed(b"\xaa" * (CHUNK + 1)))
    age[len(start()) + bad] ^= 1
    intake = Intake(pouring(io.BytesIO(bytes(age[len(start()) :]))))
    chunks = ChunkOpener(intake, KEY, NONCE)
    with pytest.raises(BadPayload, match="changed or cut short in chunk 1"):
        chunks.next()
    assert bytes(chunks._plain) == bytes(CHUNK)


@pytest.mark.parametrize(
    ("sealed_bytes", "plain_bytes"),
    [
        (-1, None),
        (0, None),
        (15, None),
        (16, 0),
        (17, 1),
        (SEALED_CHUNK, CHUNK),
        (SEALED_CHUNK + 1, None),
        (SEALED_CHUNK + 16, None),
        (SEALED_CHUNK + 17, CHUNK + 1),
        (2 * SEALED_CHUNK, 2 * CHUNK),
        (2 * SEALED_CHUNK + 16, None),
        (2 * SEALED_CHUNK + 17, 2 * CHUNK + 1),
    ],
)
def test_a_payload_s_size_says_the_plaintext_s_or_that_it_is_cut(sealed_bytes: int, plain_bytes: int | None) -> None:
    if plain_bytes is None:
        with pytest.raises(BadPayload, match="no whole number of chunks"):
            plaintext_bytes(sealed_bytes)
    else:
        assert plaintext_bytes(sealed_bytes) == plain_bytes


def test_closing_clears_the_plaintext() -> None:
    reader = AgeReader(io.BytesIO(AGE), [ALICE])
    reader.read(1)
    assert PLAIN in bytes(reader._chunks._plain)
    reader.close()
    assert bytes(reader._chunks._plain) == bytes(CHUNK)


@given(st.data())
@settings(max_examples=300)
def test_no_mutation_is_accepted_and_none_escapes_our_errors(data: st.DataObject) -> None:
    """Pieces of a good file are cut out, repeated, moved and replaced."""
    age = bytearray(armored(AGE) if data.draw(st.booleans()) else AGE)
    original = bytes(age)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(age)))
        end = data.draw(st.integers(at, min(len(age), at + 100)))
        piece = data.draw(st.binary(max_size=20) | st.sampled_from([b"\n", b"-> ", b"---", b"\r\n", b" ", BEGIN, END]))
        age[at:end] = data.draw(st.sampled_from([piece, bytes(age[at:end]) * 2, bytes(age[:50])]))
    if bytes(age).strip(b" \t\r\n").replace(b"\r\n", b"\n") != original.strip(b"\n"):
        refused(bytes(age))


@given(st.binary(max_size=300))
@settings(max_examples=200)
def test_rubbish_behind_a_good_beginning_escapes_no_error_of_ours(rubbish: bytes) -> None:
    for begin in (b"", header.MAGIC, header.V1_LINE, header.V1_LINE + b"-> mlkem768x25519 ", BEGIN + b"\n"):
        refused(begin + rubbish)


HOSTILE = {
    "an endless version line": (header.MAGIC + b"v" * (4 << 20), "first line is damaged"),
    "an endless argument": (header.V1_LINE + b"-> " + b"x" * (4 << 20), "where a stanza or the MAC should begin"),
    "arguments without end": (header.V1_LINE + b"-> " + b"x " * (2 << 20), "where a stanza or the MAC should begin"),
    "a body without end": (
        header.V1_LINE + b"-> x\n" + (b"A" * 64 + b"\n") * (4 << 14),
        "inside a stanza, or too long",
    ),
    "too many stanzas": (header.V1_LINE + b"-> x\n\n" * (MOST_STANZAS + 1), "more than 1024 stanzas"),
    "no stanza": (header.V1_LINE + b"--- " + b"A" * 43 + b"\n", "no stanza"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_is_refused_within_the_caps(name: str) -> None:
    class Counted(io.BytesIO):
        taken = 0

        def readinto(self, buffer: object, /) -> int:
            count = super().readinto(buffer)  # type: ignore[arg-type]
            self.taken += count
            return count

    data, message = HOSTILE[name]
    source = Counted(data)
    with pytest.raises(BadHeader, match=message):
        decrypt(source, io.BytesIO(), [ALICE])
    assert source.taken <= header.MOST_BYTES + 4096


def test_a_last_line_of_a_stanza_may_not_be_long_even_under_a_good_mac() -> None:
    """48 + 3 bytes of body as one line of 68 characters would be a second spelling of the same stanza."""
    body = Stanza((b"x",), bytes(51)).render()
    joined = body.replace(b"A" * 64 + b"\n", b"A" * 64)
    assert len(joined) == len(body) - 1
    stanza = ALICE.recipient().wrap(KEY)
    good = render([stanza, Stanza((b"x",), bytes(51))], KEY)
    covered = good[: good.index(b"---") + 3].replace(body, joined)
    mac = base64.b64encode(header._hmac(KEY, covered).finalize()).rstrip(b"=")
    assert refused(covered + b" " + mac + b"\n" + NONCE)[0].message.endswith("has more than 64 characters")


@pytest.mark.parametrize("work", [b"21", b"99", b"4294967296", b"9" * 5000])
def test_a_passphrase_file_that_asks_for_too_much_work_is_refused_at_once(work: bytes) -> None:
    age = render([Stanza((b"scrypt", b"A" * 22, work), bytes(32))], KEY) + NONCE
    with pytest.raises(BadHeader, match=r"more than 2\^20 rounds"):
        decrypt(io.BytesIO(age), io.BytesIO(), [Passphrase(b"x")])


def test_a_passphrase_that_needs_more_memory_than_there_is_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def scarce(**_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(classical, "Scrypt", scarce)
    age = render([Stanza((b"scrypt", b"A" * 22, b"20"), bytes(32))], KEY) + NONCE
    with pytest.raises(Refused, match="its passphrase needs 1024 MiB of memory"):
        decrypt(io.BytesIO(age), io.BytesIO(), [Passphrase(b"x")])


def test_a_header_that_was_changed_by_someone_who_knows_no_key_fails_its_mac() -> None:
    """A stanza more, for the attacker: the file key opens, and the MAC tells."""
    extra = HybridIdentity(bytes(32)).recipient().wrap(b"x" * 16)
    age = AGE.replace(b"\n---", b"\n" + extra.render() + b"---", 1)
    assert isinstance(refused(age)[0], BadMac)


def test_a_wrong_passphrase_and_no_passphrase_say_so() -> None:
    age = render([Stanza((b"scrypt", b"A" * 22, b"1"), bytes(32))], KEY) + NONCE
    with pytest.raises(WrongKey, match="the passphrase does not fit"):
        decrypt(io.BytesIO(age), io.BytesIO(), [Passphrase(b"wrong")])
    with pytest.raises(WrongKey, match="a passphrase opens it"):
        decrypt(io.BytesIO(age), io.BytesIO(), [ALICE, X25519Identity(bytes(32))])


@pytest.mark.parametrize(
    ("begin", "kind"),
    [
        (b"", NotAge),
        (b"\x80\x00\x00\x00\x00\x00\x00\x00{}", NotAge),
        (b"PK\x03\x04", NotAge),
        (b"age-encryption.org/v2\n-> X25519 x\n", NotAge),
        (b"age-encryption.org/v1", BadHeader),
        (b"age-encryption.org/v1\r\n", BadHeader),
        (b"age-enc", BadHeader),
        (b"\n" * 1024 + BEGIN, NotAge),
        (b"\n" * 1000 + BEGIN, BadArmor),
        (b"-----BEGIN CERTIFICATE-----\n", BadArmor),
        (b"hello\n" + BEGIN + b"\n", BadArmor),
    ],
)
def test_what_is_no_age_file_is_told_from_a_damaged_one(begin: bytes, kind: type[SealError]) -> None:
    assert type(refused(begin)[0]) is kind


@pytest.mark.parametrize("blank", [b"", b"\n", b" \r\n\t" * 200])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_good_armor_opens_with_white_space_around_it(blank: bytes, line_end: bytes) -> None:
    target = io.BytesIO()
    decrypt(io.BytesIO(blank + armored(AGE).replace(b"\n", line_end) + blank), target, [ALICE])
    assert target.getvalue() == PLAIN


@pytest.mark.parametrize(("count", "good"), [(1024, True), (1025, False)])
def test_white_space_behind_the_armor_is_limited(count: int, good: bool) -> None:
    text, target = armored(AGE) + b" " * count, io.BytesIO()
    if good:
        decrypt(io.BytesIO(text), target, [ALICE])
        assert target.getvalue() == PLAIN
    else:
        assert refused(text)[0].message == "the armor is followed by other data"


@pytest.mark.parametrize(("code", "good"), [(0x20, False), (0x21, True), (0x7E, True), (0x7F, False), (0xE9, False)])
def test_arguments_hold_visible_ascii_alone(code: int, good: bool) -> None:
    age = render([ALICE.recipient().wrap(KEY), Stanza((b"x", bytes([code])), b"")], KEY) + AGE[HEADER_BYTES:]
    if good:
        assert AgeReader(io.BytesIO(age), [ALICE]).readall() == PLAIN
    else:
        assert isinstance(refused(age)[0], BadHeader)


def test_damaged_armor_stays_damaged_at_every_further_read() -> None:
    text = armored(sealed(b"x" * 3 * CHUNK))
    at = text.index(b"\n", len(text) // 2) + 1
    reader = AgeReader(io.BytesIO(text[:at] + b"*" + text[at + 1 :]), [ALICE])
    for _ in range(3):
        with pytest.raises(BadArmor, match=r"line \d+ of the armor: it is not canonical base64"):
            reader.readall()
    assert bytes(reader._chunks._plain) == bytes(CHUNK)


def test_an_error_names_the_file_once() -> None:
    with pytest.raises(NotAge, match=r"^weights\.age: not an age file$"):
        AgeReader(io.BytesIO(b"PK"), [ALICE], name="weights.age")
