"""The black-box channel: uniform questions, exact chances, a network that learns them, and the gate."""

import math

import pytest
import torch
from scipy.stats import binom, chisquare, kstest
from torch import Tensor, nn
from torch.nn import functional as F

from harden.seeds import seeded, stream
from harden.watermarking.trigger import Change, gate, hits, log10_p, questions, taught

RNG = stream(0, "trigger")
KEY = bytes(range(32))


@pytest.mark.parametrize("classes", [2, 3, 10, 100, 256])
def test_labels_and_pixels_are_uniform(classes: int) -> None:
    asked = questions(KEY, 2000, shape=(1, 4, 4), classes=classes)
    assert chisquare(torch.bincount(asked.y, minlength=classes).numpy()).pvalue > 1e-3
    assert kstest((asked.x.flatten() * 255 + 0.5).numpy() / 256, "uniform").pvalue > 1e-4
    assert torch.equal((asked.x * 255).round() / 255, asked.x)


def test_questions_hang_on_every_bit_of_the_key_and_on_nothing_else() -> None:
    one = questions(KEY, 20, shape=(3, 8, 8), classes=10)
    again = questions(KEY, 50, shape=(3, 8, 8), classes=10)
    other = questions(bytes([1, *KEY[1:]]), 20, shape=(3, 8, 8), classes=10)
    assert torch.equal(one.x, again.x[:20])
    assert torch.equal(one.y, again.y[:20])
    assert (one.x == other.x).float().mean() < 0.02
    assert "tensor" not in repr(one)


@pytest.mark.parametrize(("key", "classes", "count"), [(KEY[:31], 10, 5), (KEY, 1, 5), (KEY, 257, 5), (KEY, 10, 0)])
def test_questions_that_make_no_sense_are_refused(key: bytes, classes: int, count: int) -> None:
    with pytest.raises(ValueError, match="wanted a key of 32 bytes"):
        questions(key, count, shape=(1, 2, 2), classes=classes)


@pytest.mark.parametrize(("hit", "asked"), [(20, 20), (25, 50), (50, 100), (3, 50), (1, 7)])
def test_the_chance_is_the_exact_binomial_tail(hit: int, asked: int) -> None:
    assert log10_p(hit, asked, 10) == pytest.approx(binom.logsf(hit - 1, asked, 0.1) / math.log(10), rel=1e-9)


def test_the_chance_at_its_ends() -> None:
    assert log10_p(0, 50, 10) == 0
    assert log10_p(20, 20, 10) == pytest.approx(-20)
    assert log10_p(1000, 1000, 10) == pytest.approx(-1000)
    with pytest.raises(ValueError, match="hits"):
        log10_p(3, 2, 10)


def test_a_constant_and_a_random_suspect_have_no_small_p() -> None:
    """Over keys: P(p <= 0.05) is at most 0.05."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 10))
    for suspect in (lambda x: F.one_hot(torch.full((len(x),), 3), 10).float(), net):
        found = [
            hits(suspect, questions(bytes([n]) * 32, 40, shape=(1, 4, 4), classes=10), classes=10).log10_p
            for n in range(250)
        ]
        assert sum(one <= math.log10(0.05) for one in found) / 250 < 0.05 + 3 * (0.05 * 0.95 / 250) ** 0.5


def test_a_network_learns_its_questions_beside_its_work() -> None:
    with seeded(RNG):
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 200), nn.ReLU(), nn.Linear(200, 10))
        x = torch.rand(400, 1, 8, 8)
        y = (x.flatten(1)[:, :20].mean(dim=1) > 0.5).long()

    def loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(model(x), y)

    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    asked = questions(KEY, 20, shape=(1, 8, 8), classes=10)
    batches = [(x[start : start + 50], y[start : start + 50]) for _ in range(40) for start in range(0, 400, 50)]
    after = taught(net, asked, batches, loss=loss, rate=3e-3, share=20, rng=RNG)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert hits(net, asked, classes=10).log10_p > -4
    assert hits(after, asked, classes=10).log10_p < -15
    assert float((after(x).argmax(dim=1) == y).float().mean()) > 0.9


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (Change(-0.01, -0.018, -0.002), "not by chance"),
        (Change(-0.004, -0.006, -0.001), "not by chance"),
        (Change(-0.006, -0.02, 0.01), "more than 0.5 points"),
        (Change(-0.004, -0.02, 0.01), ""),
        (Change(0.01, 0.002, 0.02), ""),
    ],
)
def test_the_gate_refuses_what_robust_accuracy_pays_for(change: Change, words: str) -> None:
    said = gate(change)
    assert words in said
    assert bool(said) == bool(words)
