"""The default data set, which needs no file: 1,797 handwritten digits, 8 x 8 grey, part of scikit-learn.

Alpaydin and Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI; scikit-learn holds its test part.
"""

from dataclasses import dataclass

import torch

from harden.data.choice import DataChoice, Progress
from harden.data.dataset import DataSet, Split
from harden.data.split import with_test_part

TEST_COUNT = 360
LEVELS = 16  # pixels count dark dots in a 4 x 4 block: 0..16


@dataclass(frozen=True, kw_only=True)
class Digits(DataChoice):
    """Handwritten digits, 8 x 8 grey, 1,437 to train on and 360 to test on (fixed, by class)."""

    def read(self, *, progress: Progress) -> DataSet:
        """The digits with pixels 0..16 spread over 0..255."""
        from sklearn.datasets import load_digits

        found = load_digits()
        dots = torch.from_numpy(found.images).to(torch.float32)
        x = (dots * 255 / LEVELS).round().to(torch.uint8).unsqueeze(1)
        train, test = with_test_part(Split(x, torch.from_numpy(found.target).long()), TEST_COUNT)
        classes = tuple(str(digit) for digit in range(10))
        return DataSet("digits", classes, train, test, source="scikit-learn")
