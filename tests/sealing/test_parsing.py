"""What the format lets through and what not, part by part: canonical JSON, core, preamble, slots, safetensors."""

import json
import struct
import time
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from harden.errors import ConfigError, SealError
from harden.sealing import canonical, open_sealed
from harden.sealing import core as cores
from harden.sealing import layout as layouts
from harden.sealing import slots as slots_of
from harden.sealing.core import Core, Facts
from harden.sealing.errors import Damaged, NotSealed, UnknownVersion
from harden.sealing.layout import Preamble
from harden.sealing.slots import ENTRY, HEADER, Entry
from harden.sealing.suites import CNSA, HYBRID
from harden.sealing.tensors import contents_of

PLAIN = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters='"\\'), max_size=20)
VALUES = st.recursive(PLAIN | st.integers(0, 2**53 - 1), lambda below: st.dictionaries(PLAIN, below, max_size=3))
SOUND = {
    "created": 1,
    "epoch": 1,
    "file_id": "0" * 32,
    "format": "bytes",
    "metadata": {"round": "1"},
    "model_id": "m",
    "parent": "",
    "plaintext_bytes": 5,
    "signer": "",
}


@given(st.dictionaries(PLAIN, VALUES, max_size=5))
def test_canonical_json_comes_back(value: dict[str, Any]) -> None:
    try:
        text = canonical.encode(value)
    except ValueError:  # nested deeper than anything here is
        return
    assert canonical.decode(text) == value
    assert json.loads(text) == value


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"1",
        b'{"a":1,"a":1}',
        b'{"b":1,"a":1}',
        b'{ "a":1}',
        b'{"a":1} ',
        b'{"a":1.0}',
        b'{"a":1e3}',
        b'{"a":-1}',
        b'{"a":01}',
        b'{"a":NaN}',
        b'{"a":true}',
        b'{"a":null}',
        b'{"a":[1]}',
        b'{"a":"\\u0041"}',
        b'{"a":"\\/"}',
        b'{"a":"\xc3\xa9"}',
        b'{"a":"\x7f"}',
        b'{"a":9007199254740992}',
        b"[" * 65_536,
        b'{"a":' * 10_000,
        b"\xef\xbb\xbf{}",
    ],
)
def test_other_spellings_are_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"canonical|deep|ascii|JSON|line 1"):
        canonical.decode(text)


def test_sixty_four_kilobytes_of_hostile_json_are_refused_at_once() -> None:
    began = time.perf_counter()
    for text in (b"[" * 65_536, b'{"a":' * 13_000, b"9" * 65_536, b'{"a":"' + b"x" * 65_000):
        with pytest.raises(Damaged):
            cores.decode(text, "f")
    assert time.perf_counter() - began < 1


def test_a_core_has_all_of_its_fields_and_no_others() -> None:
    assert cores.decode(canonical.encode(SOUND), "f").facts == Facts("m", metadata={"round": "1"})
    for name in SOUND:
        with pytest.raises(Damaged, match="exactly the fields"):
            cores.decode(canonical.encode({key: one for key, one in SOUND.items() if key != name}), "f")
    with pytest.raises(Damaged, match="exactly the fields"):
        cores.decode(canonical.encode(SOUND | {"more": 1}), "f")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("created", "1"),
        ("epoch", 0),
        ("epoch", "1"),
        ("file_id", "0" * 31),
        ("file_id", "A" * 32),
        ("format", "pickle"),
        ("metadata", "none"),
        ("metadata", {"": "x"}),
        ("metadata", {"a": 1}),
        ("metadata", {"a": {"b": "c"}}),
        ("metadata", {"a": "x" * 1025}),
        ("metadata", {f"k{n}": "" for n in range(33)}),
        ("model_id", ""),
        ("model_id", 1),
        ("model_id", "x" * 1025),
        ("parent", "00"),
        ("parent", "0" * 127 + "G"),
        ("plaintext_bytes", 2**41),
        ("plaintext_bytes", "5"),
        ("signer", "0" * 63),
        ("signer", "0" * 128),
    ],
)
def test_a_core_with_a_wrong_value_is_damaged(name: str, value: Any) -> None:
    with pytest.raises(Damaged, match=f"wrong {name}"):
        cores.decode(canonical.encode(SOUND | {name: value}), "f")


