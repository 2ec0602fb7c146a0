"""By brute force: flips, cuts, swaps and mutations. None is accepted, none crashes, and only a SealError leaves.

    HARDEN_MUTATIONS=100000    how many mutations there are in all, over five ways to read a file; 3000 without it
    HARDEN_SEED=5              their seed
    HARDEN_EVERY=1             every bit and every pair of chunks; without it one bit of most bytes, and some pairs

What comes out before an error is compared with what was sealed: nothing else may ever be released.
"""

import hashlib
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from harden.errors import SealError
from harden.sealing import Change, inspect, open_sealed, rewrap, verify
from harden.sealing.heads import opened, read_head
from harden.sealing.layout import CHUNK, SEALED_CHUNK, Layout
from harden.sealing.opening import unlocked
from harden.sealing.slots import MARK_AT, WRITING

COUNT = int(os.environ.get("HARDEN_MUTATIONS") or 3000)
SEED = int(os.environ.get("HARDEN_SEED") or 5)
EVERY = bool(os.environ.get("HARDEN_EVERY"))
TENSORS = {"a": torch.arange(9000.0), "b": torch.ones(3, 7, dtype=torch.float16), "c": torch.zeros(0)}
RAW = {name: bytes(tensor.numpy().tobytes()) for name, tensor in TENSORS.items()}

Reading = Callable[[str], object]
"""Reads the file at a path, to the end; AssertionError where it releases what nobody sealed."""


@dataclass(frozen=True)
class Way:
    """A way to read a file: what the file is, how it is read, and which changed files are none of its business."""

    data: bytes
    layout: Layout
    handle: int
    read: Reading
    passes: Callable[[bytes, "Way"], bool]

    def accepts(self, data: bytes) -> bool:
        """Whether the file with these bytes is read without complaint."""
        os.ftruncate(self.handle, 0)
        os.pwrite(self.handle, data, 0)
        return not self.complaint()

    def complaint(self) -> str:
        """What reading says; nothing if it goes well."""
        path, said = f"/proc/self/fd/{self.handle}", ""
        try:
            self.read(path)
        except SealError as error:
            said = error.message
        assert not said or (said.startswith(f"{path}: ") and "\n" not in said)
        return said

    def outside(self, data: bytes) -> bytes:
        """The bytes of a file without its slots."""
        return data[: self.layout.slots] + data[self.layout.payload :]


def half_written(data: bytes, way: Way) -> bool:
    """One slot is marked as being written, the rest is whole: what a killed rewrap leaves, which opens as before."""
    starts = (way.layout.slots, way.layout.slots + way.layout.slot_len)
    marks = [data[at + MARK_AT : at + MARK_AT + 1] for at in starts]
    whole = [data[at : at + way.layout.slot_len] == way.data[at : at + way.layout.slot_len] for at in starts]
    return way.outside(data) == way.outside(way.data) and any(whole) and bytes([WRITING]) in marks


def slots_alone(data: bytes, way: Way) -> bool:
    """Nothing but slots differs: without a key nobody can judge their tags."""
    return way.outside(data) == way.outside(way.data)


def reading(cast: Any, trust: Any, plain: bytes) -> Reading:
    """From end to end, as it is unsealed."""

    def read(path: str) -> None:
        out = b""
        try:
            with opened(Path(path)) as handle:
                found = unlocked(handle, path, cast.identities["alice"], trust, cast.provider)
                for piece in found.payload.pieces():
                    out += piece
        finally:
            assert plain.startswith(out), "plaintext that nobody sealed was released"
        assert out == plain

    return read


def by_name(cast: Any) -> Reading:
    """Tensor by tensor."""

    def read(path: str) -> None:
        with open_sealed(path, cast.identities["alice"], trust=None) as tensors:
            assert tensors.keys() == RAW.keys()
            assert all(bytes(tensors[name].data) == RAW[name] for name in tensors)

    return read


def rewrapping(cast: Any, plain: bytes) -> Reading:
    """Through a rewrap, which mends what may be mended: what it leaves opens to what was sealed, or does not open."""
    read = reading(cast, cast.trust, plain)

    def change(path: str) -> None:
        rewrap(Path(path), cast.identities["alice"], Change(add=[cast.recipients["carol"]]), trust=cast.trust)
        read(path)

    return change


