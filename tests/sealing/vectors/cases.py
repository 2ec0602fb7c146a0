"""Files that a reader of docs/sealed-format.md must accept or refuse, each with the class of the error.

    python -m tests.sealing.vectors.cases        # in the checkout; writes cases.json.xz beside this file

A new run gives new bytes, as encapsulation and ML-DSA are random; the file in the repository is what was agreed upon.
"""

import hashlib
import json
import lzma
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.sealing.vectors.edits import Edit, append, both, copy, cut, flip, mended, put, swap, with_part
from tests.sealing.vectors.writer import FILE_KEY, PASSPHRASE, SEEDS, Entries, File, boxed, info, signer_id, wrapped

Case = tuple[str, File, Edit | None, dict[str, Any]]
"""Name, file, change, and how it is opened: identity, trust, expect (a class of error, or nothing for accepted)."""

BARE = File(to=("alice",), signer="")
"""As small as a file can be, and opened without asking for its origin: for what has nothing to do with signatures."""

MANY = [f"k{number}" for number in range(33)]

ABSURD = [(2**20 + 1, 1, 1), (2**32 - 1, 1, 1), (0, 1, 1), (64, 11, 1), (64, 0, 1), (64, 1, 0), (64, 1, 17), (31, 1, 4)]
"""Costs of a passphrase beyond the bounds: KiB, iterations, lanes."""


def case(name: str, file: File, expect: str = "", edit: Edit | None = None, **how: Any) -> Case:
    """A case; opened by alice, who trusts acme, unless `how` says otherwise."""
    return name, file, edit, {"identity": "alice", "trust": "acme", "expect": expect} | how


def bare(name: str, expect: str = "", edit: Edit | None = None, **fields: Any) -> Case:
    """A case of a bare file with other fields."""
    return case(name, replace(BARE, **fields), expect, edit, trust=None)


def accepted() -> Iterator[Case]:
    """Files that open."""
    for suite in (1, 2):
        for length in (0, 1, 5, 255, 16_383, 16_384, 16_385, 32_768):
            yield case(f"suite {suite}, {length} bytes", File(bytes(length), suite=suite))
        for who in ("alice", "bob"):
            yield case(f"suite {suite}, opened by {who}", File(suite=suite), identity=who)
        yield case(f"suite {suite}, for one", File(suite=suite, to=("alice",)))
        yield case(f"suite {suite}, unsigned, origin not asked", File(suite=suite, signer=""), trust=None)
        yield case(f"suite {suite}, signed, origin not asked", File(suite=suite), trust=None)
        yield case(f"suite {suite}, a stranger's, origin not asked", File(suite=suite, signer="mallory"), trust=None)
    yield from accepted_slots()
    for name, core in CORES.items():
        yield bare(name, core=core)
    for extra in range(0, 520, 40):  # the end of the core on both sides of a block
        yield bare(f"a core {extra} bytes longer", core={"metadata": {"k": "v" * extra}})


CORES: dict[str, dict[str, Any]] = {
    "a long model id": {"model_id": "m" * 1024},
    "a model id with spaces and signs": {"model_id": " !#$%&'()*+,-./:;<=>?@[]^_`{|}~"},
    "a late epoch": {"epoch": 2**53 - 1},
    "created long ago": {"created": 0},
    "created late": {"created": 2**53 - 1},
    "a parent": {"parent": "ab" * 64},
    "safetensors by its own word": {"format": "safetensors"},
    "metadata": {"metadata": {"round": "2026Q3", "watermark": "1f" * 32, "bom": "2e" * 32}},
    "32 entries of metadata": {"metadata": {f"k{number}": "v" for number in range(32)}},
    "an empty value": {"metadata": {"k": ""}},
    "a long value": {"metadata": {"k": "v" * 1024}},
    "a long key": {"metadata": {"k" * 1024: "v"}},
}


def accepted_slots() -> Iterator[Case]:
    """Files whose slots are unusual and sound."""
    for count in (3, 12):
        yield case(f"{count} recipients, alice last", File(to=("bob",) * (count - 1) + ("alice",)))
    for slot_len in (3072, 4096, 8192, 65_536):
        yield case(f"slots of {slot_len} bytes", File(slot_len=slot_len))
    for generations in ((1, 2), (2, 1), (7, 6), (2**63, 2**63), (5, 5)):
        yield case(f"generations {generations}", File(generations=generations))
    yield case("slot A is being written", File(), edit=put("a", 10, b"\xff"))
    yield case("slot B is being written", File(), edit=put("b", 10, b"\xff"))
    yield case("slot B is being written, and torn", File(), edit=put("b", 10, b"\xff" + b"torn" * 300))
    for kind in (3, 4):
        for length in (1, 1000, 8192):
            yield case(f"an entry of type {kind}, {length} bytes, before alice's", File(entries=foreign(kind, length)))
    yield case("a passphrase", File(entries=by_passphrase()), identity=PASSPHRASE)
    zeros = bytes(32)
    file = File(entries=lambda h: [(1, wrapped(1, "alice", info(1, 1, h), zeros))])
    yield case("another file key, consistently", replace(file, slot_file_key=zeros, payload_file_key=zeros))