@pytest.mark.parametrize("facts", [{"model_id": ""}, {"epoch": 0}, {"parent": "x"}, {"metadata": {"a": 'b"'}}])
def test_facts_that_cannot_be_sealed_are_refused_in_python(facts: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(facts))):
        Facts(**({"model_id": "m"} | facts))


def test_metadata_that_outgrows_a_core_is_refused() -> None:
    facts = Facts("m", metadata={str(n): "x" * 1024 for n in range(32)})
    core = Core(facts, created=1, file_id="0" * 32, format="bytes", plaintext_bytes=1, signer="")
    assert cores.decode(core.encode(), "f") == core
    with pytest.raises(ConfigError, match="at most 65536 fit"):
        Core(Facts("m", metadata={f"{n:01024}": "x" * 1024 for n in range(32)}), 1, "0" * 32, "bytes", 1, "").encode()


SOUND_PREAMBLE = Preamble(HYBRID, 100, 2560).encode()


@pytest.mark.parametrize(
    ("at", "patch", "error"),
    [
        (0, b"\x88", NotSealed),
        (4, b"\n", NotSealed),
        (8, b"\0\0", UnknownVersion),
        (8, b"\0\2", UnknownVersion),
        (10, b"\0\0", UnknownVersion),
        (10, b"\0\3", UnknownVersion),
        (10, b"\0\x10", UnknownVersion),
        (12, bytes(4), Damaged),
        (12, struct.pack(">I", 65_537), Damaged),
        (16, struct.pack(">I", 1024), Damaged),
        (16, struct.pack(">I", 2561), Damaged),
        (16, struct.pack(">I", 262_144 + 512), Damaged),
        (20, b"\0\0\0\1", Damaged),
        (24, b"\x80", Damaged),
    ],
)
def test_a_wrong_preamble_is_refused(at: int, patch: bytes, error: type[SealError]) -> None:
    assert layouts.decode(SOUND_PREAMBLE, "f") == Preamble(HYBRID, 100, 2560)
    with pytest.raises(error, match=r"^f: "):
        layouts.decode(SOUND_PREAMBLE[:at] + patch + SOUND_PREAMBLE[at + len(patch) :], "f")


@pytest.mark.parametrize("length", [8, 20, 31])
def test_a_preamble_that_is_cut_off_is_damaged(length: int) -> None:
    with pytest.raises(Damaged, match=f"{length} of 32 bytes"):
        layouts.decode(SOUND_PREAMBLE[:length], "f")


def test_the_largest_slot_holds_128_recipients() -> None:
    for suite in (HYBRID, CNSA):
        used = slots_of.used_by([Entry(1, bytes(suite.kem.blob))] * 128)
        assert layouts.is_slot_len(layouts.slot_len_for(used))
    with pytest.raises(ConfigError, match="a slot holds 262144"):
        layouts.slot_len_for(262_145)


def slot(
    *entries: bytes, generation: int = 1, count: int | None = None, mark: int = 0, zeros: int = 0, filler: bytes = b""
) -> bytes:
    """A slot of 8192 bytes made by hand."""
    head = HEADER.pack(generation, len(entries) if count is None else count, mark, zeros, 0)
    return (head + b"".join(entries) + filler).ljust(8192 - 64, b"\0") + bytes(64)


def entry(kind: int, length: int, zero: int = 0) -> bytes:
    """An entry made by hand."""
    return ENTRY.pack(kind, zero, length) + b"b" * length


@pytest.mark.parametrize(
    "data",
    [
        slot(),
        slot(entry(1, 1168), generation=0),
        slot(entry(1, 1168), generation=2**63 + 1),
        slot(entry(1, 1168), zeros=1),
        slot(entry(1, 1168), mark=1),
        slot(entry(1, 1168), mark=0xFE),
        slot(entry(1, 1168), count=129),
        slot(entry(1, 1168), count=2),
        slot(entry(1, 1167)),
        slot(entry(1, 1169)),
        slot(entry(1, 1616)),
        slot(entry(1, 1168, zero=1)),
        slot(entry(2, 75)),
        slot(entry(2, 77)),
        slot(entry(2, 76), entry(2, 76)),
        slot(entry(2, 76), entry(1, 1168)),
        slot(entry(3, 0)),
        slot(entry(0, 10)),
        slot(entry(5, 10)),
        slot(entry(1, 1168), filler=b"x"),
        slot(ENTRY.pack(3, 0, 8192)),
        slot(*[entry(1, 1168)] * 6, ENTRY.pack(1, 0, 1168)),
    ],
)
def test_a_slot_that_nobody_can_have_written_is_damaged(data: bytes) -> None:
    with pytest.raises(Damaged):
        slots_of.decode(data[:-64].ljust(8128, b"\0")[:8128] + bytes(64), HYBRID, "f: slot A")