WAYS = {"signed": half_written, "unsigned": half_written, "tensors": half_written, "verify": slots_alone}
WAYS |= {"rewrap": slots_alone}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, cast: Any, tmp_path: Path, memory: Any) -> Iterator[Way]:
    """Each way to read a file, and a file for it: one chunk where it is signed, two where tags alone protect it."""
    name = request.param
    plain = random.Random(0).randbytes(500 if name in ("signed", "verify", "rewrap") else CHUNK + 77)
    signer = cast.signers["acme"] if name in ("signed", "verify", "rewrap") else None
    if name == "tensors":
        plain = safetensors.torch.save(TENSORS)
    data = cast.seal(plain, tmp_path / "f", signer=signer)
    reads: dict[str, Reading] = {
        "signed": reading(cast, cast.trust, plain),
        "unsigned": reading(cast, None, plain),
        "tensors": by_name(cast),
        "verify": lambda path: verify(Path(path), cast.trust),
        "rewrap": rewrapping(cast, plain),
    }
    with memory(data) as handle, opened(tmp_path / "f") as file:
        yield Way(data, read_head(file, "f").layout, handle, reads[name], WAYS[name])


def wrongly_accepted(way: Way, changed: Iterator[tuple[Any, bytes]]) -> list[Any]:
    """The names of the changed files that are read without complaint, though they should not be."""
    return [name for name, data in changed if data != way.data and way.accepts(data) and not way.passes(data, way)]


def test_the_unchanged_file_is_read(way: Way) -> None:
    assert way.accepts(way.data)


def some(way: Way) -> Iterator[int]:
    """Most bytes of a file: of a long payload fewer, and of the slow way to read one."""
    payload = range(way.layout.payload + 256, way.layout.payload + way.layout.payload_len - 256)
    step = 5 if way.passes is slots_alone else 1
    return (at for at in range(len(way.data)) if at % (15 if at in payload else step) == 0)


def test_flipped_bits_are_noticed(way: Way) -> None:
    """Every bit of every byte, or one that differs from byte to byte."""

    def flips() -> Iterator[tuple[Any, bytes]]:
        for at in range(len(way.data)) if EVERY else some(way):
            for bit in range(8) if EVERY else (at % 8,):
                flip = way.data[at] ^ 1 << bit
                yield (at, bit), way.data[:at] + bytes([flip]) + way.data[at + 1 :]

    assert wrongly_accepted(way, flips()) == []


def test_every_truncation_is_noticed(way: Way) -> None:
    assert wrongly_accepted(way, ((length, way.data[:length]) for length in range(len(way.data)))) == []


@pytest.mark.parametrize("extra", [1, 16, 32, 511, 512, 4096])
def test_appended_bytes_are_noticed(extra: int, way: Way) -> None:
    fillers = (bytes(extra), way.data[-extra:], way.data[:extra])
    assert wrongly_accepted(way, ((number, way.data + one) for number, one in enumerate(fillers))) == []


