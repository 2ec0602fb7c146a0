"""A request to evaluate says what is missing or out of range before anything is loaded."""

from typing import Any

import pytest

from harden.attacks import Pgd
from harden.errors import ConfigError
from harden.evaluation.request import EvaluateRequest


def test_weights_must_be_named() -> None:
    with pytest.raises(ConfigError, match=r"^weights=FILE is missing$"):
        EvaluateRequest()


@pytest.mark.parametrize("wrong", [{"images": -1}, {"batch_size": 0}])
def test_sizes_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=rf"got .*{next(iter(wrong.values()))}"):
        EvaluateRequest(weights="w.safetensors", **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["attack", "threat", "data"])
@pytest.mark.parametrize("value", ["pgd", {}, 3])
def test_a_word_in_the_place_of_an_option_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{name} needs an option of its group$"):
        EvaluateRequest(weights="w.safetensors", **{name: value})


def test_what_is_given_is_kept() -> None:
    request = EvaluateRequest(weights="w.safetensors", attack=Pgd(steps=3), images=0)
    assert request.attack == Pgd(steps=3)
    assert request.images == 0
