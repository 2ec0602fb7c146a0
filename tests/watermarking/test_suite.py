"""The removal suite: every attempt runs, costs are told, and the verdict follows the rule."""

import math

import pytest
import torch
from torch import Tensor, nn

from harden.errors import ConfigError
from harden.models import CnnSmall, build
from harden.seeds import stream
from harden.watermarking.edits.catalogue import SUITES, Attempt
from harden.watermarking.edits.steps import Ground, Noise, NotHere, Prune, Quantise, Subtract, Tuned
from harden.watermarking.edits.suite import MATCH, Reading, Result, Row, attempted, besieged, judged
from harden.watermarking.edits.tuning import FTAL, Tuning
from harden.watermarking.wiring import wired
from harden.watermarking.wiring.channels import Weights
from harden.watermarking.wiring.widths import dressed

RNG = stream(0, "suite")


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return build(CnnSmall(), shape=(1, 8, 8), classes=10, mean=[0.3], std=[0.5], rng=RNG)


@pytest.fixture(scope="module")
def ground(net: nn.Module) -> Ground:
    """An attacker who has everything; tuning is a small step of noise."""
    weights = net.state_dict()
    return Ground(
        wiring=wired(net),
        tune=lambda w, _: {name: t * 1.01 for name, t in w.items()},
        overwrite=lambda w, n: {name: t + 0.001 * n for name, t in w.items()},
        sibling=weights,
        copies=[weights] * 4,
        shown={"net.2.weight": torch.ones_like(weights["net.2.weight"])},
        sidecar={"net.2.weight": weights["net.2.weight"]},
    )


def test_suites_grow_and_name_each_attempt_once() -> None:
    fast, standard, full = (SUITES[name] for name in ("fast", "standard", "full"))
    assert standard[: len(fast)] == fast
    assert full[: len(standard)] == standard
    assert len({(one.family, one.name) for one in full}) == len(full)
    assert not [one for one in fast if any(isinstance(step, Tuned) for step in one.steps)]
    assert [one.name for one in full if one.expected] == [one.name for one in full if one.family == "honest failures"]


@pytest.mark.parametrize("attempt", SUITES["full"], ids=lambda one: f"{one.family}: {one.name}")
def test_every_attempt_gives_finite_weights_that_still_compute(
    net: nn.Module, ground: Ground, attempt: Attempt
) -> None:
    after = attempted(net.state_dict(), attempt, ground, rng=RNG)
    logits = dressed(net, after)(torch.rand(3, 1, 8, 8, generator=RNG.generator()))
    assert logits.shape == (3, 10)
    assert torch.isfinite(logits).all()
    again = attempted(net.state_dict(), attempt, ground, rng=RNG)
    assert all(torch.equal(after[name], again[name]) for name in after)


def test_free_attempts_leave_the_logits_as_they_were(net: nn.Module, ground: Ground) -> None:
    x = torch.rand(3, 1, 8, 8, generator=RNG.generator())
    for attempt in SUITES["fast"]:
        if attempt.family == "free edits" or attempt.name in ("renamed and transposed", "folded norms"):
            after = attempted(net.state_dict(), attempt, ground, rng=RNG)
            torch.testing.assert_close(dressed(net, after)(x), net(x), rtol=1e-3, atol=1e-4)


def test_parameters_are_told_once_each() -> None:
    attempt = Attempt("a", "b", (Noise(0.3), Prune(0.8), Quantise(8), Prune(0.5, by_layer=True)))
    assert attempt.parameters == {
        "deviations": 0.3,
        "share": 0.8,
        "by_layer": False,
        "bits": 8,
        "prune.share": 0.5,
        "prune.by_layer": True,
    }
    assert Tuned(FTAL).parameters == {"epochs": 5, "rate": 1e-3}


