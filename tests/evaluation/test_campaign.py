"""A suite on the same images: cascade, counts, labels, resume, and models that must not be measured."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from harden.attacks import ApgdCe, Attack, Fgsm, NFgsm, Pgd, Square
from harden.data import DataSet, Split
from harden.errors import ConfigError, DataError, Interrupted, WeightsError
from harden.evaluation.campaign import Campaign, Findings
from harden.evaluation.inference import at_batch
from harden.evaluation.journal import Journal
from harden.evaluation.recheck import rechecks, rounded
from harden.evaluation.suite import SUITES, Suite, measuring, suite_of
from harden.seeds import stream
from harden.threat import Norm, ThreatModel

ATTACKS: dict[str, Attack] = {"fgsm": Fgsm(), "pgd": Pgd(steps=5), "square": Square(queries=60)}
THREAT = ThreatModel(eps="0.2")


def network() -> nn.Module:
    rng = torch.Generator().manual_seed(4)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng) * 0.3)
    return model


MODEL = network()


@pytest.fixture
def split(dots: DataSet) -> Split:
    """Images labelled by the model itself but for a few, so that most are right when clean."""
    y = MODEL(dots.test.batch(torch.arange(40)).x).argmax(1)
    y[:5] = 1 - y[:5]
    return Split(dots.test.x, y)


def run(split: Split, **knobs: object) -> Findings:
    wish = {"suite": Suite("mine", ATTACKS), "threat": THREAT, "rng": stream(0), "batch_size": 16} | knobs
    campaign = Campaign(MODEL, split, torch.arange(40), **wish)  # type: ignore[arg-type]
    for _ in campaign:
        pass
    assert campaign.findings is not None
    return campaign.findings


def test_in_a_cascade_each_attack_meets_what_those_before_it_left(split: Split) -> None:
    found = run(split)
    left = 35
    for one in found.tried:
        assert len(one.part.ids) == left
        left -= int(one.part.broken.sum())
        assert one.after.value == left / 40
    assert found.worst_case.value == left / 40
    assert 0 < left < 35


def test_without_a_cascade_each_meets_all_that_are_right_and_the_worst_case_is_theirs_together(split: Split) -> None:
    apart, cascade = run(split, cascade=False), run(split)
    assert [len(one.part.ids) for one in apart.tried] == [35] * 3
    broken = torch.zeros(40, dtype=torch.bool)
    for one in apart.tried:
        broken[one.part.ids[one.part.broken]] = True
    assert torch.equal(apart.robust, apart.clean & ~broken)
    assert (apart.robust & ~cascade.robust).sum() == 0


def test_passes_are_those_that_were_made(split: Split) -> None:
    fgsm, pgd, square = (one.part for one in run(split, cascade=False).tried)
    assert (fgsm.forward, fgsm.backward) == (35, 35)
    assert (pgd.forward, pgd.backward) == (35 * 6, 35 * 5)
    assert square.backward == 0
    assert 35 <= square.forward <= 35 * 60


def test_archived_images_lie_in_ball_and_box_and_break_the_model(split: Split) -> None:
    for one in run(split).tried:
        ids = one.part.ids[one.part.broken]
        assert len(ids) == len(one.part.x_adv)
        batch = split.batch(ids)
        assert (MODEL(one.part.x_adv).argmax(1) != batch.y).all()
        assert ((one.part.x_adv - batch.x).abs() <= 0.2 + 1e-6).all()
        torch.testing.assert_close(one.part.distance[one.part.broken], THREAT.distance(one.part.x_adv, batch.x))


def test_a_campaign_that_is_begun_again_finds_the_same_bits(split: Split, tmp_path: Path) -> None:
    whole = run(split)
    journal = Journal(tmp_path, "plan")
    with pytest.raises(Interrupted):
        run(split, journal=journal, stop=lambda: len(list(tmp_path.rglob("*.safetensors"))) > 4)
    parts = sorted(tmp_path.rglob("*.safetensors"))
    assert 3 < len(parts) < 9
    stamps = {path: path.stat().st_mtime_ns for path in parts}
    again = run(split, journal=Journal(tmp_path, "plan"))
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    for one, two in zip(whole.tried, again.tried, strict=True):
        assert torch.equal(one.part.broken, two.part.broken)
        assert torch.equal(one.part.x_adv, two.part.x_adv)
        assert (one.part.forward, one.part.backward) == (two.part.forward, two.part.backward)
    assert torch.equal(whole.robust, again.robust)


def test_parts_of_another_plan_and_damaged_ones_are_made_anew(split: Split, tmp_path: Path) -> None:
    first = run(split, journal=Journal(tmp_path, "plan"))
    (path, *_) = sorted(tmp_path.rglob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:50])
    for plan in ("plan", "another"):
        again = run(split, journal=Journal(tmp_path, plan))
        assert torch.equal(again.robust, first.robust)


@pytest.mark.parametrize(
    ("after", "error"),
    [
        (lambda z: z.softmax(1), "returns probabilities, wanted logits"),
        (lambda z: z.log_softmax(1), "returns log-probabilities, wanted logits"),
        (lambda z: z * torch.nan, "logits are not finite"),
    ],
)
def test_a_model_without_logits_is_refused(after: object, error: str, split: Split) -> None:
    campaign = Campaign(
        lambda x: after(MODEL(x)), split, torch.arange(40), Suite("mine", ATTACKS), THREAT, rng=stream(0)  # type: ignore[operator]
    )  # fmt: skip
    with pytest.raises(WeightsError, match=error):
        list(campaign)


@pytest.mark.parametrize(("norm", "eps"), [(Norm.l2, "8.1"), (Norm.l1, "65")])
def test_an_eps_beyond_the_box_is_refused(norm: Norm, eps: str, split: Split) -> None:
    with pytest.raises(ConfigError, match=f"threat.eps={eps} lies outside the pixel box"):
        run(split, threat=ThreatModel(norm=norm, eps=eps))


def test_there_must_be_images_and_attacks_that_keep_the_ball(split: Split) -> None:
    with pytest.raises(DataError, match="no image"):
        Campaign(MODEL, split, torch.arange(0), Suite("mine", ATTACKS), THREAT, rng=stream(0))
    with pytest.raises(ConfigError, match="N-FGSM leaves the ball"):
        Suite("mine", {"n_fgsm": NFgsm()})
    with pytest.raises(ConfigError, match="names no attack"):
        Suite("mine", {})


def test_standard_is_autoattacks_set_and_nothing_else_is_called_so() -> None:
    for norm, starts, targets in ((Norm.linf, 1, 9), (Norm.l2, 1, 9), (Norm.l1, 5, 5)):
        attacks = list(suite_of("standard", norm).attacks.values())
        assert [type(one).__name__ for one in attacks] == ["ApgdCe", "ApgdT", "FabT", "Square"]
        assert attacks[0] == ApgdCe(steps=100, restarts=starts)
        assert [attacks[1].targets, attacks[2].targets] == [targets, 9]  # type: ignore[attr-defined]
        assert attacks[3] == Square(queries=5000, p=0.8, whole=False)
    standard = suite_of("standard", Norm.linf)
    assert standard.label(classes=10, images=10_000, whole=10_000) == "AA"
    assert standard.label(classes=10, images=1000, whole=10_000) == "AA(1k)"
    assert standard.label(classes=10, images=360, whole=360) == "AA"
    assert standard.label(classes=10, images=200, whole=10_000) == "AA(first 200)"
    assert standard.label(classes=3, images=1000, whole=10_000) == "AA(2 targets)(1k)"
    for name in set(SUITES) - {"standard"}:
        assert not suite_of(name, Norm.linf).label(classes=10, images=10_000, whole=10_000).startswith("AA")
    with pytest.raises(ConfigError, match="there is no suite 'fast'; there are: quick, standard, demanding, extended"):
        suite_of("fast", Norm.linf)


@pytest.mark.parametrize("norm", list(Norm))
def test_extended_holds_the_standard_set_and_more(norm: Norm) -> None:
    standard, extended = (suite_of(name, norm).attacks for name in ("standard", "extended"))
    assert standard.items() <= extended.items()
    labels = {one.label.split("-")[0] for key, one in extended.items() if key not in standard}
    assert {"APGD", "FMN", "Square"} <= labels
    assert len(extended) >= 8


def test_measuring_keeps_the_best_iterate() -> None:
    from harden.attacks import Keep

    assert measuring(Pgd(keep=Keep.last)) == Pgd(keep=Keep.best)
    assert measuring(Fgsm()) == Fgsm()


def test_the_judge_runs_one_batch_size() -> None:
    sizes: list[int] = []

    def model(x: Tensor) -> Tensor:
        sizes.append(len(x))
        out: Tensor = MODEL(x)
        return out

    x = torch.rand(37, 1, 8, 8)
    torch.testing.assert_close(at_batch(model, 16)(x), MODEL(x))
    assert sizes == [16, 16, 16]


def test_rechecks_hold_and_notice_what_eight_bits_undo(split: Split) -> None:
    found = run(split)
    same, other, eight = rechecks(MODEL, split, found, batch_size=16)
    assert (same.name, other.name, eight.name) == ("batch of 16", "batch of 64", "8-bit pixels")
    assert same.flips == other.flips == 0
    assert same.accuracy == found.worst_case
    assert eight.accuracy.value >= found.worst_case.value


def test_rounding_to_eight_bits_stays_in_the_ball_and_lands_on_the_grid() -> None:
    x = torch.randint(0, 256, (20, 50)) / 255
    x_adv = (x + (torch.rand(20, 50) * 2 - 1) * 0.1).clamp(0, 1)
    grid = rounded(x_adv, x)
    torch.testing.assert_close(grid * 255, (grid * 255).round(), rtol=0, atol=1e-4)
    assert ((grid - x).abs() <= (x_adv - x).abs() + 5e-6).all()
    exact = x + 8 / 255
    torch.testing.assert_close(rounded(exact.clamp(0, 1), x), exact.clamp(0, 1).mul(255).round() / 255)
