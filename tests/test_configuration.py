"""Every option composes into its dataclass, and no number is written twice."""

from collections.abc import Iterator
from dataclasses import FrozenInstanceError, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import hydra
import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from harden import marking
from harden.attacks import Fgsm, Keep, Pgd
from harden.data import Digits, Mnist
from harden.evaluation.request import EvaluateRequest, VerifyRequest
from harden.models import Mlp
from harden.reviewing.request import ReviewRequest
from harden.rounds import request as rounds
from harden.schema import APPENDED, GROUPS, KNOWN, fields_of, register
from harden.sealing import request as sealing
from harden.spelling import read, spell
from harden.threat import Norm, ThreatModel
from harden.training import Clean, Madry, TrainRequest

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
ROOTS: dict[str, type] = {
    "train": TrainRequest,
    "evaluate": EvaluateRequest,
    "evaluate_verify": VerifyRequest,
    "watermark": marking.WatermarkRequest,
    "keygen": sealing.KeygenRequest,
    "keygen_recipient": sealing.RecipientRequest,
    "keygen_signer": sealing.SignerRequest,
    "keygen_owner": sealing.OwnerRequest,
    "keygen_trust": sealing.TrustRequest,
    "watermark_embed": marking.EmbedRequest,
    "watermark_verify": marking.VerifyMarkRequest,
    "watermark_trace": marking.TraceRequest,
    "watermark_disclose": marking.DiscloseRequest,
    "seal": sealing.SealRequest,
    "seal_rewrap": sealing.RewrapRequest,
    "seal_rotate": sealing.RotateRequest,
    "seal_inspect": sealing.InspectRequest,
    "unseal": sealing.UnsealRequest,
    "verify": sealing.VerifyRequest,
    "round": rounds.RoundRequest,
    "round_plan": rounds.PlanRequest,
    "round_due": rounds.DueRequest,
    "round_history": rounds.HistoryRequest,
    "review": ReviewRequest,
}
CHOICES = [(group, option) for group, options in GROUPS.items() for option in options]
ENOUGH = {"objective": ["+attack=pgd"], "attack": []}
"""What a request needs beside an option of the group to make sense."""
ALONE = {"clean", "ibp", "crown_ibp", "smooth"}  # objectives that take no attack


@pytest.fixture(scope="module", autouse=True)
def _hydra() -> Iterator[None]:
    for root, request in ROOTS.items():
        register(root, request)
    base = {"version_base": "1.3"} if hydra.__version__ < "1.4" else {}
    with initialize_config_dir(**base, config_dir=str(CONFIGS)):
        yield


@cache
def composed(*words: str, root: str = "train") -> Any:
    """The request that a command line of `words` makes."""
    return OmegaConf.to_object(compose(root, overrides=list(words)))


def chosen(group: str, option: str) -> Any:
    """The value of the field `group` after `option` was chosen for it."""
    plus = "+" if group in APPENDED[TrainRequest] else ""
    others = ENOUGH.get(group, []) if option not in ALONE else []
    return getattr(composed(*others, f"{plus}{group}={option}"), group)


@pytest.mark.parametrize(("group", "option"), CHOICES)
def test_an_option_composes_into_its_dataclass(group: str, option: str) -> None:
    assert type(chosen(group, option)) is GROUPS[group][option]


@pytest.mark.parametrize(("group", "option"), CHOICES)
def test_an_option_differs_from_its_dataclass_by_what_its_file_says_alone(group: str, option: str) -> None:
    said = yaml.safe_load((CONFIGS / group / f"{option}.yaml").read_text())
    assert said.pop("defaults") == [f"/schema/{group}/{option}@_here_", "_self_"]
    value, usual = spell(chosen(group, option)), spell(GROUPS[group][option]())
    assert value == usual | said
    assert not {key for key, one in said.items() if usual[key] == one}, "the file restates a default"


@pytest.mark.parametrize(("group", "option"), CHOICES)
def test_spelling_brings_every_option_back(group: str, option: str) -> None:
    value = chosen(group, option)
    assert read(spell(value), KNOWN) == value


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_has_a_file_for_every_option_and_no_other(group: str) -> None:
    assert {path.stem for path in (CONFIGS / group).iterdir()} == GROUPS[group].keys()


