"""The parts of single attacks: checkpoints, halving, patches, hooks, and what ART is asked."""

import copy
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harden.attacks import ApgdT, Art, Counted, Pgd, Square, bpda, expectation, swift
from harden.attacks.art import names
from harden.attacks.climb import checkpoints, climb
from harden.attacks.losses import cross_entropy, dlr, targeted_dlr
from harden.attacks.patches import corners, mosaic, pattern, window
from harden.errors import ConfigError
from harden.seeds import stream
from harden.threat import ThreatModel

RNG = stream(0).at(torch.arange(4))


def test_checkpoints_are_the_papers() -> None:
    """Croce and Hein 2020, section 3.2: periods of 22, 19, 16, 13, 10, 7, 6, 6 ... per cent."""
    assert list(checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert list(checkpoints(10)) == [2, 3, 4, 5, 6, 7, 8, 9]


def test_a_climb_that_overshoots_halves_its_step_until_it_stands_on_the_peak() -> None:
    x, y, peak = torch.full((2, 1, 2, 2), 0.5), torch.zeros(2, dtype=torch.int64), 0.53

    def model(z: Tensor) -> Tensor:
        away = ((z - peak) ** 2).flatten(1).sum(1)
        return torch.stack([1 + away, -away], dim=1)  # never misclassified; best at the peak

    threat = ThreatModel(eps="0.2")
    _, broken, best = climb(model, x, y, y, x, lambda z, label, _: cross_entropy(z, label), threat, steps=100, rho=0.75)
    assert not broken.any()
    assert (best - peak).abs().max() < 1e-3


def test_dlr_knows_neither_shift_nor_scale() -> None:
    z, y, target = torch.randn(5, 6, generator=torch.Generator().manual_seed(0)), torch.arange(5), torch.arange(1, 6)
    moved = z * 7 + 3
    torch.testing.assert_close(dlr(moved, y), dlr(z, y), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(targeted_dlr(moved, y, target), targeted_dlr(z, y, target), rtol=1e-4, atol=1e-5)
    ranked = z.sort(1, descending=True).values
    wanted = (z[0].clone().index_fill(0, y[:1], -99).max() - z[0, 0]) / (ranked[0, 0] - ranked[0, 2])
    assert dlr(z, y)[0].item() == pytest.approx(wanted.item(), rel=1e-5)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_targets_are_as_many_as_there_are_wrong_classes(classes: int) -> None:
    logits, y = torch.randn(4, classes), torch.zeros(4, dtype=torch.int64)
    targets = [target for _, target in ApgdT().objectives(logits, y)]
    assert len(targets) == classes - 1
    assert all(bool((target != y).all()) for target in targets)
    falling = torch.stack([logits.gather(1, target[:, None])[:, 0] for target in targets])
    assert bool((falling.diff(dim=0) <= 0).all())


def test_square_shrinks_its_patches_as_autoattack_does() -> None:
    sides = [Square().side(query, 784) for query in (1, 10, 11, 51, 201, 501, 1001, 2001, 4001, 4999)]
    assert sides == [25, 25, 18, 13, 9, 6, 4, 3, 2, 2]


def test_patches_reach_the_last_row_and_column_only_where_whole_is_said() -> None:
    """AutoAttack's Square draws the corner from 0..h-s-1: the last row and column are never covered."""

    def changed(whole: bool) -> Tensor:
        x, seen, first = torch.full((1, 1, 8, 8), 0.5), torch.zeros(8, 8, dtype=torch.bool), None

        def model(z: Tensor) -> Tensor:
            nonlocal seen, first
            first = z[0, 0].clone() if first is None else first
            seen |= (z[0, 0] - first).abs() > 1e-6
            return torch.tensor([[1.0, 0.0]]) + 0 * z.sum()

        Square(queries=400, whole=whole)(
            model, x, torch.tensor([0]), ThreatModel(eps="0.1"), rng=RNG.take(torch.tensor([0]))
        )
        return seen

    assert changed(True)[7].any()
    assert not changed(False)[7].any()


def test_windows_and_patterns() -> None:
    x = torch.arange(24.0).view(1, 1, 4, 6)
    inside = window(torch.tensor([1 * 6 + 3]), 2, x)
    assert x.flatten(2).gather(2, inside).flatten().tolist() == [9, 10, 15, 16]
    for side in (3, 5, 8):
        assert pattern(side).norm().item() == pytest.approx(1, abs=1e-6)
        assert pattern(side)[: side // 2].min() > 0
        assert pattern(side)[side // 2 :].max() < 0
    first = mosaic(torch.ones(2, 3, 5, 5), torch.empty(2, 3, 11, 11))
    assert (first != 0).flatten(2).any(2).all()


def test_corners_keep_every_window_inside_the_image_and_reach_all_of_it() -> None:
    x, sides = torch.empty(1, 3, 4, 6), [1, 2, 4]
    draw = torch.cartesian_prod(torch.linspace(0, 0.999, 40), torch.linspace(0, 0.999, 40))[:, None].expand(-1, 3, -1)
    for whole in (True, False):
        found = corners(draw, sides, x, whole=whole)
        for query, side in enumerate(sides):
            rows, columns = found[:, query] // 6, found[:, query] % 6
            assert rows.min() == columns.min() == 0
            assert rows.max() == max(4 - side - (not whole), 0)
            assert columns.max() == max(6 - side - (not whole), 0)


def test_an_expectation_averages_fresh_draws_and_leaves_the_generator_alone() -> None:
    noisy = nn.Dropout(0.5)
    state = torch.get_rng_state()
    averaged = expectation(lambda x: noisy(x), 200, rng=stream(0))
    x = torch.ones(3, 10)
    first, second = averaged(x), averaged(x)
    assert abs(first.mean().item() - 1) < 0.1
    assert not torch.equal(first, second)
    torch.testing.assert_close(expectation(lambda x: noisy(x), 200, rng=stream(0))(x), first)
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ConfigError, match="samples >= 1"):
        expectation(noisy, 0, rng=stream(0))


def test_bpda_goes_forward_by_one_and_back_by_the_other() -> None:
    x = torch.tensor([[0.2, 0.8]], requires_grad=True)
    hooked = bpda(torch.round)
    out = hooked(x)
    assert out.tolist() == [[0.0, 1.0]]
    assert torch.autograd.grad(out.sum(), x)[0].tolist() == [[1.0, 1.0]]
    squared = bpda(torch.round, lambda z: z**2)
    torch.testing.assert_close(torch.autograd.grad(squared(x).sum(), x)[0], torch.tensor([[0.4, 1.6]]))


def test_bpda_opens_a_quantised_model_to_pgd() -> None:
    linear, x = model_of(2), torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    def closed(z: Tensor) -> Tensor:
        out: Tensor = linear((z * 8).round() / 8)
        return out

    def opened(z: Tensor) -> Tensor:
        out: Tensor = linear(bpda(lambda v: (v * 8).round() / 8)(z))
        return out

    y, threat, rng = closed(x).argmax(1), ThreatModel(eps="0.3"), stream(0).at(torch.arange(6))
    attack = Pgd(steps=10, start=False)
    survived = [int((closed(attack(model, x, y, threat, rng=rng)).argmax(1) == y).sum()) for model in (closed, opened)]
    assert survived[1] < survived[0]


def model_of(classes: int = 3) -> nn.Module:
    rng = torch.Generator().manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, classes))
    with torch.no_grad():
        model[1].get_parameter("weight").copy_(torch.randn(classes, 64, generator=rng))
    return model


ART = [
    Art("FastGradientMethod"),
    Art("ProjectedGradientDescent", {"max_iter": 5}),
    Art("HopSkipJump", {"max_iter": 3, "max_eval": 100, "init_eval": 10}),
    Art("SquareAttack", {"max_iter": 20}),
    Art("CarliniL2Method", {"max_iter": 60}),
    Art("DeepFool", {"max_iter": 10}),
]


@pytest.mark.parametrize("attack", ART, ids=lambda one: one.label)
def test_arts_attacks_run_for_real_alike_each_time_and_leave_no_trace(
    attack: Art, capfd: pytest.CaptureFixture[str]
) -> None:
    model, x = model_of(), torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    meter, y = Counted(model), model(x).argmax(1)
    plain, torchs = cast(Any, np.random.get_state())[1].copy(), torch.get_rng_state()
    model.train()
    once, again = (attack(meter, x, y, ThreatModel(eps="0.3"), rng=RNG) for _ in range(2))
    assert meter.forwards > 4
    assert not torch.equal(once, x)
    torch.testing.assert_close(once, again)
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
    assert (cast(Any, np.random.get_state())[1] == plain).all()
    assert torch.equal(torch.get_rng_state(), torchs)
    assert capfd.readouterr().out == ""


def test_an_unknown_attack_of_arts_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"ART has no attack 'HopSkipJmp'; the nearest are: HopSkipJump"):
        Art("HopSkipJmp").check(ThreatModel())
    with pytest.raises(ConfigError, match=r"DeepFool has no argument maxiter; there are: max_iter"):
        Art("DeepFool", {"maxiter": 3}).check(ThreatModel())
    with pytest.raises(ConfigError, match="cannot hold eps"):
        Art("DeepFool", {"eps": 3})
    assert {"AutoAttack", "BoundaryAttack", "DeepFool"} <= set(names())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(4, 2, 1), (3, 1, 1), (3, 2, 0), (5, 3, 2), (1, 1, 0)])
