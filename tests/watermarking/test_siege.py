"""The removal suite on a real network: digits, trained for this test, marked, attacked with and without data."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harden.besieging import Siege, siege_of
from harden.branding import brand
from harden.data import DataSet, Digits, load
from harden.errors import ConfigError, Untrusted
from harden.keygen import owner as make_owner
from harden.marking import AttackRequest, EmbedRequest, Scoring
from harden.models import CnnSmall, save
from harden.retraining import Thief
from harden.sealing.request_keys import OwnerRequest, Protect
from harden.seeds import stream
from harden.siegework import besiege
from harden.threat import ThreatModel
from harden.training import Clean, Recipe, Schedule, Training
from harden.training.results import card_of
from harden.watermarking.edits.catalogue import Suite
from harden.watermarking.edits.steps import NotHere
from harden.watermarking.edits.suite import Result, Row
from harden.watermarking.edits.tuning import FTLL, Head, Layers, Optimiser, Tuning

SCORE = Scoring(images=50, steps=2)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an owner, digits weights, and the same ones marked."""
    folder = tmp_path_factory.mktemp("siege")
    make_owner(OwnerRequest(output=str(folder / "acme"), protect=Protect.none), [])
    recipe = Recipe(data=Digits(), model=CnnSmall(), objective=Clean(), schedule=Schedule(epochs=5, ema=0.9))
    data = load(Digits())
    training = Training(recipe, data)
    for _ in training:
        pass
    save(folder / "plain.safetensors", training.selected(), card_of(recipe, data, role="ordinary"))
    brand(
        EmbedRequest(
            weights=str(folder / "plain.safetensors"),
            owner=str(folder / "acme.key"),
            output=str(folder / "marked"),
            score=Scoring(images=0),
        )
    )
    return folder


@pytest.fixture
def asked(home: Path) -> Callable[..., AttackRequest]:
    """A request on the marked weights; its fields can be given."""

    def make(**fields: object) -> AttackRequest:
        usual = {
            "weights": str(home / "marked" / "weights.safetensors"),
            "claim": str(home / "marked" / "claim.json"),
            "owner": str(home / "acme.key"),
            "sidecar": str(home / "marked" / "weights.sidecar"),
            "score": SCORE,
        }
        return AttackRequest(**(usual | fields))  # type: ignore[arg-type]

    return make


def _rows(siege: Siege) -> dict[str, Row]:
    return {row.attack: row for row in siege.rows()}


def test_the_fast_suite_removes_nothing_with_a_sidecar(asked: Callable[..., AttackRequest], home: Path) -> None:
    rows = _rows(siege_of(asked(sibling=str(home / "plain.safetensors"))))
    assert not [name for name, row in rows.items() if row.result is Result.removed]
    own = rows["none"].reading
    assert own is not None
    assert own.z > 18
    assert own.errors == 0
    for name in ("fp16", "bf16", "int8", "int6", "int5", "renamed and transposed", "folded norms", "rescaling"):
        found = rows[name].reading
        assert found is not None
        assert found.errors == 0
        assert found.z > 0.98 * own.z
        assert rows[name].blind is Result.held
    for name in ("permutation", "all free edits", "zero dummies", "clique dummies", "split dummies"):
        found = rows[name].reading
        assert found is not None
        assert found.errors == 0
        assert found.z_residual > 0.98 * own.z_residual
        assert rows[name].clean == rows["none"].clean
    for name in ("pruning 0.8", "noise 0.3", "10 overwrites"):
        found = rows[name].reading
        assert found is not None
        assert found.errors == 0
        assert found.z > 0.75 * own.z


@pytest.mark.slow
def test_training_on_removes_nothing(asked: Callable[..., AttackRequest]) -> None:
    names = ["FTLL", "FTAL", "RTAL", "Adam 0.001", "fine-pruning 0.96", "a tenth of the rate", "free edits, FTAL, int4"]
    rows = _rows(siege_of(asked(attacks=Suite.standard, only=names, images=300)))
    assert list(rows) == ["none", *sorted(names, key=list(rows).index)]
    for name in names:
        found = rows[name].reading
        assert rows[name].result is Result.held
        assert found is not None
        assert found.decisive < -100
    assert rows["FTLL"].reading == rows["none"].reading  # the last layer carries no mark
    assert rows["FTAL"].reading != rows["none"].reading


