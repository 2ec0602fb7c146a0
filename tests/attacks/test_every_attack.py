"""What holds for every attack that a suite may run: ball, box, company, silence, and success that is real."""

import pytest
import torch
from torch import Tensor, nn

from harden.attacks import (
    Adaptive,
    ApgdCe,
    ApgdDlr,
    ApgdT,
    Attack,
    Borrowed,
    Cw,
    Ddn,
    DiFgsm,
    FabT,
    Fmn,
    MiFgsm,
    MinimumNorm,
    NFgsm,
    Pgd,
    Pointwise,
    Square,
    TiFgsm,
    fooled,
)
from harden.errors import ConfigError
from harden.seeds import stream
from harden.threat import Norm, ThreatModel

RADII = {Norm.linf: "0.08", Norm.l2: "0.5", Norm.l1: "3"}
ATTACKS: list[Attack] = [
    ApgdCe(steps=20),
    ApgdDlr(steps=20, restarts=2),
    ApgdT(steps=20, targets=2),
    FabT(steps=25, targets=3),
    Square(queries=120),
    Square(queries=120, whole=False),
    Fmn(steps=40),
    Pointwise(),
    Borrowed(base=MiFgsm(), source="another"),
    Ddn(steps=40),
    Cw(rounds=2, steps=30),
    MiFgsm(),
    DiFgsm(),
    TiFgsm(kernel=3),
    Adaptive(base=Pgd(steps=4), samples=2),
]
CASES = [
    pytest.param(attack, norm, id=f"{attack.label}-{norm.value}")
    for attack in ATTACKS
    for norm in Norm
    if (norm is Norm.l2 or not isinstance(attack, Ddn | Cw)) and (norm is Norm.l1 or not isinstance(attack, Pointwise))
]
every = pytest.mark.parametrize(("attack", "norm"), CASES)
IDS = torch.tensor([40, 3, 17, 8, 99, 5, 61, 12])


def network() -> nn.Module:
    rng = torch.Generator().manual_seed(3)
    model = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(600, 5))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng) * 0.25)
    return model


MODEL = network()
X = torch.rand(8, 1, 10, 10, generator=torch.Generator().manual_seed(0))
Y = MODEL(X).argmax(1)


def run(attack: Attack, norm: Norm, rows: Tensor) -> Tensor:
    threat = ThreatModel(norm=norm, eps=RADII[norm])
    return attack(MODEL, X[rows], Y[rows], threat, rng=stream(0).at(IDS[rows]))


@every
def test_candidates_lie_in_ball_and_box(attack: Attack, norm: Norm) -> None:
    x_adv, threat = run(attack, norm, torch.arange(8)), ThreatModel(norm=norm, eps=RADII[norm])
    assert x_adv.shape == X.shape
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    assert threat.distance(x_adv, X).max() <= threat.radius * (1 + 1e-5) + 1e-7


@every
def test_what_an_attack_finds_for_an_image_knows_no_company(attack: Attack, norm: Norm) -> None:
    whole = run(attack, norm, torch.arange(8))
    parts = torch.cat([run(attack, norm, torch.arange(0, 3)), run(attack, norm, torch.arange(3, 8))])
    broken, again = (fooled(MODEL(x), Y) for x in (whole, parts))
    torch.testing.assert_close(again, broken)
    torch.testing.assert_close(parts, whole, rtol=0, atol=5e-4)


@every
def test_the_model_and_the_random_state_are_as_before(attack: Attack, norm: Norm) -> None:
    before, state = {k: v.clone() for k, v in MODEL.state_dict().items()}, torch.get_rng_state()
    images = X.clone()
    MODEL.train()
    run(attack, norm, torch.arange(4))
    assert MODEL.training
    assert all(p.requires_grad and p.grad is None for p in MODEL.parameters())
    assert all(torch.equal(v, before[k]) for k, v in MODEL.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(X, images)


@every
def test_something_is_broken(attack: Attack, norm: Norm) -> None:
    assert fooled(MODEL(run(attack, norm, torch.arange(8))), Y).sum() >= (1 if isinstance(attack, Square) else 2)


@every
def test_no_images_give_no_candidates(attack: Attack, norm: Norm) -> None:
    assert run(attack, norm, torch.arange(0)).shape == (0, 1, 10, 10)


MINIMUM = [case for case in CASES if isinstance(case.values[0], MinimumNorm)]


@pytest.mark.parametrize(("attack", "norm"), MINIMUM)
def test_what_a_minimum_norm_attack_returns_is_misclassified_or_the_image_itself(
    attack: MinimumNorm, norm: Norm
) -> None:
    threat = ThreatModel(norm=norm, eps=RADII[norm])
    with torch.no_grad():
        found = attack.closest(MODEL, X, Y, threat, rng=stream(0).at(IDS))
        moved = (found != X).flatten(1).any(1)
        assert moved.sum() >= 6
        assert fooled(MODEL(found), Y)[moved].all()


@pytest.mark.parametrize(("attack", "norm"), MINIMUM)
def test_leaving_once_near_enough_breaks_the_same_samples(attack: MinimumNorm, norm: Norm) -> None:
    threat = ThreatModel(norm=norm, eps=RADII[norm])
    with torch.no_grad():
        far = attack.closest(MODEL, X, Y, threat, rng=stream(0).at(IDS))
        near = attack.closest(MODEL, X, Y, threat, rng=stream(0).at(IDS), enough=threat.radius)
    inside = [(threat.distance(one, X) <= threat.radius) & fooled(MODEL(one), Y) for one in (far, near)]
    assert not bool((inside[1] & ~inside[0]).any())
    assert (inside[0] & ~inside[1]).sum() <= 1  # the final bisection, which only the full search does, may gain one


@pytest.mark.parametrize("attack", [Ddn(), Cw()])
def test_an_attack_of_one_norm_refuses_the_others(attack: Attack) -> None:
    with pytest.raises(ConfigError, match="searches in l2 only"):
        run(attack, Norm.linf, torch.arange(2))


def test_n_fgsm_leaves_the_ball_on_purpose_and_says_so() -> None:
    attack = NFgsm()
    x_adv = run(attack, Norm.linf, torch.arange(8))
    assert attack.leaves_ball
    assert (x_adv - X).abs().max() > 0.16
    assert (x_adv - X).abs().max() <= 3 * 0.08 + 1e-6
    with pytest.raises(ConfigError, match="works in linf"):
        run(attack, Norm.l2, torch.arange(2))


BAD = [
    (ApgdCe, {"steps": 0}),
    (ApgdT, {"targets": 0}),
    (ApgdCe, {"rho": 1.5}),
    (FabT, {"targets": 0}),
    (Square, {"p": 0.0}),
    (Square, {"queries": 0}),
    (Fmn, {"gamma": 1.0}),
    (Ddn, {"size": 0.0}),
    (Cw, {"rate": 0.0}),
    (MiFgsm, {"decay": -1.0}),
    (DiFgsm, {"shrink": 0.0}),
    (TiFgsm, {"kernel": 4}),
    (NFgsm, {"step": 0.0}),
    (Adaptive, {}),
]


@pytest.mark.parametrize(("kind", "knobs"), BAD)
def test_knobs_out_of_range_are_refused(kind: type, knobs: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"attack\."):
        kind(**knobs)