def foreign(kind: int, length: int) -> Entries:
    """An entry of another type, then alice's."""
    return lambda h: [(kind, b"\x5a" * length), (1, wrapped(1, "alice", info(1, 1, h), FILE_KEY))]


def by_passphrase(claimed: tuple[int, int, int] | None = None) -> Entries:
    """The one entry of a file for a passphrase; `claimed`: the cost that it claims to have."""

    def made(h: bytes) -> list[tuple[int, bytes]]:
        box = boxed(FILE_KEY, PASSPHRASE, info(1, 2, h), (64, 1, 1))
        return [(2, struct.pack(">III", *(claimed or (64, 1, 1))) + box[12:])]

    return made


def refused_heads() -> Iterator[Case]:
    """Preambles and cores."""
    for name, data in {"magic": b"\x88", "no magic at all": b"safetens", "a text copy": b"\x89HSF\n\x1a\n"}.items():
        yield case(f"preamble: {name}", File(), "NotSealed", put("start", 0, data))
    for version in (0, 2, 255, 256, 65_535):
        yield bare(f"version {version}", "UnknownVersion", preamble=((1, version),))
    for suite in (0, 3, 0x10, 255, 65_535):
        yield bare(f"suite {suite:#x}", "UnknownVersion", preamble=((2, suite),))
    for length in (0, 65_537, 2**31, 2**32 - 1, 1, 157):
        yield bare(f"core_len {length}", "Damaged", preamble=((3, length),))
    for length in (0, 512, 1024, 1535, 1537, 262_656, 2**31, 2**32 - 512, 2048, 3072):
        edit = put("start", 16, struct.pack(">I", length))
        yield case(f"slot_len {length} in a file with others", File(), "Damaged", edit)
    for number, value in ((5, 1), (5, 2**31), (6, 1), (6, 2**63)):
        yield bare(f"preamble field {number} is {value}", "Damaged", preamble=((number, value),))
    for length in (0, 1, 7, 8, 16, 31, 32, 33, 100, 189, 190, 191, 300, 511):
        yield case(f"cut at byte {length}", File(), "NotSealed" if length < 8 else "Damaged", cut("start", length))
    for name, spell in SPELLINGS.items():
        yield bare(f"core: {name}", "Damaged", raw_core=spell)
    yield from refused_fields()
    for offset in (0, 1, 100):
        yield case(f"padding of the core, byte {offset}", File(), "Damaged", put("after", offset, b"\1"))
    yield case("padding of the core, last byte", File(), "Damaged", put("a", -1, b"\x80"))


SPELLINGS: dict[str, Callable[[bytes], bytes]] = {
    "a space": lambda core: core.replace(b":1,", b": 1,", 1),
    "a space at the end": lambda core: core + b" ",
    "a line end": lambda core: core + b"\n",
    "a byte order mark": lambda core: b"\xef\xbb\xbf" + core,
    "keys out of order": lambda core: core.replace(b'"created":1,"epoch":1', b'"epoch":1,"created":1'),
    "a key twice": lambda core: core.replace(b'"epoch":1', b'"epoch":1,"epoch":1'),
    "an escape": lambda core: core.replace(b'"m"', b'"\\u006d"'),
    "an escaped slash": lambda core: core.replace(b'"m"', b'"\\/"'),
    "a float": lambda core: core.replace(b'"epoch":1', b'"epoch":1.0'),
    "an exponent": lambda core: core.replace(b'"epoch":1', b'"epoch":1e0'),
    "a leading zero": lambda core: core.replace(b'"epoch":1', b'"epoch":01'),
    "a minus": lambda core: core.replace(b'"created":1', b'"created":-0'),
    "NaN": lambda core: core.replace(b'"epoch":1', b'"epoch":NaN'),
    "true": lambda core: core.replace(b'"epoch":1', b'"epoch":true'),
    "null": lambda core: core.replace(b'"parent":""', b'"parent":null'),
    "an array": lambda core: core.replace(b'"metadata":{}', b'"metadata":[]'),
    "a comment": lambda core: core.replace(b"{", b"{/**/", 1),
    "a trailing comma": lambda core: core[:-1] + b",}",
    "single quotes": lambda core: core.replace(b'"', b"'"),
    "UTF-8": lambda core: core.replace(b'"m"', '"\u00e9"'.encode()),
    "a control character": lambda core: core.replace(b'"m"', b'"\x01"'),
    "DEL": lambda core: core.replace(b'"m"', b'"\x7f"'),
    "a zero byte": lambda core: core.replace(b'"m"', b'"\0"'),
    "too large a number": lambda core: core.replace(b'"created":1', b'"created":9007199254740992'),
    "nested": lambda _: b"[" * 2000,
    "nested objects": lambda _: b'{"a":' * 400,
    "an array of it": lambda core: b"[" + core + b"]",
    "nothing but zeros": lambda core: bytes(len(core)),
    "cut": lambda core: core[:-1],
}
"""What a sound core says, in other words."""

