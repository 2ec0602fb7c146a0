"""A classifier takes pixels: normalisation is inside, and a gradient is one in pixel units."""

import pytest
import torch
from torch import nn

from harden.models import Classifier


def test_normalisation_happens_inside() -> None:
    model = Classifier(nn.Flatten(), mean=[0.5, 0.1], std=[0.25, 2.0])
    x = torch.tensor([[[[0.75]], [[0.5]]]])
    torch.testing.assert_close(model(x), torch.tensor([[1.0, 0.2]]))


def test_the_gradient_is_in_pixel_units() -> None:
    model = Classifier(nn.Flatten(), mean=[0.5], std=[0.25])
    x = torch.full((2, 1, 1, 1), 0.3, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(x).sum(), x)
    torch.testing.assert_close(gradient, torch.full_like(x, 4.0))


def test_mean_and_std_travel_with_the_weights_but_are_not_trained() -> None:
    model = Classifier(nn.Flatten(), mean=[0.5, 0.1], std=[0.25, 2.0])
    assert {name: tuple(t.shape) for name, t in model.state_dict().items()} == {
        "mean": (2, 1, 1),
        "std": (2, 1, 1),
    }
    assert list(model.parameters()) == []


@pytest.mark.parametrize(("mean", "std"), [([0.5], [0.0]), ([0.5], [-1.0]), ([0.5, 0.5], [1.0])])
def test_impossible_statistics_are_refused(mean: list[float], std: list[float]) -> None:
    with pytest.raises(ValueError, match="wanted one mean and one positive std a channel"):
        Classifier(nn.Flatten(), mean=mean, std=std)
