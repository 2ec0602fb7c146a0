"""The judge believes no attack: it projects, runs the model again and counts over all samples."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

from harden.attacks import Attack, Model, Pgd
from harden.data import Split
from harden.errors import DataError, WeightsError
from harden.evaluation import exact, joined, judge, judging, verdict
from harden.seeds import Stream, stream
from harden.threat import ThreatModel

RNG = stream(0, "judge")
THREAT = ThreatModel(eps="0.1")


@dataclass(frozen=True)
class Claiming(Attack):
    """Hands back a fixed change of every image, whatever the threat model allows."""

    change: float
    asked: list[list[int]] = field(default_factory=list)

    def propose(self, model: Model, x: Tensor, y: Tensor, threat: ThreatModel, *, rng: Stream) -> Tensor:
        assert rng.rows is not None
        self.asked.append(rng.rows.tolist())
        return x + self.change

    @property
    def label(self) -> str:
        return "claiming"


class Bright(nn.Module):
    """Class 1 where the mean pixel is above 0.5; its robust accuracy is known by arithmetic."""

    def forward(self, x: Tensor) -> Tensor:
        mean = x.flatten(1).mean(1)
        return torch.stack([0.5 - mean, mean - 0.5], dim=1)


def plain(values: list[float], labels: list[int]) -> Split:
    return Split(torch.tensor(values).view(-1, 1, 1, 1).repeat(1, 1, 2, 2), torch.tensor(labels))


VALUES, LABELS = [0.10, 0.42, 0.45, 0.58, 0.65, 0.70, 0.20], [0, 0, 0, 1, 1, 0, 1]
SPLIT = plain(VALUES, LABELS)
EVERY = torch.arange(7)


def test_the_outcome_is_the_one_that_arithmetic_gives() -> None:
    outcome = judge(Bright(), SPLIT, EVERY, Pgd(steps=5), THREAT, rng=RNG)
    assert outcome.clean.tolist() == [True, True, True, True, True, False, False]
    assert outcome.robust.tolist() == [True, False, False, False, True, False, False]
    assert outcome.clean_accuracy.value == pytest.approx(5 / 7)
    assert outcome.robust_accuracy.value == pytest.approx(2 / 7)
    assert outcome.robust_accuracy.n == 7


def test_an_attack_that_leaves_the_ball_wins_no_more_than_the_projected_point() -> None:
    outcome = judge(Bright(), plain([0.30, 0.45], [0, 0]), torch.arange(2), Claiming(0.4), THREAT, rng=RNG)
    assert outcome.robust.tolist() == [True, False]  # 0.30 + 0.4 would be class 1, 0.30 + 0.1 is not
    assert outcome.excess == pytest.approx(0.3, abs=1e-6)


@pytest.mark.parametrize("change", [float("nan"), float("inf"), -float("inf")])
def test_a_candidate_that_is_not_finite_counts_as_no_attempt(change: float) -> None:
    outcome = judge(Bright(), SPLIT, EVERY, Claiming(change), THREAT, rng=RNG)
    assert torch.equal(outcome.robust, outcome.clean)
    assert outcome.excess == 0


def test_a_candidate_outside_the_box_is_cut_by_it() -> None:
    x, y = torch.full((1, 1, 2, 2), 0.95), torch.tensor([1])

    def fooled_beyond_white(x: Tensor) -> Tensor:
        return torch.stack([x.amax((1, 2, 3)) - 1.001, torch.zeros(len(x))], dim=1)

    assert fooled_beyond_white(x + 0.08).argmax(1).tolist() == [0]  # inside the ball, but 1.03 is no pixel
    withstood, excess = verdict(fooled_beyond_white, x, y, x + 0.08, THREAT)
    assert withstood.tolist() == [True]
    assert excess == 0


def test_a_lie_within_the_rules_of_floating_point_is_no_excess() -> None:
    outcome = judge(Bright(), plain([0.3], [0]), torch.arange(1), Claiming(0.1), THREAT, rng=RNG)
    assert outcome.excess < 1e-6


def test_only_images_that_are_right_when_clean_are_attacked() -> None:
    attack = Claiming(0.0)
    outcome = judge(Bright(), SPLIT, EVERY, attack, THREAT, rng=RNG, batch_size=4)
    assert attack.asked == [[0, 1, 2, 3], [4]]
    assert not outcome.robust[5:].any()


def test_a_batch_without_a_single_right_image_needs_no_attack() -> None:
    attack = Claiming(0.0)
    outcome = judge(Bright(), SPLIT, torch.tensor([5, 6]), attack, THREAT, rng=RNG)
    assert attack.asked == []
    assert outcome.robust_accuracy.value == 0
    assert outcome.robust_accuracy.n == 2


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 100])
def test_the_outcome_does_not_depend_on_the_batch_size(batch_size: int) -> None:
    wanted = judge(network(), dim_images(), torch.arange(30), Pgd(steps=3, restarts=2), THREAT, rng=RNG)
    found = judge(
        network(), dim_images(), torch.arange(30), Pgd(steps=3, restarts=2), THREAT, rng=RNG, batch_size=batch_size
    )
    assert torch.equal(found.clean, wanted.clean)
    assert torch.equal(found.robust, wanted.robust)
    assert 0 < wanted.robust.sum() < wanted.clean.sum()


def test_judging_yields_the_parts_of_which_judge_is_the_whole() -> None:
    order = torch.tensor([4, 2, 0, 6, 1])
    parts = list(judging(Bright(), SPLIT, order, Pgd(steps=3), THREAT, rng=RNG, batch_size=2))
    whole = judge(Bright(), SPLIT, order, Pgd(steps=3), THREAT, rng=RNG, batch_size=2)
    assert [len(part.clean) for part in parts] == [2, 2, 1]
    assert torch.equal(joined(parts).robust, whole.robust)
    assert joined(parts).excess == whole.excess
    assert whole.clean.tolist() == [True, True, True, False, True]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_the_weights_fault(number: float) -> None:
    with pytest.raises(WeightsError, match="logits are not finite"):
        judge(lambda x: torch.full((len(x), 2), number), SPLIT, EVERY, Pgd(), THREAT, rng=RNG)


def test_no_image_is_a_data_error() -> None:
    with pytest.raises(DataError, match="no image to judge"):
        judge(Bright(), SPLIT, torch.arange(0), Pgd(), THREAT, rng=RNG)


def test_modes_are_given_back_between_batches() -> None:
    model = network().train()
    for _ in judging(model, dim_images(), torch.arange(30), Pgd(steps=1), THREAT, rng=RNG, batch_size=10):
        assert all(module.training for module in model.modules())


def test_batch_statistics_do_not_enter_a_verdict() -> None:
    settled, training = network().eval(), network().train()
    before = {name: value.clone() for name, value in training.state_dict().items()}
    found = [judge(m, dim_images(), torch.arange(30), Pgd(steps=2), THREAT, rng=RNG) for m in (settled, training)]
    assert torch.equal(found[0].robust, found[1].robust)
    torch.testing.assert_close(dict(training.state_dict()), before, rtol=0, atol=0)


@contextmanager
def tf32() -> Iterator[None]:
    """Inside, TF32 is allowed, as a user may have set it."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = True
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def flags() -> tuple[bool, bool, bool]:
    return (
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
        torch.is_autocast_enabled("cpu"),
    )