FIELDS: dict[str, list[Any]] = {
    "created": ["1", {}],
    "epoch": [0, "1"],
    "file_id": ["", "00", "0" * 31, "0" * 33, "G" * 32, "ABCDEF" + "0" * 26, 5],
    "format": ["", "pickle", "SAFETENSORS", 1],
    "metadata": ["", {"": "v"}, {"k": 1}, {"k": {}}, {"k": "v" * 1025}, {"k" * 1025: "v"}, dict.fromkeys(MANY, "")],
    "model_id": ["", "m" * 1025, 1, {}],
    "parent": ["ab", "ab" * 63, "AB" * 64, 0],
    "plaintext_bytes": [2**41, 2**53 - 1, "5", 4, 6],
    "signer": ["ab", "AB" * 32, "ab" * 64, 0],
    "more": ["unknown"],
}
"""Wrong values."""


def refused_fields() -> Iterator[Case]:
    """Cores in canonical form whose fields are wrong, missing or too many."""
    for name in json.loads(File().core_bytes()):

        def without(core: bytes, name: str = name) -> bytes:
            left = {key: one for key, one in json.loads(core).items() if key != name}
            return json.dumps(left, sort_keys=True, separators=(",", ":")).encode()

        yield bare(f"core without {name}", "Damaged", raw_core=without)
    for name, values in FIELDS.items():
        for number, value in enumerate(values):
            yield bare(f"core with {name} wrong, {number}", "Damaged", core={name: value})
    yield case("core that says unsigned in a signed file", File(core={"signer": ""}), "Damaged")
    core = {"signer": signer_id(1, "acme")}
    yield case("core that says signed in an unsigned file", File(signer="", core=core), "Damaged")


SLOT_EDITS: dict[str, tuple[int, bytes]] = {
    "generation 0": (0, bytes(8)),
    "generation above the last": (0, b"\x80" + bytes(6) + b"\1"),
    "count 0": (8, b"\0\0"),
    "count 1, with two entries": (8, b"\0\1"),
    "count 3, with two entries": (8, b"\0\3"),
    "count 129": (8, b"\0\x81"),
    "count 65535": (8, b"\xff\xff"),
    "mark 1": (10, b"\1"),
    "mark 0xfe": (10, b"\xfe"),
    "the byte behind the mark": (11, b"\1"),
    "zeros of the header": (12, b"\0\0\0\1"),
    "entry of type 0": (16, b"\0\0"),
    "entry of type 2 beside another": (16, b"\0\2"),
    "entry of type 5": (16, b"\0\5"),
    "entry of type 65535": (16, b"\xff\xff"),
    "zeros of an entry": (18, b"\0\1"),
    "blob of 1167 bytes": (20, struct.pack(">I", 1167)),
    "blob of 1169 bytes": (20, struct.pack(">I", 1169)),
    "blob of 0 bytes": (20, bytes(4)),
    "blob of 2^32-1 bytes": (20, b"\xff" * 4),
    "blob of the other suite": (20, struct.pack(">I", 1616)),
    "a byte behind the entries": (16 + 2 * 1176, b"\1"),
    "the last byte before the tag": (2560 - 65, b"\1"),
    "zeros of the second entry": (16 + 1176 + 2, b"\1"),
    "type of the second entry": (16 + 1176, b"\0\6"),
}
"""What is written into both slots, which then get the tags that they deserve."""


