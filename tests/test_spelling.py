"""Configuration values survive their spelling, through JSON and YAML, and nothing else is read back."""

import json
from typing import Any

import pytest
import yaml

from harden.attacks import Keep, Loss, Pgd, Target
from harden.data import Custom, DataChoice
from harden.errors import ConfigError
from harden.ledger import Tracking
from harden.models import CustomModel
from harden.schema import GROUPS, KNOWN
from harden.spelling import read, spell
from harden.threat import Norm, ThreatModel
from harden.training import Compute, Judging, Madry, Precision, Schedule, Shape, TrainRequest, Watchdog


def requests() -> list[Any]:
    """A full request for every option of every group."""
    cases = []
    for group, options in GROUPS.items():
        for name, kind in options.items():
            fields = {"attack": Pgd(), group: kind()}
            if group == "objective" and name in ("clean", "ibp", "crown_ibp", "smooth"):
                fields["attack"] = None
            cases.append(pytest.param(fields, id=f"{group}={name}"))
    return cases


@pytest.mark.parametrize("fields", requests())
def test_a_request_with_any_option_survives_json_and_yaml(fields: dict[str, Any]) -> None:
    request = TrainRequest(**fields)
    plain = spell(request)
    assert read(json.loads(json.dumps(plain, allow_nan=False)), KNOWN) == request
    assert read(yaml.safe_load(yaml.safe_dump(plain)), KNOWN) == request


def test_values_that_differ_from_every_default_survive() -> None:
    request = TrainRequest(
        data=Custom(entry="package.module:data", shift=1, flip=True),
        model=CustomModel(entry="package.module:network", arguments={"width": 3, "names": ["a"]}),
        threat=ThreatModel(Norm.l1, "8/255", -1.0, 2.0),
        attack=Pgd(steps=3, step=0.3, restarts=2, start=False, loss=Loss.margin, target=Target.random, keep=Keep.best),
        objective=Madry(label_smoothing=0.1),
        schedule=Schedule(epochs=0.5, batch_size=3, shape=Shape.cosine, warmup=0.1, ramp=0.0, ema=0.0, clip=1.0),
        watchdog=Watchdog(every=0.5, images=3, budget=0.5, fall=0.2, memory=2, trips=1),
        judge=Judging(steps=2, restarts=1, images=0, validation_steps=1, batch_size=9),
        seed=2**40,
        init="weights.safetensors",
        baseline=False,
        output="folder",
        overwrite=True,
        checkpoint_seconds=0.5,
        compute=Compute("cuda:1", Precision.bf16, 3),
        tracking=Tracking("none", "an experiment"),
    )
    again = read(json.loads(json.dumps(spell(request))), KNOWN)
    assert again == request
    assert again.recipe.digest == request.recipe.digest


def test_a_value_is_spelled_with_its_kind_and_its_enum_members_by_name() -> None:
    assert spell(ThreatModel(Norm.l2, "8/255")) == {
        "is": "ThreatModel",
        "norm": "l2",
        "eps": "8/255",
        "low": 0.0,
        "high": 1.0,
    }
    assert spell({"a": (1, Norm.linf), 2: None}) == {"a": [1, "linf"], "2": None}


def test_every_kind_is_known_by_its_own_name() -> None:
    kinds = {kind for options in GROUPS.values() for kind in options.values()}
    assert len({kind.__name__ for kind in kinds}) == len(kinds)
    assert all(issubclass(kind, DataChoice) for kind in GROUPS["data"].values())
    assert kinds <= set(KNOWN.values())


@pytest.mark.parametrize(
    ("plain", "words"),
    [
        ({"is": "Popen", "args": "true"}, "'Popen' is no known kind of value"),
        ({"is": ["Pgd"]}, "no known kind of value"),
        ({"is": None}, "no known kind of value"),
        ({"is": "Pgd", "steeps": 3}, "Pgd: .*steeps"),
        ({"is": "Pgd", "loss": "cross"}, "'cross' is no Loss"),
        ({"is": "Pgd", "steps": 0}, r"attack\.steps"),
        ({"is": "Pgd", "steps": "three"}, "Pgd: "),
        ({"is": "ThreatModel", "eps": 8}, "threat|ThreatModel"),
        ({"is": "ThreatModel", "norm": {"is": "Norm"}}, "no known kind of value"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(plain: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        read(plain, KNOWN)
    assert "\n" not in refused.value.message


def test_plain_data_without_a_kind_is_given_back() -> None:
    plain = {"a": [1, {"b": None}], "c": "text", "d": 1.5}
    assert read(plain, KNOWN) == plain
    assert spell(plain) == plain