def test_inside_exact_nothing_rounds_below_float32_and_afterwards_all_is_as_before() -> None:
    with tf32(), torch.autocast("cpu", dtype=torch.bfloat16):
        with exact():
            assert flags() == (False, False, False)
        assert flags() == (True, True, True)
        with pytest.raises(ArithmeticError), exact():
            raise ArithmeticError
        assert flags() == (True, True, True)


def test_a_model_is_judged_in_float32_also_under_autocast() -> None:
    seen: list[tuple[torch.dtype, tuple[bool, bool, bool]]] = []
    layer = nn.Linear(4, 2)

    def model(x: Tensor) -> Tensor:
        logits: Tensor = layer(x.flatten(1))
        seen.append((logits.dtype, flags()))
        return logits

    with tf32(), torch.autocast("cpu", dtype=torch.bfloat16):
        judge(model, SPLIT, EVERY, Pgd(steps=2), THREAT, rng=RNG)
    assert set(seen) == {(torch.float32, (False, False, False))}


def network() -> nn.Module:
    generator = torch.Generator().manual_seed(8)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return model


def dim_images() -> Split:
    x = torch.rand(30, 1, 5, 5, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        y = network().eval()(x).argmax(1)
    y[::7] = (y[::7] + 1) % 3
    return Split(x, y)