@pytest.mark.slow
def test_what_must_remove_the_mark_does_and_is_told_as_expected(asked: Callable[..., AttackRequest]) -> None:
    names = ["a stolen sidecar", "distillation", "another architecture"]
    rows = _rows(siege_of(asked(attacks=Suite.full, only=names)))
    for name in names:
        assert rows[name].result in (Result.removed, Result.unusable)
    assert rows["a stolen sidecar"].note == "removed, as expected"
    assert rows["distillation"].clean > 0.8  # the student learnt
    assert rows["another architecture"].clean > 0.8


def test_the_table_is_printed_and_written(
    asked: Callable[..., AttackRequest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = asked(only=["int8", "free edits", "others' marks"], output=str(tmp_path / "table.json"))
    request = replace(request, tracking=replace(request.tracking, uri="none"))
    assert besiege(siege_of(request), lambda: False) == []
    out = capsys.readouterr().out
    assert "int8" in out
    assert "skipped: needs an unmarked sibling" in out
    told = json.loads((tmp_path / "table.json").read_text())
    assert [row["attack"] for row in told["rows"]][:2] == ["none", "int8"]
    assert told["rows"][1]["reading"]["errors"] == 0
    with pytest.raises(ConfigError, match="exists already"):
        besiege(siege_of(request), lambda: False)


def test_weights_that_do_not_carry_the_mark_are_not_attacked(asked: Callable[..., AttackRequest], home: Path) -> None:
    with pytest.raises(ConfigError, match="does not carry the mark"):
        siege_of(asked(weights=str(home / "plain.safetensors")))


def test_a_sidecar_that_is_not_the_claims_is_refused(asked: Callable[..., AttackRequest], home: Path) -> None:
    with pytest.raises(Untrusted, match="is not the sidecar"):
        siege_of(asked(sidecar=str(home / "marked" / "weights.safetensors")))


def test_an_attempt_that_does_not_exist_is_refused(asked: Callable[..., AttackRequest]) -> None:
    with pytest.raises(ConfigError, match="no attempt or family wishing"):
        list(siege_of(asked(only=["wishing"])).rows())


@pytest.fixture(scope="module")
def thief(home: Path) -> Thief:
    siege = siege_of(
        AttackRequest(
            weights=str(home / "marked" / "weights.safetensors"),
            claim=str(home / "marked" / "claim.json"),
            owner=str(home / "acme.key"),
        )
    )
    assert siege.subject is not None
    data: DataSet = siege.subject.data
    return Thief(
        siege.subject.model, siege.subject.card, data, ThreatModel(eps="0.1"), rate=1e-3, images=200, rng=stream(0)
    )


def test_only_the_layers_that_learn_change(thief: Thief) -> None:
    weights = dict(thief.model.state_dict())
    after = thief.tuned(weights, replace(FTLL, epochs=1))
    assert [name for name in weights if not torch.equal(weights[name], after[name])] == ["net.7.weight", "net.7.bias"]
    fresh = thief.tuned(weights, Tuning(0.01, rate=1e-9, head=Head.fresh, layers=Layers.last))
    assert (fresh["net.7.weight"] - weights["net.7.weight"]).abs().mean() > 0.01
    assert torch.equal(fresh["net.5.weight"], weights["net.5.weight"])


def test_fine_pruning_cuts_channels_off(thief: Thief) -> None:
    after = thief.tuned(thief.model.state_dict(), Tuning(0.01, rate=1e-9, dropped=0.9))
    kept = after["net.2.weight"].flatten(1).abs().amax(dim=1) > 1e-6
    assert int(kept.sum()) == 3  # of 32


@pytest.mark.parametrize("recipe", [Tuning(1, rate=1e-3), Tuning(1, Optimiser.sgd, rate_share=1.0, eps_share=0.5)])
def test_a_thief_trains_the_same_each_time_and_the_given_weights_stay(thief: Thief, recipe: Tuning) -> None:
    weights = {name: tensor.clone() for name, tensor in thief.model.state_dict().items()}
    one, again = thief.tuned(weights, recipe), thief.tuned(weights, recipe)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert all(torch.equal(weights[name], tensor) for name, tensor in thief.model.state_dict().items())
    assert not torch.equal(one["net.5.weight"], weights["net.5.weight"])


def test_a_rate_that_blows_up_is_told_as_what_the_thief_lacks(thief: Thief) -> None:
    with pytest.raises(NotHere, match="a rate that trains"):
        thief.tuned(thief.model.state_dict(), Tuning(10, Optimiser.sgd, rate=1e12))
