"""A choice becomes a classifier: seeded, checked on a blank image, and by default fit for its data."""

import pytest
import torch
from torch import Tensor

from harden.errors import ConfigError
from harden.models import (
    CHOICES,
    Activation,
    Choice,
    Classifier,
    Cnn,
    CnnSmall,
    Mlp,
    PreActResNet18,
    WideResNet,
    arguments_of,
    build,
    default_for,
    name_of,
)
from harden.models.limits import Shape
from harden.seeds import stream

SHAPES: list[Shape] = [(1, 8, 8), (1, 28, 28), (3, 32, 32)]
QUICK: list[Choice] = [Mlp(), CnnSmall(), Cnn(), PreActResNet18(width=8), WideResNet(depth=10, widen=1)]


def made(choice: Choice, *, shape: Shape = (1, 8, 8), seed: int = 0) -> Classifier:
    means = [0.5] * shape[0]
    return build(choice, shape=shape, classes=10, mean=means, std=means, rng=stream(seed, "model"))


def weights(model: Classifier) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("choice", QUICK, ids=name_of)
def test_every_choice_builds_for_every_data_set(choice: Choice, shape: Shape) -> None:
    model = made(choice, shape=shape)
    assert model.training
    assert model.eval()(torch.rand(3, *shape)).shape == (3, 10)


@pytest.mark.parametrize("choice", QUICK, ids=name_of)
def test_the_same_stream_gives_the_same_weights(choice: Choice) -> None:
    torch.testing.assert_close(weights(made(choice)), weights(made(choice)), rtol=0, atol=0)


@pytest.mark.parametrize("choice", QUICK, ids=name_of)
def test_another_stream_gives_other_weights(choice: Choice) -> None:
    first, second = weights(made(choice, seed=0)), weights(made(choice, seed=1))
    assert (first != second).float().mean() > 0.5


def test_weights_do_not_depend_on_the_global_generator_and_leave_it_alone() -> None:
    first = weights(made(CnnSmall()))
    torch.rand(5)
    state = torch.get_rng_state()
    torch.testing.assert_close(weights(made(CnnSmall())), first, rtol=0, atol=0)
    torch.testing.assert_close(torch.get_rng_state(), state, rtol=0, atol=0)


def test_the_blank_image_moves_no_batch_statistics() -> None:
    state = made(PreActResNet18(width=4)).state_dict()
    for name, tensor in state.items():
        if name.endswith("running_mean"):
            torch.testing.assert_close(tensor, torch.zeros_like(tensor), rtol=0, atol=0)
        if name.endswith("num_batches_tracked"):
            assert tensor.item() == 0


def test_mean_and_std_reach_the_classifier() -> None:
    model = build(Mlp(), shape=(3, 8, 8), classes=2, mean=[0.1, 0.2, 0.3], std=[1.0, 2.0, 3.0], rng=stream(0, "model"))
    torch.testing.assert_close(model.mean.flatten(), torch.tensor([0.1, 0.2, 0.3]))
    torch.testing.assert_close(model.std.flatten(), torch.tensor([1.0, 2.0, 3.0]))


@pytest.mark.parametrize(("channels", "classes"), [(2, 10), (1, 0)])
def test_statistics_and_classes_that_fit_nothing_are_a_programmers_mistake(channels: int, classes: int) -> None:
    with pytest.raises(ValueError, match="wanted a mean a channel and a class"):
        build(Mlp(), shape=(channels, 8, 8), classes=classes, mean=[0.5], std=[0.5], rng=stream(0, "model"))


def test_images_too_small_are_refused_before_anything_is_built() -> None:
    with pytest.raises(ConfigError, match="model preact_resnet18 needs images of at least 8x8 pixels, got 4x4"):
        made(PreActResNet18(), shape=(3, 4, 4))


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((1, 8, 8), CnnSmall()),
        ((3, 64, 16), CnnSmall()),
        ((1, 17, 17), Cnn()),
        ((1, 28, 28), Cnn()),
        ((3, 32, 32), PreActResNet18()),
        ((2, 17, 40), PreActResNet18()),
    ],
)
def test_the_default_fits_the_images(shape: Shape, wanted: Choice) -> None:
    assert default_for(shape) == wanted


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_comes_back_from_its_name_and_arguments(name: str) -> None:
    choice = CHOICES[name]()
    assert name_of(choice) == name
    assert CHOICES[name](**arguments_of(choice)) == choice


def test_arguments_are_plain_values() -> None:
    arguments = arguments_of(WideResNet(activation=Activation.GELU))
    assert arguments == {"depth": 28, "widen": 10, "activation": "gelu"}
    assert {type(value) for value in arguments.values()} == {int, str}
