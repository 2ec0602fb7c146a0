"""The public age test vectors (C2SP CCTV, age/testdata): each ends as it must, and releases exactly what it may.

Read from the folder that HARDEN_VECTORS names, by default ../shared/vectors beside the checkout.
"""

import hashlib
import io
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from harden.errors import SealError
from harden.sealing.age import (
    AgeReader,
    BadArmor,
    BadHeader,
    BadMac,
    BadPayload,
    Identity,
    NoMatch,
    NotAge,
    Passphrase,
    decrypt,
    identity_of,
    import_age,
)
from harden.sealing.age.armor import unarmored
from harden.sealing.age.header import parse, render

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("HARDEN_VECTORS", ROOT / ".." / "shared" / "vectors")) / "age"
FILES = sorted(FOLDER.glob("*")) if FOLDER.is_dir() else []
OUTCOMES: dict[str, tuple[type[SealError], ...]] = {
    "armor failure": (BadArmor,),
    "header failure": (BadHeader, NotAge),
    "HMAC failure": (BadMac,),
    "no match": (NoMatch,),
    "payload failure": (BadPayload,),
}
NOT_AGE = {"empty", "armor_empty", "version_unsupported"}
"""Header failures that make a file none of ours to read, rather than damaged."""

each_vector = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
pytestmark = pytest.mark.skipif(not FILES, reason=f"the public vectors are not in {FOLDER}; HARDEN_VECTORS names them")


@dataclass(frozen=True)
class Vector:
    """One file: what to open, with what, and what must happen."""

    name: str
    fields: dict[str, str]
    identities: list[Identity]
    age: bytes

    @property
    def released(self) -> str:
        """The digest of all plaintext that may come out."""
        return self.fields.get("payload", hashlib.sha256(b"").hexdigest())

    @property
    def errors(self) -> tuple[type[SealError], ...]:
        """What it must raise; nothing for a success."""
        return OUTCOMES.get(self.fields["expect"], ())


def read(path: Path) -> Vector:
    """The vector in a file: lines `key: value`, an empty line, the age file, which may be compressed."""
    head, _, age = path.read_bytes().partition(b"\n\n")
    pairs = [line.split(": ", 1) for line in head.decode().splitlines()]
    fields = {line[0]: line[1] for line in pairs}
    known = {"expect", "payload", "file key", "identity", "passphrase", "armored", "comment", "compressed"}
    assert fields.keys() <= known, "a vector of a newer form"
    keys: list[Identity] = [identity_of(value) for key, value in pairs if key == "identity"]
    keys += [Passphrase(value.encode()) for key, value in pairs if key == "passphrase"]
    age = zlib.decompress(age) if "compressed" in fields else age
    return Vector(path.name, fields, keys or [Passphrase(b"none is given")], age)


class OneByte(io.RawIOBase):
    """A source that hands out one byte at a time and knows `read` only, as slow pipes do."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    readinto = None  # type: ignore[assignment]

    def read(self, count: int = -1, /) -> bytes:
        return self._data.read(min(count, 1))


def outcome(vector: Vector, source: io.BytesIO | OneByte) -> tuple[str, type | None]:
    """Digest of what came out, and the class of what was raised."""
    target = io.BytesIO()
    raised = failure(lambda: decrypt(source, target, vector.identities))  # type: ignore[arg-type]
    return hashlib.sha256(target.getvalue()).hexdigest(), raised


def failure(act: Callable[[], object]) -> type[SealError] | None:
    """The class of the one-line error that `act` raises, if any."""
    try:
        act()
    except SealError as error:
        return type(error) if "\n" not in error.message + error.hint else None
    return None


@each_vector
def test_a_vector_ends_as_it_must_and_releases_what_it_may(path: Path) -> None:
    vector = read(path)
    released, raised = outcome(vector, io.BytesIO(vector.age))
    assert raised in (vector.errors or (None,))
    assert released == vector.released
    assert (raised is NotAge) == (vector.name in NOT_AGE)


@pytest.mark.parametrize("path", [p for p in FILES if p.stat().st_size < 15_000], ids=lambda path: path.name)
def test_a_vector_ends_alike_when_it_comes_a_byte_at_a_time(path: Path) -> None:
    vector = read(path)
    assert len(vector.age) < 1 << 20
    assert outcome(vector, OneByte(vector.age)) == outcome(vector, io.BytesIO(vector.age))


@each_vector
def test_a_reader_releases_whole_plaintexts_and_of_damaged_files_genuine_beginnings(path: Path) -> None:
    vector = read(path)
    streamed, pulled = io.BytesIO(), io.BytesIO()

    def pull() -> None:
        reader = AgeReader(io.BytesIO(vector.age), vector.identities)
        while piece := reader.read(50_001):
            pulled.write(piece)

    failure(lambda: decrypt(io.BytesIO(vector.age), streamed, vector.identities))
    raised = failure(pull)
    assert raised in (vector.errors or (None,))
    assert streamed.getvalue().startswith(pulled.getvalue())
    assert raised or pulled.getvalue() == streamed.getvalue()


@each_vector
def test_an_imported_vector_is_all_there_or_absent(path: Path, tmp_path: Path) -> None:
    vector = read(path)
    (source := tmp_path / "vector.age").write_bytes(vector.age)
    output = tmp_path / "plain" / "weights"
    if not vector.errors:
        assert import_age(source, output, vector.identities, check=print).sha256 == vector.released
        assert hashlib.sha256(output.read_bytes()).hexdigest() == vector.released
        return
    with pytest.raises(vector.errors, match=r"^\S*vector\.age: "):
        import_age(source, output, vector.identities, check=print)
    assert not output.parent.exists() or list(output.parent.iterdir()) == []


@pytest.mark.parametrize(
    "path", [p for p in FILES if "expect: success" in p.read_text("latin-1")], ids=lambda p: p.name
)
def test_a_good_header_is_rendered_to_the_same_bytes(path: Path) -> None:
    """One spelling a header: so there is nothing in it that no MAC covers."""
    vector = read(path)
    header = parse(unarmored(io.BytesIO(vector.age)))
    whole = unarmored(io.BytesIO(vector.age)).take(header.size)
    assert render(header.stanzas, bytes.fromhex(vector.fields["file key"])) == whole


def test_all_143_vectors_are_there() -> None:
    assert len(FILES) == 143
