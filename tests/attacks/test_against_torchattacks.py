"""The attacks of AutoAttack's standard set, sample by sample against torchattacks (a development dependency)."""

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harden.attacks import ApgdCe, ApgdT, Attack, FabT, Square
from harden.attacks import fab as fab_module
from harden.attacks.base import frozen
from harden.data import Digits, load
from harden.seeds import stream
from harden.threat import ThreatModel

torchattacks = pytest.importorskip("torchattacks")
EPS, COUNT = 0.1, 300


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, Tensor, Tensor]:
    """A small network on digits, hardened a little, so that some images withstand and some do not."""
    data = load(Digits())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(256, 10),
        )  # fmt: skip
    optimiser, x, y = torch.optim.Adam(model.parameters(), 3e-3), *data.train.batch(torch.arange(len(data.train)))[:2]
    for step in range(250):
        rows = torch.arange(step * 128, (step + 1) * 128) % len(y)
        images = x[rows].clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(nn.functional.cross_entropy(model(images), y[rows]), images)
        near = (x[rows] + 0.08 * slope.sign()).clamp(0, 1)
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(near), y[rows]).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    batch = data.test.batch(torch.arange(COUNT))
    right = model(batch.x).argmax(1) == batch.y
    return model.eval(), batch.x[right], batch.y[right]


PAIRS: dict[str, tuple[Attack, Any]] = {
    "APGD-CE": (ApgdCe(), lambda model: torchattacks.APGD(model, eps=EPS, steps=100, seed=0)),
    "APGD-T": (ApgdT(), lambda model: torchattacks.APGDT(model, eps=EPS, steps=100, seed=0)),
    "FAB-T": (FabT(), lambda model: torchattacks.FAB(model, eps=EPS, steps=100, multi_targeted=True, seed=0)),
    "Square": (
        Square(whole=False, queries=1500),
        lambda model: torchattacks.Square(model, eps=EPS, n_queries=1500, seed=0),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PAIRS)
def test_flags_agree_on_99_percent_and_ours_never_leave_more(
    name: str, trained: tuple[nn.Module, Tensor, Tensor]
) -> None:
    model, x, y = trained
    attack, make = PAIRS[name]
    ours = _broken(attack, model, x, y)
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        theirs = model(make(copy.deepcopy(model))(x, y)).argmax(1) != y
    assert 0.05 < theirs.float().mean() < 0.95
    assert (ours == theirs).float().mean() >= (0.97 if name == "Square" else 0.99)  # Square is luck in part
    assert ours.sum() >= theirs.sum() - (0.003 * len(y) if name != "Square" else 0.02 * len(y))


@pytest.mark.parametrize("rank", range(3))
def test_fab_comes_as_near_as_theirs_towards_each_target(rank: int, trained: tuple[nn.Module, Tensor, Tensor]) -> None:
    """FAB from the image itself draws nothing, so that both take the same path; rounding parts them in the end."""
    model, x, y = trained
    fab = torchattacks.FAB(copy.deepcopy(model), eps=EPS, steps=100, multi_targeted=True, seed=0)
    fab.target_class = rank + 2
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        theirs = (fab.attack_single_run_targeted(x, y) - x).abs().flatten(1).amax(1)
    ranked = model(x).argsort(dim=1, descending=True)
    with frozen(model):
        ours = fab_module._Search(model, x, y, ranked[:, rank + 1], ThreatModel(eps=str(EPS)), 0.0).run(100)[1]
    assert (ours > 1.01 * theirs).float().mean() <= 0.01
    assert (theirs > 1.01 * ours).float().mean() <= 0.01


def _broken(attack: Attack, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    threat = ThreatModel(eps=str(EPS))
    x_adv = attack(model, x, y, threat, rng=stream(0).at(torch.arange(len(y))))
    broken: Tensor = model(threat.project(x_adv, x)).argmax(1) != y
    return broken
