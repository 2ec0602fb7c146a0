"""A cache of decoded images: one safetensors file for each archive and way of reading it.

Decoding 60,000 JPEG files takes seconds to minutes, reading the cache a fraction of one. The file carries the
digest of its content, so a damaged one is noticed and built again.
"""

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from harden.data.dataset import DataSet, Split
from harden.data.sources import cache_folder
from harden.errors import HardenError
from harden.files import canonical_json, replacing

FORMAT = 2  # raised when the same archive would be read into other arrays

log = logging.getLogger(__name__)


def cached(make: Callable[[], DataSet], *, key: list[str | int | float | None], name: str, source: str) -> DataSet:
    """What `make` returns, from the cache where `key` was kept before, under this `name` and `source`."""
    path = cache_folder("decoded") / f"{_file_digest(key)}.safetensors"
    if path.is_file():
        try:
            return _load(path, name, source)
        except (SafetensorError, HardenError, OSError, KeyError, ValueError) as error:
            log.warning("%s: damaged cache, built again: %s", path, error)
    data = make()
    _keep(path, data)
    return data


def _file_digest(key: list[str | int | float | None]) -> str:
    from PIL import __version__ as pillow  # another decoder may round otherwise

    return hashlib.sha256(canonical_json([FORMAT, pillow, *key])).hexdigest()


def _load(path: Path, name: str, source: str) -> DataSet:
    with safe_open(path, framework="pt") as file:
        about = file.metadata() or {}
        train, test = (Split(file.get_tensor(f"{part}.x"), file.get_tensor(f"{part}.y")) for part in ("train", "test"))
    data = DataSet(name, tuple(json.loads(about["classes"])), train, test, source)
    if data.digest != about["digest"]:
        raise ValueError(f"content has sha256 {data.digest}, wanted {about['digest']}")
    return data


def _keep(path: Path, data: DataSet) -> None:
    tensors = {
        f"{part}.{field}": tensor
        for part, split in (("train", data.train), ("test", data.test))
        for field, tensor in (("x", split.x), ("y", split.y))
    }
    about = {"classes": json.dumps(data.classes), "digest": data.digest}
    try:
        with replacing(path) as part:
            save_file(tensors, part, metadata=about)
    except (HardenError, SafetensorError) as error:  # the data is there; the next run decodes again
        log.warning("decoded images are not kept: %s", error)
