"""Which point of its way an attack hands back, and towards which class it goes."""

import pytest
import torch
from torch import Tensor, nn

from harden.attacks import Fgsm, Keep, Loss, Pgd, Target
from harden.attacks.ascent import best_iterate
from harden.attacks.losses import margin
from harden.errors import ConfigError
from harden.seeds import stream
from harden.threat import Norm, ThreatModel
from harden.training import Madry

THREAT = ThreatModel(eps="0.2")
RNG = stream(0, "test").at(torch.arange(8))
X = torch.rand(8, 1, 4, 4, generator=torch.Generator().manual_seed(1)) * 0.6 + 0.2


def network() -> nn.Module:
    generator = torch.Generator().manual_seed(5)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 4))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return model


MODEL = network()
Y = MODEL(X).argmax(1)


def bumps(x: Tensor) -> Tensor:
    """Class 0 by a margin that the mean pixel m moves as cos(20 pi m): a step of 0.1 leaps from peak to trough."""
    wave = torch.cos(20 * torch.pi * x.flatten(1).mean(1))
    return torch.stack([torch.zeros_like(wave), wave - 2], dim=1)


@pytest.mark.parametrize("norm", list(Norm))
def test_fgsm_is_one_step_of_pgd_without_a_start_bit_for_bit(norm: Norm) -> None:
    threat = ThreatModel(norm=norm, eps="0.1")
    pgd = Pgd(steps=1, step=1.0, start=False, keep=Keep.last)
    torch.testing.assert_close(Fgsm()(MODEL, X, Y, threat, rng=RNG), pgd(MODEL, X, Y, threat, rng=RNG), rtol=0, atol=0)


def test_fgsm_rs_is_one_long_step_of_pgd_bit_for_bit() -> None:
    rs, pgd = Fgsm(step=1.25, start=True), Pgd(steps=1, step=1.25, keep=Keep.last)
    torch.testing.assert_close(rs(MODEL, X, Y, THREAT, rng=RNG), pgd(MODEL, X, Y, THREAT, rng=RNG), rtol=0, atol=0)


def test_the_start_is_kept_where_every_step_makes_it_worse() -> None:
    x, y = torch.full((1, 1, 2, 2), 0.5005), torch.zeros(1, dtype=torch.int64)
    rng = stream(0).at(torch.zeros(1, dtype=torch.int64))
    away = Pgd(steps=1, step=0.25, start=False)  # 0.05 along the slope, from near the peak over it to the trough
    best = away(bumps, x, y, THREAT, rng=rng)
    torch.testing.assert_close(best, x, rtol=0, atol=0)
    last = Pgd(steps=1, step=0.25, start=False, keep=Keep.last)(bumps, x, y, THREAT, rng=rng)
    assert margin(bumps(last), y) < margin(bumps(best), y) - 1


def test_the_last_iterate_is_kept_where_it_is_best() -> None:
    best, last = (Pgd(steps=1, step=1.0, start=False, keep=keep) for keep in (Keep.best, Keep.last))
    linear = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
    y = linear(X).argmin(1)  # broken already: only the margin tells the points apart
    a, b = (attack(linear, X, y, THREAT, rng=RNG) for attack in (best, last))
    torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert not torch.equal(a, X)


def test_the_best_iterate_is_the_one_that_an_exhaustive_look_back_finds() -> None:
    seen: list[Tensor] = []

    def watched(x: Tensor) -> Tensor:
        seen.append(x.detach().clone())
        logits: Tensor = MODEL(x)
        return logits

    best, top = best_iterate(
        watched, X, X.clone(), lambda z: -margin(z, Y), lambda z: margin(z, Y), THREAT, steps=6, size=0.09
    )
    assert len(seen) == 7
    margins = torch.stack([margin(MODEL(x), Y) for x in seen]).detach()
    torch.testing.assert_close(top, margins.amax(0), rtol=0, atol=1e-6)
    torch.testing.assert_close(best, torch.stack(seen)[margins.argmax(0), torch.arange(8)], rtol=0, atol=0)


def test_more_restarts_never_lose_what_fewer_found() -> None:
    threat = ThreatModel(eps="0.05")
    found = [margin(MODEL(Pgd(steps=3, restarts=n)(MODEL, X, Y, threat, rng=RNG)), Y) for n in (1, 2, 5)]
    assert (found[1] >= found[0] - 1e-6).all()
    assert (found[2] >= found[1] - 1e-6).all()
    assert (found[2] > found[0] + 1e-4).any()


