"""Data sets kept as uint8 on the device; batches and augmentation are tensor indexing, without workers.

`load(choice)` gives a `DataSet` of two `Split`s; a `Split` gives a `Batch`; `augment` moves its images about.
"""

from harden.data.augment import augment
from harden.data.batch import Batch
from harden.data.choice import DataChoice, Progress, load
from harden.data.cifar10 import Cifar10
from harden.data.custom import Custom
from harden.data.dataset import DataSet, Split
from harden.data.digits import Digits
from harden.data.folder import Folder
from harden.data.mnist import FashionMnist, Mnist
from harden.data.npz import Npz
from harden.data.overlap import shared_images
from harden.data.split import epoch_order, hold_out

__all__ = [
    "Batch",
    "Cifar10",
    "Custom",
    "DataChoice",
    "DataSet",
    "Digits",
    "FashionMnist",
    "Folder",
    "Mnist",
    "Npz",
    "Progress",
    "Split",
    "augment",
    "epoch_order",
    "hold_out",
    "load",
    "shared_images",
]