def refused_slots() -> Iterator[Case]:
    """Slots: their structure, under a tag that is right; their tags; their keys."""
    file, unsigned = File(), File(signer="")
    for name, (offset, data) in SLOT_EDITS.items():
        yield case(f"slots: {name}", file, "Damaged", both(offset, data, file))
        yield case(f"slots: {name}, unsigned", unsigned, "Damaged", both(offset, data, unsigned), trust=None)
    for slot in "ab":
        for offset in (0, 7, 8, 16, 24, 500, 1191, 1192, 1300, 2400, 2495, 2496, 2559):
            yield case(f"slot {slot}: flipped bit at {offset}", file, "Damaged", flip(slot, offset, offset % 8))
        yield case(f"slot {slot}: all zeros", file, "Damaged", put(slot, 0, bytes(2560)))
        yield case(f"slot {slot}: no tag", file, "Damaged", put(slot, 2496, bytes(64)))
    yield case("both slots are being written", file, "Damaged", both_marked)
    yield case("another file key for the slots", replace(file, slot_file_key=bytes(32)), "Damaged")
    yield case("another file key for the payload", replace(file, payload_file_key=bytes(32)), "Damaged")
    for length in (0, 8193):
        yield case(f"entry of type 3, {length} bytes", File(entries=foreign(3, length)), "Damaged")
    yield from refused_keys()
    yield from refused_passphrases()


def both_marked(out: bytearray, at: dict[str, int]) -> None:
    """Both slots say that they are being written."""
    for slot in "ab":
        put(slot, 10, b"\xff")(out, at)


def refused_keys() -> Iterator[Case]:
    """Entries that alice cannot open."""
    yield case("no entry for alice", File(to=("bob",)), "WrongKey")
    yield case("entries of other types alone", File(entries=lambda _: [(3, b"x"), (4, b"y")]), "WrongKey")
    infos: dict[str, Callable[[bytes], bytes]] = {
        "of another suite": lambda h: info(2, 1, h),
        "of another type": lambda h: info(1, 2, h),
        "of another file": lambda _: info(1, 1, bytes(64)),
        "without a label": lambda h: h,
        "of nothing": lambda _: b"",
    }
    for name, made in infos.items():
        yield case(f"a wrapped key bound to the info {name}", File(entries=bound_to(made)), "WrongKey")


def bound_to(made: Callable[[bytes], bytes]) -> Entries:
    """alice's entry under another info."""
    return lambda h: [(1, wrapped(1, "alice", made(h), FILE_KEY))]


def refused_passphrases() -> Iterator[Case]:
    """Entries of type 2."""
    sound = File(entries=by_passphrase())
    yield case("another passphrase", sound, "WrongPassphrase", identity="another")
    yield case("no passphrase, but a key", sound, "WrongPassphrase")
    yield case("a key's file, but a passphrase", File(), "WrongKey", identity=PASSPHRASE)
    for cost in ABSURD:
        file = File(entries=by_passphrase(cost))
        yield case(f"a passphrase at the cost {cost}", file, "Damaged", identity=PASSPHRASE)
    for cost in ((65, 1, 1), (64, 2, 1), (64, 1, 2)):
        file = File(entries=by_passphrase(cost))
        yield case(f"a passphrase at another cost {cost}", file, "WrongPassphrase", identity=PASSPHRASE)


SIZE = 16_400  # of a sealed chunk

MOVES: dict[str, Edit] = {
    "swapped": lambda out, at: swap(out, at["payload"] + 56, at["payload"] + 56 + SIZE, SIZE),
    "first and third swapped": lambda out, at: swap(out, at["payload"] + 56, at["payload"] + 56 + 2 * SIZE, SIZE),
    "first one twice": lambda out, at: copy(out, at["payload"] + 56, at["payload"] + 56 + SIZE, SIZE),
    "second one twice": lambda out, at: copy(out, at["payload"] + 56 + SIZE, at["payload"] + 56, SIZE),
    "all zeros": put("payload", 56, bytes(SIZE)),
}
"""Chunks that change places."""


