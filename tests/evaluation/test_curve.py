"""The curve from one minimum-norm run, tables by class, and the transfer matrix."""

import pytest
import torch
from torch import Tensor

from harden.attacks import Fgsm, Fmn, Pgd
from harden.data import Split
from harden.evaluation.classes import by_class
from harden.evaluation.curve import at, cross_checked, curve, distances, median, radii
from harden.evaluation.journal import Journal
from harden.evaluation.nearest import nearest
from harden.evaluation.transfer import Matrix
from harden.seeds import stream
from harden.threat import ThreatModel

W = torch.tensor([[1.0, -1.0, 0.5, 0.2], [-1.0, 1.0, -0.5, -0.2]])


def linear(x: Tensor) -> Tensor:
    return (x - 0.5).flatten(1) @ W.T


def split(n: int = 60) -> Split:
    x = 0.3 + 0.4 * torch.rand(n, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    return Split(x, linear(x).argmax(1))


def test_on_a_linear_model_the_curve_is_the_true_one() -> None:
    data, threat = split(), ThreatModel(eps="0.1")
    (part,) = nearest(
        linear, data, torch.arange(60), Fmn(), threat, rng=stream(0), batch_size=60, journal=Journal(None, "")
    )
    logits = linear(data.x)
    truth = (logits.max(1).values - logits.min(1).values) / (W[0] - W[1]).abs().sum()
    assert part.broken.all()
    torch.testing.assert_close(part.distance, truth.double(), rtol=0.01, atol=1e-4)
    for radius in radii(0.1, 1.0):
        assert abs(at(radius, part.distance).value - float((truth > radius).double().mean())) <= 1 / 60


def test_radii_span_twice_eps_in_at_least_nine_points_with_eps_among_them() -> None:
    found = radii(0.3, 1.0)
    assert len(found) >= 9
    assert found[0] == 0
    assert 0.3 in found
    assert found[-1] == pytest.approx(0.6)
    assert max(radii(0.8, 1.0)) <= 1.0


def test_wrong_samples_count_from_zero_and_unbroken_ones_to_the_end() -> None:
    clean = torch.tensor([True, True, False, True])
    found = [[0.2, torch.nan, torch.nan, 0.4], [0.3, torch.nan, 0.1, 0.1]]
    near = distances(clean, *(torch.tensor(one, dtype=torch.float64) for one in found))
    assert near.tolist() == [0.2, torch.inf, 0.0, 0.1]
    assert [one.value for one in curve([0.0, 0.1, 0.2, 9.0], near)] == [0.75, 0.5, 0.25, 0.25]
    assert median(near) == pytest.approx(0.1)
    assert median(torch.tensor([torch.inf, torch.inf, 0.0])) is None


def test_a_gap_of_more_than_a_point_is_a_finding() -> None:
    near = torch.cat([torch.full((95,), 1.0), torch.full((5,), 0.1)]).double()
    robust = torch.ones(100, dtype=torch.bool)
    robust[:7] = False
    check = cross_checked(0.5, near, robust)
    assert check.gap == pytest.approx(0.02)
    assert check.finding
    robust[:2] = True
    assert not cross_checked(0.5, near, robust).finding


def test_classes_tell_what_they_are_taken_for() -> None:
    y = torch.tensor([0, 0, 0, 1, 1])
    clean, robust = torch.tensor([1, 1, 0, 1, 1]).bool(), torch.tensor([1, 0, 0, 1, 1]).bool()
    rows = by_class(["a", "b", "c"], y, clean, robust, torch.tensor([-1, 2, 2, -1, -1]))
    assert [(row.name, row.n, row.mistaken_for) for row in rows] == [("a", 3, "c"), ("b", 2, None)]
    assert rows[0].clean.value == pytest.approx(2 / 3)
    assert rows[0].robust.value == pytest.approx(1 / 3)


def test_each_model_is_fooled_most_by_its_own_images() -> None:
    turned = W[:, [2, 0, 3, 1]]
    models = {"first": linear, "second": lambda x: (x - 0.5).flatten(1) @ turned.T + (x - 0.5).flatten(1) @ W.T}
    matrix = Matrix(models, split(), torch.arange(60), Pgd(steps=5), ThreatModel(eps="0.05"), rng=stream(0))
    assert sum(one.images for one in matrix) == 120
    assert matrix.result is not None
    assert matrix.result.finding == ()
    assert matrix.result.accuracy[0][0].value < matrix.result.accuracy[1][0].value


def test_a_model_whose_gradients_lie_is_found_out_by_anothers_images() -> None:
    def lying(x: Tensor) -> Tensor:
        return linear(x).detach() + 0 * linear(x) - 1e-3 * (linear(x) - linear(x).detach())

    matrix = Matrix(
        {"honest": linear, "lying": lying}, split(), torch.arange(60), Fgsm(), ThreatModel(eps="0.05"), rng=stream(0)
    )
    list(matrix)
    assert matrix.result is not None
    assert matrix.result.finding == ("lying",)