def test_mutations_are_noticed(way: Way) -> None:
    """Mutations that know the layout: fields set to edge values, parts moved, doubled, zeroed, cut, spliced."""

    def mutations() -> Iterator[tuple[Any, bytes]]:
        for number in range(COUNT // len(WAYS)):
            yield number, mutation(random.Random(f"{SEED} {number}"), way.data, way.layout)

    assert wrongly_accepted(way, mutations()) == []


def test_a_mutated_file_can_be_looked_at(way: Way) -> None:
    """`inspect` believes what it reads, and never trips over it."""
    looking = replace(way, read=lambda path: inspect(Path(path)))
    for number in range(COUNT // 10):
        looking.accepts(mutation(random.Random(f"{SEED} {number} inspect"), way.data, way.layout))


def test_chunks_that_are_swapped_or_doubled_are_noticed(cast: Any, tmp_path: Path, memory: Any) -> None:
    """By the hash list; and by their tags, where a recipient of an unsigned file mends the list."""
    many = 64
    plain = random.Random(0).randbytes(many * CHUNK + 9)
    data = cast.seal(plain, tmp_path / "f", signer=None)
    with memory(data) as handle, opened(tmp_path / "f") as file:
        layout = read_head(file, "f").layout
        way = Way(data, layout, handle, reading(cast, None, plain), half_written)
        pairs = list(combinations(range(many), 2))

        def changed() -> Iterator[tuple[Any, bytes]]:
            for first, second in pairs if EVERY else random.Random(3).sample(pairs, 40):
                for one, other in ((second, first), (first, first), (second, second)):
                    out = bytearray(data)
                    for place, source in ((first, one), (second, other)):
                        out[slice(*_chunk(layout, place))] = data[slice(*_chunk(layout, source))]
                    yield (one, other), bytes(out)
                    yield (one, other, "mended"), mended(out, layout)

        assert wrongly_accepted(way, changed()) == []


def _chunk(layout: Layout, number: int) -> tuple[int, int]:
    start = layout.payload + 56 + number * SEALED_CHUNK
    return start, start + SEALED_CHUNK


def mended(out: bytearray, layout: Layout) -> bytes:
    """`out` with the hash list that its payload has."""
    end = layout.payload + layout.payload_len
    parts = [out[at : min(at + 2**20, end)] for at in range(layout.payload, end, 2**20)]
    out[end : end + layout.list_len] = b"".join(hashlib.sha256(b"\0" + part).digest() for part in parts)
    return bytes(out)


def mutation(rng: random.Random, data: bytes, layout: Layout) -> bytes:
    """One to three changes of `data` at places that mean something; now and then with a hash list that fits again."""
    end = layout.payload + layout.payload_len
    second = layout.slots + layout.slot_len
    bounds = [0, 8, 10, 12, 16, 20, 24, 32, layout.slots, layout.slots + 8, layout.slots + 16, layout.slots + 24]
    bounds += [second - 64, second, second + 8, second + 10, second + 16, layout.payload - 64]
    bounds += [layout.payload, layout.payload + 24, layout.payload + 56, end, layout.signature, layout.size]
    bounds += [layout.signature + 3309] if layout.signature_len else []
    kinds: list[Callable[[bytearray], None]] = [
        lambda out: _set(out, rng.choice(bounds[:-1]), rng.choice(EDGES)),
        lambda out: _set(out, rng.randrange(len(data)), rng.randbytes(rng.choice([1, 2, 4, 8, 32]))),
        lambda out: _set(out, rng.choice(bounds[:-1]), _piece(rng, data, bounds)),
        lambda out: _splice(out, rng.choice(bounds), rng.choice(bounds), b""),
        lambda out: _splice(out, at := rng.choice(bounds), at, _piece(rng, data, bounds)),
        lambda out: _set(out, 32 + rng.randrange(300), rng.choice(JSON_BITS)),
        lambda out: _set(out, 32 + rng.randrange(300), str(rng.randrange(10)).encode()),
        lambda out: _set(out, rng.choice([layout.slots, second]) + rng.randrange(24 + 1200), rng.choice(EDGES)),
        lambda out: _set(out, rng.randrange(layout.payload, end), rng.randbytes(rng.choice([1, 16, 200]))),
    ]
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 3])):
        rng.choice(kinds)(out)
    if len(out) == len(data) and rng.random() < 0.3:
        return mended(out, layout)
    return bytes(out)


EDGES = [b"\0", b"\0\0", b"\1", b"\xff", b"\xff\xff", b"\xff" * 4, b"\xff" * 8, bytes(8), b"\x7f" + b"\xff" * 7]
EDGES += [b"\0\1", b"\0\2", b"\0\3", b"\0\x10", bytes(3) + b"\1", b"\0\0\6\0", b"\0\1\0\0", b"\x80" + bytes(7)]
JSON_BITS = [b'"', b"\\", b"{", b"}", b"[[[[", b",", b":", b" ", b"0", b"9", b"e9", b"NaN", b"\0", b"\xc3\xa9", b"\n"]


def _set(out: bytearray, at: int, piece: bytes) -> None:
    out[at : at + len(piece)] = piece


def _splice(out: bytearray, first: int, second: int, piece: bytes) -> None:
    start, stop = sorted((first, second))
    out[start:stop] = piece


def _piece(rng: random.Random, data: bytes, bounds: list[int]) -> bytes:
    start, stop = sorted(rng.sample(bounds, 2))
    return data[start:stop]


def test_a_reader_that_is_left_in_the_middle_clears_what_it_decrypted(cast: Any, tmp_path: Path, memory: Any) -> None:
    """Its buffer is used again for each piece, and holds nothing once nobody asks for the next."""
    data = cast.seal(b"\xaa" * 6 * 2**20, tmp_path / "f")
    with memory(data) as handle:
        found = unlocked(handle, "f", cast.identities["alice"], cast.trust, cast.provider)
        pieces: Any = found.payload.pieces()
        piece = next(pieces)
        assert bytes(piece[:9]) == b"\xaa" * 9
        pieces.close()
        assert not any(piece)