def test_swift_gradients_are_autograds_and_leave_no_trace(
    channels: int, kernel: int, stride: int, padding: int
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        conv = nn.Conv2d(channels, 48, kernel, stride=stride, padding=padding).requires_grad_(False)
        x = torch.rand(5, channels, 11, 10, requires_grad=True)
        weight = torch.randn(conv(x).shape)
    wanted = torch.autograd.grad((conv(x) * weight).sum(), x)[0]
    plain = conv(x).detach()
    with swift(nn.Sequential(conv)):
        assert "forward" in vars(conv)
        torch.testing.assert_close(conv(x), plain, rtol=0, atol=0)
        assert type(conv(x).grad_fn).__name__ == "_ConvolvedBackward"
        found = torch.autograd.grad((conv(x) * weight).sum(), x)[0]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert "forward" not in vars(conv)


@pytest.mark.parametrize("bias", [True, False])
def test_swift_dense_layers_are_float32s_and_so_are_their_gradients(bias: bool) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dense = nn.Linear(400, 60, bias=bias).requires_grad_(False)
        x, weight = torch.randn(50, 400, requires_grad=True), torch.randn(50, 60)
    exact = copy.deepcopy(dense).double()
    wanted = torch.autograd.grad((exact(x.double()) * weight).sum(), x)[0]
    with swift(dense):
        found = dense(x)
        assert type(found.grad_fn).__name__ == "_MultipliedBackward"
        with torch.no_grad():
            assert torch.equal(dense(x), found)
        (gradient,) = torch.autograd.grad((found * weight).sum(), x)
        assert torch.equal(dense(x[:2]), nn.functional.linear(x[:2], dense.weight, dense.bias))  # too small to gain
    torch.testing.assert_close(found.double(), exact(x.double()), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, wanted, rtol=1e-5, atol=1e-5)


def test_swift_leaves_alone_what_it_does_not_know() -> None:
    convolutions = nn.Conv2d(4, 64, 3, groups=2), nn.Conv2d(4, 64, 3, dilation=2), nn.Conv2d(4, 8, 3)
    for model in (nn.Sequential(*convolutions), nn.Sequential(nn.Linear(2, 2)).double()):
        with swift(model):
            assert not any("forward" in vars(one) for one in model)
    with swift(lambda x: x):
        pass
    conv, dense = nn.Conv2d(1, 16, 3), nn.Linear(400, 60)  # their weights want gradients: they must come
    with swift(nn.ModuleList([conv, dense])):
        conv(torch.rand(1, 1, 5, 5, requires_grad=True)).sum().backward()
        dense(torch.rand(50, 400, requires_grad=True)).sum().backward()
    assert conv.weight.grad is not None
    assert dense.weight.grad is not None
