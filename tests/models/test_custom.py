"""A user's own network: found by name, given raw pixels, and refused with a reason when it does not fit."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from harden.errors import ConfigError
from harden.models import Classifier, CustomModel, build
from harden.seeds import stream

SOURCE = """
import torch
from torch import nn

class Seen(nn.Module):
    def forward(self, x):
        return torch.stack([x.amin(dim=(1, 2, 3)), x.amax(dim=(1, 2, 3))], dim=1)

class Says(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer
    def forward(self, x):
        return self.answer

def linear(shape, classes, bias=True):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], classes, bias=bias))

def helped(shape, classes):
    import custom_nets_helper
    return linear(shape, classes, custom_nets_helper.bias)

def seen(shape, classes):
    return Seen()

def text(shape, classes):
    return "no module"

def raises(shape, classes):
    raise KeyError("two\\nlines")

def one_more_class(shape, classes):
    return linear(shape, classes + 1)

def other_images(shape, classes):
    return linear((1, 99, 99), classes)

def integers(shape, classes):
    return Says(torch.zeros(1, classes, dtype=torch.int64))

def several(shape, classes):
    return Says((torch.zeros(1, classes), None))

def not_finite(shape, classes):
    return Says(torch.full((1, classes), float("nan")))

constant = 3
"""


@pytest.fixture(autouse=True)
def _own_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    (tmp_path / "custom_nets.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("custom_nets", None)


def made(name: str, **arguments: Any) -> Classifier:
    choice = CustomModel(entry=f"custom_nets:{name}", arguments=arguments)
    return build(choice, shape=(1, 4, 4), classes=2, mean=[0.5], std=[0.1], rng=stream(0, "model"))


def test_a_module_from_the_current_folder_is_built_with_its_arguments() -> None:
    names = made("linear", bias=False).state_dict().keys()
    assert names == {"mean", "std", "net.1.weight"}


def test_a_builder_may_import_its_neighbour_while_it_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = [entry for entry in sys.path if entry not in ("", str(tmp_path))]
    monkeypatch.setattr(sys, "path", elsewhere.copy())  # as under the installed command
    (tmp_path / "custom_nets_helper.py").write_text("bias = False")
    try:
        assert made("helped").state_dict().keys() == {"mean", "std", "net.1.weight"}
    finally:
        sys.modules.pop("custom_nets_helper", None)
    assert sys.path == elsewhere


def test_its_first_weights_are_seeded() -> None:
    first, second = made("linear"), made("linear")
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)


def test_it_gets_raw_pixels() -> None:
    pixels = torch.linspace(0, 1, 16).view(1, 1, 4, 4)
    torch.testing.assert_close(made("seen")(pixels), torch.tensor([[0.0, 1.0]]), rtol=0, atol=0)


def test_a_missing_entry_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"^model=custom needs model\.entry$"):
        build(CustomModel(), shape=(1, 4, 4), classes=2, mean=[0.5], std=[0.1], rng=stream(0, "model"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", r"module custom_nets holds no 'missing'"),
        ("text", r"custom_nets:text must return a torch\.nn\.Module, got str"),
        ("constant", r"failed: TypeError: 'int' object is not callable"),
        ("raises", r"custom_nets:raises\(\(1, 4, 4\), 2, \*\*\{\}\) failed: KeyError: 'two\\nlines'"),
        (
            "one_more_class",
            r"wanted logits of shape \(1, 2\) for one image, got torch\.float32 of shape \(1, 3\)",
        ),
        ("other_images", r"model custom cannot take an image of shape \(1, 4, 4\): RuntimeError: "),
        ("integers", r"wanted logits of shape \(1, 2\) for one image, got torch\.int64 of shape \(1, 2\)"),
        ("several", r"wanted logits of shape \(1, 2\) for one image, got tuple"),
        ("not_finite", r"wanted logits .* got values that are not finite for a blank image"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_in_one_line(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        made(name)
    assert "\n" not in caught.value.message


def test_an_argument_the_builder_does_not_know_is_told() -> None:
    with pytest.raises(ConfigError, match=r"TypeError: .*unexpected keyword argument 'width'"):
        made("linear", width=3)