@pytest.mark.parametrize(
    ("log10_p", "now", "wanted"),
    [
        (-20.0, (0.1, 0.1), Result.held),
        (MATCH, (0.9, 0.8), Result.held),
        (-19.2, (0.9, 0.8), Result.removed),
        (0.0, (0.86, 0.76), Result.removed),
        (0.0, (0.84, 0.80), Result.unusable),
        (0.0, (0.90, 0.74), Result.unusable),
        (0.0, (math.nan, math.nan), Result.removed),
    ],
)
def test_removed_means_no_match_and_accuracy_kept(log10_p: float, now: tuple[float, float], wanted: Result) -> None:
    before = (math.nan, math.nan) if math.isnan(now[0]) else (0.9, 0.8)
    assert judged(log10_p, before, now) is wanted


def _rows(weights: Weights, ground: Ground, attempts: tuple[Attempt, ...]) -> list[Row]:
    """Rows under a verifier that believes in large weights, and a scorer that counts non-zero ones."""

    def verify(w: Weights) -> Reading:
        size = float(w["net.2.weight"].abs().mean() / weights["net.2.weight"].abs().mean())
        return Reading(size, -30 * size, math.nan, math.nan, 0, 16, "blind")

    def score(w: Weights) -> tuple[float, float]:
        share = float((w["net.2.weight"] != 0).float().mean())
        return share, share

    return list(besieged(weights, attempts, ground=ground, verify=verify, score=score, rng=RNG))


def test_rows_come_in_order_after_the_marked_weights_themselves(net: nn.Module, ground: Ground) -> None:
    attempts = (
        Attempt("edits", "little", (Prune(0.02, by_layer=True),)),
        Attempt("edits", "much", (Prune(0.9, by_layer=True),)),
        Attempt("edits", "quiet", (Tuned(Tuning(1, rate=1.0)),)),
    )
    quiet = Ground(tune=lambda w, _: {name: t * 0.1 for name, t in w.items()})
    rows = _rows(net.state_dict(), quiet, attempts)
    assert [row.attack for row in rows] == ["none", "little", "much", "quiet"]
    assert [row.result for row in rows] == [Result.held, Result.held, Result.unusable, Result.removed]
    assert rows[2].clean == pytest.approx(0.1, abs=0.01)
    assert ground.tune is not quiet.tune


def test_what_the_attacker_lacks_is_said_and_skipped(net: nn.Module) -> None:
    rows = _rows(net.state_dict(), Ground(), SUITES["full"])
    skipped = {row.attack: row.note for row in rows if row.result is Result.skipped}
    assert skipped["permutation"] == "needs a network whose channels can be followed"
    assert skipped["FTAL"] == "needs data to train on"
    assert skipped["average of 5 copies"] == "needs 4 copies of other recipients"
    assert not [row for row in rows if row.family == "edits" and row.result is Result.skipped]


def test_a_step_without_its_ground_raises_by_name(net: nn.Module) -> None:
    with pytest.raises(NotHere, match="disclosed leaf"):
        Subtract()(net.state_dict(), Ground(), rng=RNG)


@pytest.mark.parametrize("fields", [{"epochs": 1}, {"epochs": 1, "rate": 1, "rate_share": 1}, {"epochs": 0, "rate": 1}])
def test_a_recipe_that_makes_no_sense_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Tuning(**fields)  # type: ignore[arg-type]


def test_the_decisive_reading_is_the_smaller_one() -> None:
    assert Reading(1, -2.0, 1, -5.0, 0, 16, "").decisive == -5.0
    assert Reading(1, -2.0, 1, math.nan, 0, 16, "").decisive == -2.0


def test_a_stolen_sidecar_takes_the_mark_away_and_is_told_as_expected(net: nn.Module) -> None:
    base: dict[str, Tensor] = {name: t * 0.1 for name, t in net.state_dict().items()}
    attempt = next(one for one in SUITES["full"] if one.name == "a stolen sidecar")
    ground = Ground(sidecar={"net.2.weight": base["net.2.weight"]})
    row = _rows(net.state_dict(), ground, (attempt,))[-1]
    assert (row.result, row.note) == (Result.removed, "removed, as expected")
