"""Two data sets in IDX files, each 60,000 + 10,000 images, 28 x 28 grey.

MNIST: LeCun et al. 1998, Proc. IEEE 86(11). Fashion-MNIST: Xiao et al. 2017, arXiv 1708.07747.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from harden.data.checks import check_digest
from harden.data.choice import Progress, PublicChoice
from harden.data.dataset import DataSet, Split
from harden.data.download import Remote
from harden.data.idx import read_idx, sha256_of_content
from harden.data.sources import Home, mirrored, obtain, places
from harden.errors import DataError

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@dataclass(frozen=True)
class IdxSet:
    """A data set of four IDX files, in the order of FILES."""

    home: Home
    classes: tuple[str, ...]
    mirrors: tuple[str, ...]  # addresses that end in a slash
    sha256: tuple[str, ...]  # of the four files' content, decompressed


MNIST = IdxSet(
    home=Home("MNIST", "mnist", below=("mnist", "MNIST", "MNIST/raw")),
    classes=tuple(str(digit) for digit in range(10)),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    sha256=(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)

FASHION = IdxSet(
    home=Home(
        "Fashion-MNIST",
        "fashion-mnist",
        below=("fashion-mnist", "FashionMNIST", "FashionMNIST/raw"),
        system=(Path("/usr/share/datasets/fashion-mnist"),),
        package="dataset-fashion-mnist",
    ),
    classes=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    sha256=(
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Mnist(PublicChoice):
    """Handwritten digits, 28 x 28 grey."""

    def read(self, *, progress: Progress) -> DataSet:
        """MNIST from its four IDX files."""
        return _read(MNIST, self, progress)


@dataclass(frozen=True, kw_only=True)
class FashionMnist(PublicChoice):
    """Pieces of clothing, 28 x 28 grey."""

    def read(self, *, progress: Progress) -> DataSet:
        """Fashion-MNIST from its four IDX files."""
        return _read(FASHION, self, progress)


def _read(facts: IdxSet, choice: PublicChoice, progress: Progress) -> DataSet:
    paths = _located(facts, choice, progress)
    train, test = (_split(facts, paths, first, verify=choice.verify) for first in (0, 2))
    name = choice.printed(facts.home.name)
    return DataSet(name, facts.classes, train, test, source=str(paths[0].parent))


def _located(facts: IdxSet, choice: PublicChoice, progress: Progress) -> list[Path]:
    """The four files' paths, from the first folder that has most of them; what is missing is downloaded."""
    candidates = ([_named(folder, name) for name in FILES] for folder in places(facts.home, choice.root))
    found = min(candidates, key=lambda paths: paths.count(None))
    missing = [at for at, path in enumerate(found) if path is None]
    if not missing:
        return [path for path in found if path is not None]
    remotes = [_remote(facts, at) for at in missing]
    folder = obtain(facts.home, remotes, root=choice.root, download=choice.download, progress=progress)
    return [path or folder / f"{name}.gz" for path, name in zip(found, FILES, strict=True)]


def _named(folder: Path, name: str) -> Path | None:
    """The file `name` in `folder`, packed or not, also with the dot that some copies have for a dash."""
    dotted = name.replace("-idx", ".idx")
    candidates = (folder / f"{stem}{ending}" for stem in (name, dotted) for ending in (".gz", ""))
    return next((path for path in candidates if path.is_file()), None)


def _remote(facts: IdxSet, at: int) -> Remote:
    name = f"{FILES[at]}.gz"
    urls = tuple(mirror + name for mirror in facts.mirrors)
    return Remote(name, mirrored(facts.home, name, urls), facts.sha256[at], sha256_of_content)


def _split(facts: IdxSet, paths: list[Path], first: int, *, verify: bool) -> Split:
    """The split whose images are file number `first` and whose labels are the next."""
    images, images_digest = read_idx(paths[first], axes=3)
    labels, labels_digest = read_idx(paths[first + 1], axes=1)
    if verify:
        check_digest(str(paths[first]), images_digest, facts.sha256[first])
        check_digest(str(paths[first + 1]), labels_digest, facts.sha256[first + 1])
    if len(images) != len(labels):
        raise DataError(f"{paths[first + 1]}: {len(labels)} labels, wanted {len(images)}, one an image")
    return Split(torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels).long())
