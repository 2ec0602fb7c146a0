"""The same model, images and steps in another implementation: ART's projected gradient descent."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harden.attacks import Keep, Pgd
from harden.seeds import stream
from harden.threat import Norm, ThreatModel

pytestmark = pytest.mark.slow
ORDERS = {Norm.linf: np.inf, Norm.l2: 2}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def network() -> nn.Module:
    generator = torch.Generator().manual_seed(11)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(54, 5),
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.35)
    return model.eval()


def theirs(model: nn.Module, x: Tensor, y: Tensor, norm: Norm, eps: float, *, steps: int, share: float) -> Tensor:
    pytest.importorskip("art")
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    estimator: Any = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), input_shape=(1, 8, 8), nb_classes=5, clip_values=(0.0, 1.0), device_type="cpu"
    )
    attack = ProjectedGradientDescentPyTorch(
        estimator,
        norm=ORDERS[norm],
        eps=eps,
        eps_step=share * eps,
        max_iter=steps,
        num_random_init=0,
        batch_size=64,
        verbose=False,
    )
    return torch.from_numpy(attack.generate(x.numpy(), np.eye(5, dtype=np.float32)[y.numpy()]))


def ours(model: nn.Module, x: Tensor, y: Tensor, norm: Norm, eps: float, *, steps: int, share: float) -> Tensor:
    attack = Pgd(steps=steps, step=share, start=False, keep=Keep.last)
    return attack(model, x, y, ThreatModel(norm=norm, eps=str(eps)), rng=stream(0).at(torch.arange(len(x))))


@pytest.mark.parametrize(("norm", "eps"), [(Norm.linf, 0.04), (Norm.l2, 0.25)])
def test_one_step_agrees_with_art_to_a_millionth_and_forty_break_the_same_images(norm: Norm, eps: float) -> None:
    model = network()
    x = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    y = model(x).argmax(1)
    one = [run(model, x, y, norm, eps, steps=1, share=1.0) for run in (ours, theirs)]
    torch.testing.assert_close(one[0], one[1], rtol=0, atol=1e-6)
    forty = [run(model, x, y, norm, eps, steps=40, share=0.0625) for run in (ours, theirs)]
    broken = [model(x_adv).argmax(1) != y for x_adv in forty]
    torch.testing.assert_close(broken[0], broken[1])
    assert 10 < broken[0].sum() < 54  # else the agreement would say little
