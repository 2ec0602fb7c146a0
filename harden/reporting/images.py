"""Small pictures inside the page, as data URIs."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 112
"""The width in which an image is shown; pixels stay sharp squares."""


@dataclass(frozen=True)
class Example:
    """A clean image and what became of it, (channels, height, width) in 0..1, and what the model says to each."""

    clean: NDArray[np.float32]
    adversarial: NDArray[np.float32]
    label: str
    attacked_as: str
    caption: str

    @property
    def pictures(self) -> list[tuple[str, str]]:
        """Alternative text and data URI: clean, adversarial, and the difference, stretched."""
        change = self.adversarial - self.clean
        most = max(float(np.abs(change).max()), 1e-12)
        return [
            (f"clean image of class {self.label}", data_uri(self.clean)),
            (f"adversarial image, taken for {self.attacked_as}", data_uri(self.adversarial)),
            (f"the difference, stretched {1 / most:.0f}-fold", data_uri(0.5 + 0.5 * change / most)),
        ]


def data_uri(image: NDArray[np.float32]) -> str:
    """The image, (c, h, w) in 0..1, as a PNG in a URI; of other than 1 or 3 channels the mean."""
    if image.shape[0] not in (1, 3):
        image = image.mean(axis=0, keepdims=True)
    pixels = (np.nan_to_num(image).clip(0, 1) * 255).round().astype(np.uint8)
    picture = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
