"""Images that are in both parts of a data set."""

import hashlib

from harden.data.dataset import DataSet


def shared_images(data: DataSet) -> int:
    """How many test images are also training images, pixel by pixel."""
    seen = {hashlib.sha256(image.numpy().tobytes()).digest() for image in data.train.x.cpu()}
    return sum(hashlib.sha256(image.numpy().tobytes()).digest() in seen for image in data.test.x.cpu())