def test_images_that_are_all_broken_take_no_further_restart() -> None:
    passes: list[int] = []

    def counted(x: Tensor) -> Tensor:
        passes.append(len(x))
        logits: Tensor = MODEL(x.view(len(x), -1))  # a view that torch refuses for an empty batch
        return logits

    wrong = (Y + 1) % 4
    Pgd(steps=2, restarts=5)(counted, X, wrong, ThreatModel(eps="0"), rng=RNG)
    assert passes == [8, 8, 8]


@pytest.mark.parametrize(("target", "place"), [(Target.runner_up, 1), (Target.least_likely, 3)])
def test_a_targeted_attack_ends_in_the_class_that_it_names(target: Target, place: int) -> None:
    threat = ThreatModel(eps="1")
    wanted = MODEL(X).argsort(dim=1, descending=True)[:, place]
    attack = Pgd(steps=40, step=0.1, start=False, target=target, keep=Keep.last)
    torch.testing.assert_close(MODEL(attack(MODEL, X, Y, threat, rng=RNG)).argmax(1), wanted)


@pytest.mark.parametrize(("target", "place"), [(Target.runner_up, 1), (Target.least_likely, 3)])
def test_with_the_margin_loss_the_named_class_overtakes_the_label(target: Target, place: int) -> None:
    wanted = MODEL(X).argsort(dim=1, descending=True)[:, [place]]
    attack = Pgd(steps=40, step=0.1, start=False, target=target, loss=Loss.margin, keep=Keep.last)
    logits = MODEL(attack(MODEL, X, Y, ThreatModel(eps="1"), rng=RNG))
    assert (logits.gather(1, wanted) > logits.gather(1, Y[:, None])).all()


def test_a_random_target_is_a_wrong_class_and_differs_between_images() -> None:
    attack = Pgd(steps=40, step=0.1, start=False, target=Target.random, loss=Loss.margin, keep=Keep.last)
    reached = MODEL(attack(MODEL, X, Y, ThreatModel(eps="1"), rng=RNG)).argmax(1)
    assert (reached != Y).all()
    assert len((reached - Y).remainder(4).unique()) > 1


def test_targeted_restarts_take_one_wrong_class_after_the_other() -> None:
    attack = Pgd(steps=1, restarts=6, target=Target.runner_up)
    order = MODEL(X).argsort(dim=1, descending=True)
    targets = attack._targets(MODEL, X, Y, RNG)
    assert targets is not None
    torch.testing.assert_close(targets, order[:, 1:])


@pytest.mark.parametrize(
    "knobs",
    [
        {"steps": 0},
        {"restarts": 0},
        {"step": 0.0},
        {"step": 2.1},
        {"step": float("nan")},
    ],
)
def test_knobs_that_make_no_sense_are_refused(knobs: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"^attack\."):
        Pgd(**knobs)  # type: ignore[arg-type]


def test_the_last_iterate_of_several_restarts_is_refused_as_a_request_and_as_a_call() -> None:
    attack = Pgd(restarts=2, keep=Keep.last)
    with pytest.raises(ConfigError, match="keep=last cannot choose between restarts"):
        Madry().accept(attack)
    with pytest.raises(ValueError, match="keep the best one"):
        attack(MODEL, X, Y, THREAT, rng=RNG)


def test_fgsm_refuses_a_step_of_nothing() -> None:
    with pytest.raises(ConfigError, match=r"attack\.step must lie in \(0, 2\], a share of eps, got 0$"):
        Fgsm(step=0)


def test_labels_name_what_decides_an_attacks_strength() -> None:
    assert [a.label for a in (Fgsm(), Fgsm(start=True), Pgd(), Pgd(steps=50, restarts=5))] == [
        "FGSM",
        "FGSM-RS",
        "PGD-7",
        "PGD-50x5",
    ]
    assert Pgd(steps=9, target=Target.runner_up).label == "PGD-9 to runner_up"


@pytest.mark.parametrize(("steps", "share"), [(1, 1.0), (2, 1.0), (5, 0.5), (50, 0.05)])
def test_the_usual_step_is_two_and_a_half_radii_over_the_steps_and_at_most_one(steps: int, share: float) -> None:
    assert Pgd(steps=steps).share == pytest.approx(share)
