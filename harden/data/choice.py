"""What every choice of data set has in common: how training images are moved about, and how it is read."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from harden.data.dataset import DataSet
from harden.data.split import mixed
from harden.errors import ConfigError

TEST_SHARE = 0.2  # where a user's data comes in one piece

Progress = Callable[[str, int, int | None], None]  # file name, bytes done, bytes in all (None: not told)


def no_progress(_file: str, _done: int, _total: int | None) -> None:
    """The listener of a caller who wants to see nothing."""


@dataclass(frozen=True, kw_only=True)
class DataChoice:
    """A data set that can be asked for. Subclasses are the options of `data=`; their fields its keys."""

    shift: int = 0  # training images are moved by up to this many pixels, each way; 0: not at all
    flip: bool = False  # every other training image is mirrored left to right

    def __post_init__(self) -> None:
        if self.shift < 0:
            raise ConfigError(f"data.shift must be >= 0, got {self.shift}")

    def read(self, *, progress: Progress) -> DataSet:
        """The data set, read and checked. Raises DataError, Untrusted or ConfigError."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class PublicChoice(DataChoice):
    """A public data set: its files are looked for, downloaded where allowed, and known by their digests."""

    root: str | None = None  # folder that holds the files; without it: system package, cache, download
    download: bool = True  # whether missing files may be downloaded into the cache
    verify: bool = True  # whether the files found must be the published ones

    def printed(self, name: str) -> str:
        """The name to print, which says so where nothing was verified."""
        return name if self.verify else f"{name} (unverified)"


def wanted_root(root: str | None, option: str) -> Path:
    """`root` as a path. Raises ConfigError where the option that cannot do without it got none."""
    if root is None:
        raise ConfigError(f"data={option} needs data.root, got none", "say where the data lies by data.root=PATH")
    return Path(root).expanduser()  # the shell leaves the ~ in data.root=~/folder as it is


def check_share(share: float) -> None:
    """Raises ConfigError unless `share`, the part of a data set to test on, lies between 0 and 1."""
    if not 0 < share < 1:
        raise ConfigError(f"data.test_share must lie between 0 and 1, got {share:g}")


def load(choice: DataChoice, *, progress: Progress | None = None) -> DataSet:
    """The data set that `choice` stands for. `progress` is told of downloads.

    Raises DataError where it cannot be had or used, Untrusted where a file is not what it claims to be,
    ConfigError where `choice` does not fit it.
    """
    data = choice.read(progress=progress or no_progress)
    side = min(data.shape[1:])
    if choice.shift >= side:
        raise ConfigError(f"data.shift must be below the image side {side} of {data.name}, got {choice.shift}")
    return replace(data, train=mixed(data.train), test=mixed(data.test))
