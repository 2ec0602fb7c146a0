"""Files below a folder or inside a tar or zip archive, read one by one in memory; none is extracted to disk.

Names are only labels here, never paths to write to. Still, members with tricks in their names (absolute,
`..`) are skipped, as are hidden files and whatever is no plain file. In a folder on disk links are followed,
for large sets are often put together of them; those in an archive are not.
"""

import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from harden.errors import DataError

MAX_BYTES = 1 << 28  # of one member: far above any image, far below what fills a machine

Name = tuple[str, ...]  # a path's parts
Wanted = Callable[[Name], bool]


def members(path: Path, *, wanted: Wanted) -> Iterator[tuple[Name, bytes]]:
    """Name and content of the plain files at `path` whose name is `wanted`; no other is read, or may be too big.

    `wanted` is asked once for each plain file. Raises DataError where `path` cannot be read to its end.
    """
    try:
        yield from _members(path, wanted)
    except (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError) as error:
        raise DataError(f"{path}: damaged archive: {str(error).lower()}", "copy it again") from error
    except RuntimeError as error:  # from zipfile, on a password or a method it does not know
        raise DataError(f"{path}: cannot be unpacked: {str(error).lower()}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from error


def _members(path: Path, wanted: Wanted) -> Iterator[tuple[Name, bytes]]:
    if path.is_dir():
        return _from_folder(path, wanted)
    if zipfile.is_zipfile(path):
        return _from_zip(path, wanted)
    if tarfile.is_tarfile(path):
        return _from_tar(path, wanted)
    raise DataError(f"{path}: is neither a folder nor a tar or zip archive")


def _from_folder(path: Path, wanted: Wanted) -> Iterator[tuple[Name, bytes]]:
    for file in _files_below(path, above=frozenset()):
        name = file.relative_to(path).parts
        if wanted(name):
            _check_size(path, name, file.stat().st_size)
            yield name, file.read_bytes()


def _files_below(folder: Path, *, above: frozenset[str]) -> Iterator[Path]:
    """The plain files in and below `folder`, also behind links to folders. `above`: what it lies in, resolved.

    Only a folder that lies in itself is left out: one that two links lead to may well be meant twice.
    """
    resolved = os.path.realpath(folder)
    if resolved in above:
        return
    for entry in filter(lambda entry: _is_plain((entry.name,)), folder.iterdir()):
        if entry.is_dir():
            yield from _files_below(entry, above=above | {resolved})
        elif entry.is_file():
            yield entry


def _from_zip(path: Path, wanted: Wanted) -> Iterator[tuple[Name, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            name = PurePosixPath(info.filename).parts
            if _is_plain(name) and not info.is_dir() and wanted(name):
                _check_size(path, name, info.file_size)
                yield name, archive.read(info)


def _from_tar(path: Path, wanted: Wanted) -> Iterator[tuple[Name, bytes]]:
    with tarfile.open(path) as archive:
        for info in archive:
            name = PurePosixPath(info.name).parts
            file = archive.extractfile(info) if info.isreg() and _is_plain(name) and wanted(name) else None
            if file is not None:
                _check_size(path, name, info.size)
                yield name, file.read()


def _is_plain(name: Name) -> bool:
    return not any(part.startswith(".") or part in ("/", "__MACOSX") for part in name)


def _check_size(path: Path, name: Name, size: int) -> None:
    if size > MAX_BYTES:
        raise DataError(f"{path}: {'/'.join(name)} has {size} bytes, wanted at most {MAX_BYTES}")