def test_there_is_no_folder_without_a_group() -> None:
    assert {path.name for path in CONFIGS.iterdir() if path.is_dir() and path.name != "__pycache__"} == GROUPS.keys()


@pytest.mark.parametrize(("root", "request_type"), ROOTS.items())
def test_a_root_is_a_table_of_contents_without_numbers(root: str, request_type: type) -> None:
    plain = yaml.safe_load((CONFIGS / f"{root}.yaml").read_text())
    assert plain.keys() == {"defaults", "hydra"}
    contents = [entry for entry in plain["defaults"] if isinstance(entry, dict)]
    groups = {key for entry in contents for key in entry if not key.startswith("override")}
    wanted = {name for name in fields_of(request_type) if name in GROUPS}
    assert groups == wanted - APPENDED.get(request_type, frozenset())


def test_the_command_line_begins_where_python_does() -> None:
    """An option of the root's defaults is what a field holds that nobody has set; the schedule is the data's."""
    assert composed(root="train") == TrainRequest(schedule=composed().schedule)
    assert composed("weights=w", root="evaluate") == EvaluateRequest(weights="w")
    words = ("weights=w", "to=[a.pub]", "output=o")
    assert composed(*words, root="seal") == sealing.SealRequest(weights="w", to=["a.pub"], output="o")


def test_every_part_of_a_request_can_be_read_back() -> None:
    parts = {type(getattr(composed(), field.name)) for field in fields(TrainRequest)}
    assert {kind for kind in parts if is_dataclass(kind)} <= set(KNOWN.values())


def test_a_request_with_everything_chosen_survives_a_round_trip_through_yaml() -> None:
    request = composed("+attack=fgsm", "model=mlp", "model.hidden=[7,5]", "threat=l2", "objective=trades", "optim=sgd")
    assert read(yaml.safe_load(yaml.safe_dump(spell(request))), KNOWN) == request


@pytest.mark.parametrize("data", GROUPS["data"])
def test_the_schedule_follows_the_data(data: str) -> None:
    assert composed(f"data={data}").schedule == chosen("schedule", data)


def test_a_schedule_can_be_chosen_apart_from_the_data() -> None:
    assert composed("data=mnist", "schedule=digits").schedule == chosen("schedule", "digits")


@pytest.mark.parametrize("text", ["8/255", "0.1", "0"])
def test_eps_is_kept_as_it_was_written(text: str) -> None:
    assert composed(f"threat.eps={text}").threat == ThreatModel(eps=text)


def test_a_norm_brings_its_own_radius() -> None:
    assert composed("threat=l2").threat == ThreatModel(norm=Norm.l2, eps="0.5")
    assert composed("threat=l2", "threat.eps=1/4").threat == ThreatModel(norm=Norm.l2, eps="1/4")


def test_no_attack_means_ordinary_training_and_an_attack_means_madrys() -> None:
    assert composed().objective == Clean()
    assert composed("+attack=fgsm").objective == Madry()
    assert composed("+attack=fgsm").attack == Fgsm()


def test_keys_of_an_option_reach_its_dataclass() -> None:
    request = composed("+attack=pgd", "attack.steps=3", "model=mlp", "model.hidden=[16]", "data.shift=1")
    assert (request.attack, request.model, request.data) == (
        Pgd(steps=3, keep=Keep.last),
        Mlp(hidden=[16]),
        Digits(shift=1),
    )


def test_another_option_leaves_no_key_of_the_default_behind() -> None:
    assert composed("data=mnist").data == Mnist()
    assert spell(composed("optim=sgd").optim).keys() == {"is", "lr", "weight_decay", "momentum"}


@pytest.mark.parametrize("path", ["seed", "threat.eps", "schedule.epochs", "data.shift"])
def test_behind_the_door_nothing_can_be_changed(path: str) -> None:
    value, (*parents, name) = composed(), path.split(".")
    for parent in parents:
        value = getattr(value, parent)
    with pytest.raises(FrozenInstanceError):
        setattr(value, name, 1)