def test_entries_of_reserved_types_are_read_and_left_to_their_adapters() -> None:
    found = slots_of.decode(slot(entry(3, 7), entry(4, 4000), entry(1, 1168)), HYBRID, "f")
    assert found is not None
    assert [(one.kind, len(one.blob)) for one in found.entries] == [(3, 7), (4, 4000), (1, 1168)]


def test_a_slot_holds_its_suites_blobs_alone() -> None:
    assert slots_of.decode(slot(entry(1, 1616)), CNSA, "f") is not None
    with pytest.raises(Damaged):
        slots_of.decode(slot(entry(1, 1168)), CNSA, "f")


def safetensors_file(header: Any, data: bytes = b"") -> bytes:
    """A safetensors file made by hand; `header` as bytes is taken as it is."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def tensor(dtype: str = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    """The entry of a tensor."""
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


FILES: dict[str, bytes] = {
    "empty": safetensors_file({}),
    "one": safetensors_file({"a": tensor()}, bytes(8)),
    "padded": safetensors_file(json.dumps({"a": tensor()}).encode() + b"   ", bytes(8)),
    "metadata": safetensors_file({"__metadata__": {"k": "v"}, "a": tensor()}, bytes(8)),
    "metadata null": safetensors_file({"__metadata__": None, "a": tensor()}, bytes(8)),
    "metadata number": safetensors_file({"__metadata__": {"k": 1}, "a": tensor()}, bytes(8)),
    "metadata list": safetensors_file({"__metadata__": [], "a": tensor()}, bytes(8)),
    "two": safetensors_file({"a": tensor(), "b": tensor("U8", (3,), (8, 11))}, bytes(11)),
    "two, other order": safetensors_file({"b": tensor("U8", (3,), (8, 11)), "a": tensor()}, bytes(11)),
    "no numbers": safetensors_file({"a": tensor(shape=(0, 5), offsets=(0, 0))}),
    "a number": safetensors_file({"a": tensor(shape=(), offsets=(0, 4))}, bytes(4)),
    "unicode": safetensors_file({"\u00e9": tensor()}, bytes(8)),
    "gap": safetensors_file({"a": tensor(), "b": tensor("U8", (3,), (9, 12))}, bytes(12)),
    "overlap": safetensors_file({"a": tensor(), "b": tensor("U8", (3,), (7, 10))}, bytes(10)),
    "twice the same": safetensors_file({"a": tensor(), "b": tensor()}, bytes(8)),
    "more behind": safetensors_file({"a": tensor()}, bytes(9)),
    "cut off": safetensors_file({"a": tensor()}, bytes(7)),
    "begins late": safetensors_file({"a": tensor(offsets=(4, 12))}, bytes(12)),
    "backwards": safetensors_file({"a": tensor(offsets=(8, 0))}, bytes(8)),
    "negative": safetensors_file({"a": tensor(offsets=(-8, 0))}, bytes(8)),
    "shape lies": safetensors_file({"a": tensor(shape=(3,))}, bytes(8)),
    "shape huge": safetensors_file({"a": tensor(shape=(2**62, 2**62))}, bytes(8)),
    "shape huge and nothing": safetensors_file({"a": tensor(shape=(2**62, 2**62, 0), offsets=(0, 0))}),
    "nothing and shape huge": safetensors_file({"a": tensor(shape=(0, 2**62, 2**62), offsets=(0, 0))}),
    "shape negative": safetensors_file({"a": tensor(shape=(-2,))}, bytes(8)),
    "shape float": safetensors_file({"a": tensor(shape=(2.0,))}, bytes(8)),
    "shape bool": safetensors_file({"a": tensor("F64", shape=(True,))}, bytes(8)),
    "unknown type": safetensors_file({"a": tensor("F99")}, bytes(8)),
    "lower-case type": safetensors_file({"a": tensor("f32")}, bytes(8)),
    "four bits": safetensors_file({"a": tensor("F4", (16,))}, bytes(8)),
    "half a byte": safetensors_file({"a": tensor("F4", (15,))}, bytes(8)),
    "no shape": safetensors_file({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, bytes(8)),
    "extra field": safetensors_file({"a": tensor() | {"x": 1}}, bytes(8)),
    "no object": safetensors_file({"a": 1}, bytes(8)),
    "a list": safetensors_file(b"[]"),
    "nan": safetensors_file(b'{"a":NaN}'),
    "no JSON": safetensors_file(b"{"),
    "no UTF-8": safetensors_file(b'{"\xff":1}'),
    "begins with a space": safetensors_file(b" {}"),
    "twice": safetensors_file(
        b'{"a":' + json.dumps(tensor()).encode() + b',"a":' + json.dumps(tensor()).encode() + b"}", bytes(8)
    ),
    "too long": (2**63).to_bytes(8, "little") + b"{}",
    "short": b"\0\0\0",
    "nothing": b"",
    "header beyond": (100).to_bytes(8, "little") + b"{}",
}
deserialize: Any = safetensors.deserialize
STRICTER = {"twice", "extra field", "metadata null", "begins with a space"}
"""Here this reader may refuse what the library lets through: a name that stands twice, a field that nobody knows."""


@pytest.mark.parametrize("name", FILES)
def test_tensors_are_found_where_the_library_finds_them(name: str) -> None:
    data = FILES[name]
    theirs: set[str] | None
    try:
        theirs = set(dict(deserialize(data)))
    except (safetensors.SafetensorError, OverflowError):
        theirs = None
    try:
        ours = set(contents_of(lambda at, length: data[at : at + length], len(data), "f").places)
    except Damaged:
        ours = None
    if name in STRICTER and ours is None:
        return
    assert ours == theirs


DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int8, torch.uint8, torch.bool]


def test_tensors_of_every_type_come_out_one_by_one(cast: Any, tmp_path: Path) -> None:
    wanted = {f"t{n}": torch.ones(n, 3).to(dtype) for n, dtype in enumerate(DTYPES)}
    wanted |= {"scalar": torch.tensor(3.0), "none": torch.zeros(0, 4)}
    cast.seal(safetensors.torch.save(wanted, {"k": "v"}), tmp_path / "f")
    with open_sealed(tmp_path / "f", cast.identities["alice"], trust=cast.trust) as tensors:
        assert set(tensors) == set(wanted)
        assert len(tensors) == len(wanted)
        assert tensors.metadata == {"k": "v"}
        for name, value in wanted.items():
            found = tensors[name]
            assert found.shape == tuple(value.shape)
            assert found.data.nbytes == value.numel() * value.element_size()
            if found.data.nbytes:
                torch.testing.assert_close(torch.frombuffer(found.data, dtype=value.dtype).view(value.shape), value)
        with pytest.raises(KeyError):
            tensors["other"]
    with pytest.raises(ValueError, match="is closed"):
        tensors["scalar"]


def test_a_file_of_bytes_has_no_tensors(cast: Any, tmp_path: Path) -> None:
    cast.seal(b"no tensors", tmp_path / "f")
    with pytest.raises(Damaged, match="holds bytes, wanted safetensors"):
        open_sealed(tmp_path / "f", cast.identities["alice"], trust=cast.trust)


def test_a_tensor_is_as_good_as_its_own_bytes(cast: Any, tmp_path: Path) -> None:
    """A flipped bit far from a tensor is not its matter; one inside it is."""
    wanted = {name: torch.randn(512, 1024) for name in "abc"}
    data = bytearray(cast.seal(safetensors.torch.save(wanted), tmp_path / "f"))
    data[len(data) // 2] ^= 1
    (tmp_path / "f").write_bytes(data)
    with open_sealed(tmp_path / "f", cast.identities["alice"], trust=cast.trust) as tensors:
        for name in "ac":
            torch.testing.assert_close(
                torch.frombuffer(tensors[name].data, dtype=torch.float32).view(512, 1024), wanted[name]
            )
        with pytest.raises(Damaged, match="is not what the hash list says"):
            tensors["b"]


def test_asking_whether_a_tensor_is_there_decrypts_nothing(cast: Any, tmp_path: Path, monkeypatch: Any) -> None:
    cast.seal(safetensors.torch.save({"a": torch.ones(9)}), tmp_path / "f")
    with open_sealed(tmp_path / "f", cast.identities["alice"], trust=cast.trust) as tensors:
        monkeypatch.setattr(tensors, "_read", None)
        assert "a" in tensors
        assert "b" not in tensors
    with pytest.raises(ValueError, match="is closed"):
        tensors.pieces()
