"""Image files as uint8 arrays, decoded by Pillow."""

import io
import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harden.data.archive import Name
from harden.errors import DataError

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif")
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF")
GREY = ("1", "L", "LA", "La")
COLOUR = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")

Pixels = NDArray[np.uint8]  # (1, h, w) or (3, h, w)


def decoded(files: Iterable[tuple[Name, bytes]], *, where: Path, size: int | None) -> Iterator[tuple[Name, Pixels]]:
    """Name and pixels of every file: one channel where the image is grey, else RGB; transparency is dropped.
    Of an animation the first picture is taken.

    With a `size` the shorter side becomes `size` (bilinear) and the middle square is kept. Raises DataError,
    naming the file, on what cannot be decoded, has more than 8 bits a channel, or is a decompression bomb.
    """
    for name, content in files:
        yield name, _decoded(f"{where}: {'/'.join(name)}", content, size)


def _decoded(label: str, content: bytes, size: int | None) -> Pixels:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _pixels(label, content, size)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{label}: too many pixels, wanted at most {Image.MAX_IMAGE_PIXELS}") from error
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error) as error:
        raise DataError(f"{label}: unreadable image: {_one_line(error)}") from error


def _pixels(label: str, content: bytes, size: int | None) -> Pixels:
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        if image.mode not in GREY + COLOUR:
            raise DataError(f"{label}: pixels of mode {image.mode}, wanted 8 bits a channel")
        flat: Image.Image = image.convert("L" if image.mode in GREY else "RGB")
    array: NDArray[Any] = np.asarray(flat if size is None else _square(flat, size))
    return np.ascontiguousarray(np.moveaxis(np.atleast_3d(array), 2, 0))


def _square(image: Image.Image, size: int) -> Image.Image:
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + size, top + size))


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and "cannot identify image file" in str(error):
        return "no png, jpeg, bmp, webp or gif"
    return " ".join(str(error).lower().split()) or type(error).__name__
