"""CIFAR-10 (Krizhevsky 2009): 50,000 + 10,000 RGB images, 32 x 32, from the binary version of the data set.

A record is a label byte and 3,072 pixel bytes (red, green, blue plane). Re-compressed JPEG copies are read
too, but never under the name of the original: figures on them are not comparable with published ones.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from harden.data.archive import members
from harden.data.checks import check_digest
from harden.data.choice import TEST_SHARE, Progress, PublicChoice
from harden.data.dataset import DataSet, Split
from harden.data.download import Remote
from harden.data.folder import CIFAR10_JPEG, CIFAR10_JPEG_SHA256, read_folder
from harden.data.sources import Home, mirrored, obtain, places
from harden.errors import DataError
from harden.files import sha256_of

HOME = Home("CIFAR-10", "cifar-10", below=("cifar-10", "cifar10", "CIFAR10", "cifar10-jpeg"))
CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
SIDE = 32
RECORD = 1 + 3 * SIDE * SIDE
COUNT = 10_000  # records in each file
UNPACKED = "cifar-10-batches-bin"
ARCHIVE = "cifar-10-binary.tar.gz"
ARCHIVE_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
URLS = (f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}",)
JPEG_ARCHIVE = "cifar10-jpeg.tar.xz"
TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST = ("test_batch.bin",)
SHA256 = {  # as listed in torchvision-ruby's cifar10.rb, beside the archive's digest above
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}


@dataclass(frozen=True, kw_only=True)
class Cifar10(PublicChoice):
    """Ten kinds of things, 32 x 32 RGB: the original's files, or a JPEG copy under a name that says so."""

    def read(self, *, progress: Progress) -> DataSet:
        """The original where it is found, else a JPEG copy in `root`, else the original, downloaded."""
        folders = list(places(HOME, self.root))
        if original := next(_originals(folders), None):
            return _read_original(original, self)
        if self.root is not None and (copy := next(_copies(folders), None)):
            return _read_copy(copy, self)
        remote = Remote(ARCHIVE, mirrored(HOME, ARCHIVE, URLS), ARCHIVE_SHA256, sha256_of)
        folder = obtain(HOME, [remote], root=self.root, download=self.download, progress=progress)
        return _read_original(folder / ARCHIVE, self)


def _originals(folders: list[Path]) -> Iterator[Path]:
    """Folders of .bin files, and archives of one."""
    for folder in folders:
        yield from (at for at in (folder, folder / UNPACKED) if (at / TRAIN[0]).is_file())
        yield from (at for at in (folder / ARCHIVE,) if at.is_file())


def _copies(folders: list[Path]) -> Iterator[Path]:
    """Archives and folders of JPEG files."""
    for folder in folders:
        yield from (at for at in (folder / JPEG_ARCHIVE,) if at.is_file())
        yield from (at for at in (folder,) if (at / "train" / CLASSES[0]).is_dir())


def _read_original(path: Path, choice: PublicChoice) -> DataSet:
    files = _files(path)
    train, test = (_split(path, {name: files[name] for name in names}, verify=choice.verify) for names in (TRAIN, TEST))
    return DataSet(choice.printed(HOME.name), CLASSES, train, test, source=str(path))


def _files(path: Path) -> dict[str, bytes]:
    """The content of the six files at `path`, by name."""
    files = {name[-1]: data for name, data in members(path, wanted=lambda name: name[-1] in SHA256)}
    if missing := sorted(set(SHA256) - set(files)):
        raise DataError(f"{path}: no {missing[0]}, wanted {len(SHA256)} files, {TRAIN[0]} to {TEST[0]}")
    return files


def _split(path: Path, files: dict[str, bytes], *, verify: bool) -> Split:
    for name, data in files.items():
        wanted = RECORD * (COUNT if verify else max(1, round(len(data) / RECORD)))
        if len(data) != wanted:
            problem = "truncated" if len(data) < wanted else "too long"
            raise DataError(f"{path}: {name} is {problem}, got {len(data)} bytes, wanted {wanted}")
        if verify:
            check_digest(f"{path}: {name}", hashlib.sha256(data).hexdigest(), SHA256[name])
    records = np.frombuffer(bytearray().join(files.values()), np.uint8).reshape(-1, RECORD)
    x = torch.from_numpy(records[:, 1:].reshape(-1, 3, SIDE, SIDE))
    return Split(x, torch.from_numpy(records[:, 0].astype(np.int64)))


def _read_copy(path: Path, choice: PublicChoice) -> DataSet:
    if choice.verify and path.is_file():
        check_digest(str(path), sha256_of(path), CIFAR10_JPEG_SHA256)
    data = read_folder(path, size=None, test_share=TEST_SHARE)
    if data.classes != CLASSES or data.shape != (3, SIDE, SIDE):
        raise DataError(f"{path}: is no copy of CIFAR-10, got classes {', '.join(data.classes)} of {data.shape}")
    return replace(data, name=CIFAR10_JPEG)
