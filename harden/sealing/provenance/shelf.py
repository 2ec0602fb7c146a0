"""The manifests that lie at hand, by the file they speak of: read, and not believed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harden.sealing.errors import Damaged, Unreadable
from harden.sealing.provenance.envelope import Envelope
from harden.sealing.provenance.manifests import SUFFIX, is_manifest, peek
from harden.sealing.provenance.statement import Manifest
from harden.sealing.publish import naming


@dataclass(frozen=True)
class Found:
    """A manifest that nobody has checked yet."""

    path: Path
    envelope: Envelope
    manifest: Manifest

    @property
    def sealed(self) -> Path:
        """Where its sealed file lies, if it does."""
        return self.path.with_name(self.path.name.removesuffix(SUFFIX))


@dataclass(frozen=True)
class Shelf:
    """What was found, in the order of paths, and the files that are called manifests and are none."""

    found: tuple[Found, ...]
    unreadable: tuple[Damaged | Unreadable, ...] = field(default=())

    def of(self, h: str) -> list[Found]:
        """The manifests of the file with this H."""
        return [one for one in self.found if one.manifest.h == h]

    @property
    def apology(self) -> str:
        """What a message adds where something could not be read."""
        return f"; {len(self.unreadable)} cannot be read, such as {self.unreadable[0]}" if self.unreadable else ""

    def refuse_unreadable(self) -> None:
        """Raises what went wrong with the first file that cannot be read."""
        for error in self.unreadable:
            raise error


def found_at(path: Path) -> Found:
    """The manifest at `path`. Raises Damaged, Unreadable."""
    return Found(path, *peek(path))


def shelf_of(places: Sequence[Path]) -> Shelf:
    """The manifests in folders, and manifests named one by one; each once. Raises Unreadable for a missing place."""
    found: list[Found] = []
    unreadable: list[Damaged | Unreadable] = []
    for path in sorted({path for place in places for path in _paths(place)}):
        try:
            found.append(found_at(path))
        except (Damaged, Unreadable) as error:
            unreadable.append(error)
    return Shelf(tuple(found), tuple(unreadable))


def _paths(place: Path) -> Iterator[Path]:
    with naming(place):
        if not place.is_dir():
            yield place
            return
        yield from (path for path in place.iterdir() if is_manifest(path))
