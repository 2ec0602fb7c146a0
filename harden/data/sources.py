"""Where the files of public data sets lie: a named folder, a system package, the cache, the network."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harden.data.choice import Progress
from harden.data.download import Remote, UnreachableError, fetch
from harden.errors import DataError


@dataclass(frozen=True)
class Home:
    """The places of one public data set."""

    name: str  # as printed
    folder: str  # its name below the cache folder and below a HARDEN_MIRROR
    below: tuple[str, ...]  # where its files may lie below a folder that the user names
    system: tuple[Path, ...] = ()  # folders of distributions' packages
    package: str = ""  # the Debian package that fills `system`


def cache_folder(*below: str) -> Path:
    """The folder for downloaded and decoded data: $HARDEN_DATA, else harden in the user's cache folder."""
    if named := os.environ.get("HARDEN_DATA"):
        return Path(named).joinpath(*below)
    user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(user, "harden", *below)


def places(home: Home, root: str | None) -> Iterator[Path]:
    """The folders to look in, in order. A `root` excludes all others; DataError where it is no folder."""
    if root is None:
        yield from (*home.system, cache_folder(home.folder))
        return
    named = Path(root).expanduser()
    if named.is_file():
        raise DataError(f"data.root={root}: is a file, name its folder", f"data.root={named.parent}")
    if not named.is_dir():
        raise DataError(f"data.root={root}: no such folder")
    yield named
    yield from (named / below for below in home.below)


def mirrored(home: Home, name: str, urls: tuple[str, ...]) -> tuple[str, ...]:
    """The addresses of file `name`: `urls`, or the one below $HARDEN_MIRROR where that is set."""
    mirror = os.environ.get("HARDEN_MIRROR")
    return (f"{mirror.rstrip('/')}/{home.folder}/{name}",) if mirror else urls


def obtain(
    home: Home,
    remotes: Sequence[Remote],
    *,
    root: str | None,
    download: bool,
    progress: Progress,
) -> Path:
    """The folder that `remotes` were downloaded to. Raises DataError where they may not or cannot be had."""
    if root is not None:
        wanted = ", ".join(remote.name for remote in remotes)
        below = " or ".join(("there", *home.below))
        raise DataError(
            f"data.root={root}: no {home.name} files, wanted {wanted} ({below})",
            "leave out data.root to download",
        )
    folder = cache_folder(home.folder)
    if not download:
        raise _absent(home, folder, "data.download is off")
    try:
        for remote in remotes:
            fetch(remote, folder, progress=progress)
    except UnreachableError as error:
        raise _absent(home, folder, error.message) from error
    return folder


def _absent(home: Home, folder: Path, reason: str) -> DataError:
    package = f"install Debian's package {home.package}" if home.package else f"copy its files into {folder}"
    return DataError(
        f"{home.name}: not on this machine and not downloaded: {reason}",
        f"name a folder that holds it by data.root=FOLDER, or {package}, "
        f"or run once with network (HARDEN_DATA says where downloads are kept, now {folder})",
    )
