"""Every choice of data set can be an option of the command line, and importing them stays light."""

import subprocess
import sys
from dataclasses import fields

import pytest
from omegaconf import OmegaConf

from harden.data import Cifar10, Custom, DataChoice, Digits, FashionMnist, Folder, Mnist, Npz

CHOICES = [Digits, Mnist, FashionMnist, Cifar10, Folder, Npz, Custom]


@pytest.mark.parametrize("choice", CHOICES)
def test_a_choice_survives_the_way_through_the_configuration(choice: type[DataChoice]) -> None:
    node = OmegaConf.structured(choice)
    assert OmegaConf.to_object(node) == choice()
    assert {"shift", "flip"} <= {field.name for field in fields(choice)}


def test_reading_the_room_loads_no_image_or_learning_library() -> None:
    heavy = ("sklearn", "PIL", "mlflow", "hydra")
    code = f"import sys, harden.data; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