def refused_payloads() -> Iterator[Case]:
    """Payload, list, ends: what a recipient, who cannot sign, could do to a file, and what anybody could."""
    plain = bytes(range(256)) * 200  # four chunks
    file, unsigned = File(plain), File(plain, signer="")
    for offset in (0, 23, 24, 55):
        yield case(f"payload: flipped bit in its head, at {offset}", file, "Damaged", flip("payload", offset))
    for offset in (56, 100, 16_455, 16_456, 16_472, 32_000, 51_000):
        yield case(f"payload: flipped bit at {offset}", file, "Damaged", flip("payload", offset, offset % 8))
        edit = mended(flip("payload", offset))
        yield case(f"payload: flipped bit at {offset}, list mended", unsigned, "Damaged", edit, trust=None)
    for name, move in MOVES.items():
        yield case(f"chunks: {name}", file, "Damaged", move)
        yield case(f"chunks: {name}, list mended", unsigned, "Damaged", mended(move), trust=None)
    for offset in (0, 15, 31):
        yield case(f"list: flipped bit at {offset}", file, "BadSignature", flip("list", offset))
        yield case(f"list: flipped bit at {offset}, unsigned", unsigned, "Damaged", flip("list", offset), trust=None)
    for part in ("a", "b", "payload", "list", "signature"):
        for offset in (0, 1, 17):
            yield case(f"cut in {part}, {offset} bytes in", file, "Damaged", cut(part, offset))
    for count in (1, 2, 16, 64, 511, 512, 4096):
        yield case(f"cut by the last {count} bytes", file, "Damaged", cut("end", -count))
        yield case(f"{count} zeros appended", file, "Damaged", append(bytes(count)))
        yield case(f"{count} other bytes appended", unsigned, "Damaged", append(b"\xa5" * count), trust=None)


def refused_signatures() -> Iterator[Case]:
    """Who signed what."""
    for suite in (1, 2):
        sizes = {1: [("ML-DSA-65", 0, 3309), ("Ed25519", 3309, 64)], 2: [("ML-DSA-87", 0, 4627)]}[suite]
        file = File(suite=suite)
        yield case(f"suite {suite}: unsigned", File(suite=suite, signer=""), "Unsigned")
        yield case(f"suite {suite}: a stranger's", File(suite=suite, signer="mallory"), "UnknownSigner")
        yield case(f"suite {suite}: a stranger in a trusted name", File(suite=suite, signs="mallory"), "BadSignature")
        for name, offset, length in sizes:
            zeros = put("signature", offset, bytes(length))
            yield case(f"suite {suite}: {name} all zeros", file, "BadSignature", zeros)
            for at in (0, length // 2, length - 1):
                edit = flip("signature", offset + at)
                yield case(f"suite {suite}: {name} flipped at {at}", file, "BadSignature", edit)
    yield from mixed()
    yield from seen_before()


def mixed() -> Iterator[Case]:
    """Parts of two files of the same people."""
    other, data = File(core={"epoch": 2}), File(plain=b"jello")
    for name, another in {"another core": other, "another content": data}.items():
        yield case(f"the signature of {name}", File(), "BadSignature", with_part(another, "signature", "end"))
        edit = with_part(another, "payload", "signature")
        yield case(f"the payload and list of {name}", File(), "BadSignature", edit)
    yield case("slot A of another core", File(), "Damaged", with_part(other, "a", "b"))
    yield case("slot B of another core", File(), "Damaged", with_part(other, "b", "payload"))
    yield case("both slots of another core", File(), "WrongKey", with_part(other, "a", "payload"))
    facts = {"epoch": 2, "model_id": "n", "metadata": {"round": "x"}, "parent": "ab" * 64, "created": 2}
    for name, value in facts.items():
        edit = with_part(File(), "a", "end")
        yield case(f"everything of a file but its {name}", File(core={name: value}), "BadSignature", edit)


def seen_before() -> Iterator[Case]:
    """Epochs that a trust store has seen."""
    first, second = ({"epoch": epoch, "h": "00" * 64, "root": "00" * 32} for epoch in (1, 2))
    yield case("an older epoch", File(), "RolledBack", seen=second)
    yield case("an older epoch of a stranger's", File(signer="mallory"), "UnknownSigner", seen=second)
    yield case("a fork of the epoch", File(), "RolledBack", seen=first)
    yield case("a later epoch", File(core={"epoch": 3}), seen=second)


def main() -> None:
    """Writes the cases."""
    rows = []
    for maker in (accepted, refused_heads, refused_slots, refused_payloads, refused_signatures):
        for name, file, edit, how in maker():
            out, at = file.build()
            if edit:
                edit(out, at)
            plain = {"plain_sha256": hashlib.sha256(file.plain).hexdigest()} if not how["expect"] else {}
            rows.append({"name": name, "suite": file.suite, **how, **plain, "file": out.hex()})
    text = json.dumps({"seeds": {name: seed.hex() for name, seed in SEEDS.items()}, "cases": rows}, indent=0)
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 26}]
    path = Path(__file__).with_name("cases.json.xz")
    path.write_bytes(lzma.compress(text.encode(), filters=filters))
    names = {row["name"] for row in rows}
    sys.stdout.write(f"{len(names)} cases, {len(text)} bytes, {path.stat().st_size} compressed\n")
    if len(names) < len(rows):
        raise ValueError("two cases have one name")


if __name__ == "__main__":
    main()
