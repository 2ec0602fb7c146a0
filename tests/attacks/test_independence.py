"""What an attack finds for an image depends on the image, its id and the seed: on no neighbour, order or batch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from harden.attacks import Attack, Fgsm, Pgd, Target
from harden.seeds import Stream, stream
from harden.threat import Norm, ThreatModel

IDS = torch.tensor([40, 3, 17, 8, 99, 5, 61])
X = torch.rand(7, 1, 5, 5, generator=torch.Generator().manual_seed(0))
THREATS = {Norm.linf: "0.1", Norm.l2: "0.5", Norm.l1: "2"}


def network(seed: int = 3) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(25, 12), nn.Tanh(), nn.Linear(12, 4)).double().float()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return model


MODEL = network()
Y = MODEL(X).argmax(1)
Y[2] = (Y[2] + 1) % 4  # broken from the start: it leaves the restarts early, and nobody may notice

attacks = pytest.mark.parametrize(
    "attack",
    [
        Fgsm(start=True),
        Pgd(steps=5, restarts=3),
        Pgd(steps=3, restarts=4, target=Target.random),
        Pgd(steps=3, restarts=3, target=Target.least_likely),
    ],
    ids=lambda attack: attack.label,
)
norms = pytest.mark.parametrize("norm", list(Norm))


def run(attack: Attack, rows: Tensor, norm: Norm = Norm.linf, rng: Stream | None = None) -> Tensor:
    threat = ThreatModel(norm=norm, eps=THREATS[norm])
    rng = (rng or stream(0, "test")).at(IDS[rows])
    return attack(MODEL, X[rows], Y[rows], threat, rng=rng)


@attacks
@norms
def test_seven_images_are_three_and_four(attack: Attack, norm: Norm) -> None:
    whole = run(attack, torch.arange(7), norm)
    parts = [run(attack, torch.arange(0, 3), norm), run(attack, torch.arange(3, 7), norm)]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=2e-6)


@attacks
@norms
def test_permuted_images_give_permuted_results(attack: Attack, norm: Norm) -> None:
    order = torch.tensor([6, 2, 0, 5, 1, 4, 3])
    torch.testing.assert_close(run(attack, order, norm), run(attack, torch.arange(7), norm)[order], rtol=0, atol=2e-6)


@attacks
def test_the_same_seed_gives_the_same_bits_and_another_one_other_points(attack: Attack) -> None:
    rows = torch.arange(7)
    once, again, other = (run(attack, rows, rng=stream(seed, "test")) for seed in (0, 0, 1))
    torch.testing.assert_close(once, again, rtol=0, atol=0)
    assert not torch.equal(once, other)


def test_two_images_with_one_id_start_at_the_same_offset_and_two_ids_do_not() -> None:
    threat = ThreatModel(eps="0.1")
    x = torch.full((3, 1, 5, 5), 0.5)
    offset = threat.random_start(x, stream(0).at(torch.tensor([4, 4, 5]))) - x
    torch.testing.assert_close(offset[0], offset[1], rtol=0, atol=0)
    assert (offset[0] - offset[2]).abs().max() > 0.01


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**20),
    norm=st.sampled_from(list(Norm)),
    eps=st.sampled_from(["0", "1/255", "8/255", "0.3", "1"]),
    attack=st.sampled_from([Fgsm(), Fgsm(start=True, step=2), Pgd(steps=3), Pgd(steps=2, restarts=2, step=2)]),
    low=st.sampled_from([0.0, -1.0]),
)
def test_every_result_lies_inside_ball_and_box(seed: int, norm: Norm, eps: str, attack: Attack, low: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    threat = ThreatModel(norm=norm, eps=eps, low=low, high=1.0)
    x = (torch.rand(5, 1, 5, 5, generator=generator) * 1.6 - 0.3).clamp(low, 1)  # many pixels stand at the edge
    y = torch.randint(0, 4, (5,), generator=generator)
    x_adv = attack(network(seed), x, y, threat, rng=stream(seed).at(torch.arange(5)))
    assert x_adv.shape == x.shape
    assert x_adv.dtype == torch.float32
    assert low <= x_adv.min()
    assert x_adv.max() <= 1
    assert threat.distance(x_adv, x).max() <= threat.radius + 1e-6


@attacks
@norms
def test_a_radius_of_zero_gives_the_image_itself(attack: Attack, norm: Norm) -> None:
    threat = ThreatModel(norm=norm, eps="0")
    x_adv = attack(MODEL, X, Y, threat, rng=stream(0).at(IDS))
    torch.testing.assert_close(x_adv, X, rtol=0, atol=0)
