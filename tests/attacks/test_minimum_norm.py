"""Minimum-norm attacks against the true distances of linear models, found by linear programming and by bisection."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor

from harden.attacks import ApgdCe, ApgdT, Cw, Ddn, FabT, Fmn, MinimumNorm, Square, fooled
from harden.attacks.hyperplane import step_onto
from harden.seeds import stream
from harden.threat import Norm, ThreatModel

COUNT, PIXELS = 12, 25
RNG = torch.Generator().manual_seed(2)
X = torch.rand(COUNT, 1, 5, 5, generator=RNG)
WEIGHT = {classes: torch.randn(classes, PIXELS, generator=RNG) for classes in (2, 6)}


class Linear:
    def __init__(self, classes: int) -> None:
        self.weight = WEIGHT[classes]
        self.bias = -(X.flatten(1) @ self.weight.T).mean(0)

    def __call__(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T + self.bias


def true_distance(model: Linear, norm: Norm) -> Tensor:
    """The distance to the nearest point of the box where another class draws level, (n,)."""
    logits = model(X)
    y, best = logits.argmax(1), torch.full((COUNT,), torch.inf, dtype=torch.float64)
    for i in range(COUNT):
        for target in set(range(len(model.weight))) - {int(y[i])}:
            normal = (model.weight[target] - model.weight[y[i]]).double().numpy()
            gap = float(logits[i, y[i]] - logits[i, target])
            found = SOLVE[norm](normal, gap, X[i].flatten().double().numpy())
            best[i] = min(float(best[i]), found)
    return best


def by_bisection(normal: np.ndarray, gap: float, x: np.ndarray) -> float:
    """l2: the step grows along the normal until the gap is closed, each pixel as far as the box allows."""
    room = np.where(normal > 0, 1 - x, x)
    low, high = 0.0, 1e3
    if np.sum(abs(normal) * room) < gap:
        return float("inf")
    for _ in range(100):
        middle = (low + high) / 2
        closed = np.sum(abs(normal) * np.minimum(middle * abs(normal), room)) >= gap
        low, high = (low, middle) if closed else (middle, high)
    return float(np.linalg.norm(np.minimum(high * abs(normal), room)))


def by_program(normal: np.ndarray, gap: float, x: np.ndarray, *, sup: bool) -> float:
    """linf and l1 as linear programs: minimise t, or the sum of sizes, with normal . d >= gap inside the box."""
    d = len(x)
    sizes = 1 if sup else d
    eye, tie = np.eye(d), (np.ones((d, 1)) if sup else np.eye(d))
    rows = np.block([[eye, -tie], [-eye, -tie], [-normal[None], np.zeros((1, sizes))]])
    answer = linprog(
        np.concatenate([np.zeros(d), np.ones(sizes)]),
        A_ub=rows,
        b_ub=np.concatenate([np.zeros(2 * d), [-gap]]),
        bounds=[*zip(-x, 1 - x, strict=True), *[(0, None)] * sizes],
    )
    return float(answer.fun) if answer.success else float("inf")


SOLVE: dict[Norm, Callable[[np.ndarray, float, np.ndarray], float]] = {
    Norm.l2: by_bisection,
    Norm.linf: lambda normal, gap, x: by_program(normal, gap, x, sup=True),
    Norm.l1: lambda normal, gap, x: by_program(normal, gap, x, sup=False),
}

MINIMUM = [
    *((attack, norm, 1.01) for attack in (FabT(), Fmn()) for norm in Norm),
    (Ddn(), Norm.l2, 1.15),
    (Cw(rounds=8, steps=300), Norm.l2, 1.05),
]


@pytest.mark.parametrize("classes", [2, 6])
@pytest.mark.parametrize(("attack", "norm", "factor"), MINIMUM)
def test_the_distance_found_is_the_true_one(attack: MinimumNorm, norm: Norm, factor: float, classes: int) -> None:
    model = Linear(classes)
    y, truth = model(X).argmax(1), true_distance(model, norm)
    threat = ThreatModel(norm=norm, eps="0.1")
    with torch.no_grad():
        found = attack.closest(model, X, y, threat, rng=stream(0).at(torch.arange(COUNT)))
    ratio = threat.distance(found, X) / truth
    assert fooled(model(found), y).all()
    assert (ratio >= 1 - 1e-4).all()
    assert ratio.mean() <= factor
    assert ratio.max() <= 1.25


@pytest.mark.parametrize("classes", [2, 6])
@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("attack", [ApgdT(), FabT()], ids=lambda one: one.label)
def test_one_percent_beyond_the_true_distance_every_image_breaks_and_one_below_none(
    attack: ApgdT | FabT, norm: Norm, classes: int
) -> None:
    model = Linear(classes)
    y, truth = model(X).argmax(1), true_distance(model, norm)
    for factor, wanted in ((1.01, True), (0.99, False)):
        for i in range(COUNT):
            threat = ThreatModel(norm=norm, eps=repr(float(truth[i]) * factor))
            x_adv = attack(model, X[i : i + 1], y[i : i + 1], threat, rng=stream(0).at(torch.tensor([i])))
            assert bool(model(threat.project(x_adv, X[i : i + 1])).argmax(1) != y[i]) is wanted


@pytest.mark.parametrize("attack", [ApgdCe(), Square(queries=3000)], ids=lambda one: one.label)
def test_between_two_classes_in_linf_the_others_do_too(attack: ApgdCe | Square) -> None:
    model = Linear(2)
    y, truth = model(X).argmax(1), true_distance(model, Norm.linf)
    for i in range(COUNT):
        threat = ThreatModel(eps=repr(float(truth[i]) * 1.01))
        x_adv = attack(model, X[i : i + 1], y[i : i + 1], threat, rng=stream(0).at(torch.tensor([i])))
        assert model(threat.project(x_adv, X[i : i + 1])).argmax(1) != y[i]


@pytest.mark.parametrize("norm", list(Norm))
def test_the_step_onto_a_plane_is_the_smallest_in_the_box(norm: Norm) -> None:
    rng = torch.Generator().manual_seed(9)
    point, normal = torch.rand(30, 20, generator=rng).double(), torch.randn(30, 20, generator=rng).double()
    offset = torch.randn(30, generator=rng).double() * 2
    step = step_onto(point, normal, offset, norm, 0.0, 1.0)
    landed = point + step
    assert landed.min() >= -1e-12
    assert landed.max() <= 1 + 1e-12
    sizes = torch.linalg.vector_norm(step, ord={Norm.linf: torch.inf, Norm.l2: 2, Norm.l1: 1}[norm], dim=1)
    for i in range(30):
        towards = -normal[i] * offset[i].sign()
        truth = SOLVE[norm](towards.numpy(), float(offset[i].abs()), point[i].numpy())
        if np.isfinite(truth):
            assert (normal[i] * step[i]).sum().item() == pytest.approx(-offset[i].item(), abs=1e-9)
            assert sizes[i].item() == pytest.approx(truth, rel=1e-6)
        else:
            assert (normal[i] * step[i]).sum().abs() < offset[i].abs()
