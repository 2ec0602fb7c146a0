"""Which dataclass stands behind which option, and their registration with Hydra.

Meaning (type, default, check) is in the dataclass; a YAML file of `configs/` holds the differences that make an
option; the command line has the last word. A new option is a dataclass, a YAML file and a line here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from harden import complaint, marking
from harden.attacks import (
    ApgdCe,
    ApgdDlr,
    ApgdT,
    Art,
    Cw,
    Ddn,
    DiFgsm,
    FabT,
    Fgsm,
    Fmn,
    MiFgsm,
    Mixed,
    NFgsm,
    Pgd,
    Pointwise,
    Square,
    TiFgsm,
)
from harden.data import Cifar10, Custom, Digits, FashionMnist, Folder, Mnist, Npz
from harden.errors import ConfigError
from harden.evaluation.request import EvaluateRequest, Smoothing
from harden.evaluation.request import VerifyRequest as ReexamineRequest
from harden.ledger import Tracking
from harden.models import CHOICES
from harden.reviewing.request import ReviewRequest
from harden.rounds import request as rounds
from harden.rounds.gates import Gates
from harden.rounds.request import PlanRequest, RoundRequest
from harden.sealing import request as sealing
from harden.sealing import request_files as sealed
from harden.sealing import request_keys as keys
from harden.sealing.request import Sealing
from harden.spelling import read
from harden.threat import ThreatModel
from harden.training.certified import CrownIbp, Ibp, Smooth
from harden.training.device import Compute
from harden.training.lessons import Lessons
from harden.training.objectives import Clean, Madry, Trades
from harden.training.optimisers import AdamW, Sgd
from harden.training.recipe import Judging, Recipe
from harden.training.request import TrainRequest
from harden.training.schedule import Schedule
from harden.training.watchdog import Watchdog
from harden.watermarking.request import OwnerMark

T = TypeVar("T")

DATA = {
    "digits": Digits,
    "mnist": Mnist,
    "fashion_mnist": FashionMnist,
    "cifar10": Cifar10,
    "folder": Folder,
    "npz": Npz,
    "custom": Custom,
}

ATTACKS: dict[str, type] = {
    "pgd": Pgd,
    "fgsm": Fgsm,
    "apgd_ce": ApgdCe,
    "apgd_dlr": ApgdDlr,
    "apgd_t": ApgdT,
    "fab_t": FabT,
    "square": Square,
    "fmn": Fmn,
    "pointwise": Pointwise,
    "ddn": Ddn,
    "cw": Cw,
    "mi_fgsm": MiFgsm,
    "di_fgsm": DiFgsm,
    "ti_fgsm": TiFgsm,
    "art": Art,
    "n_fgsm": NFgsm,
    "mixed": Mixed,
}

GROUPS: dict[str, dict[str, type]] = {
    "attack": ATTACKS,
    "threat": dict.fromkeys(("linf", "l2", "l1"), ThreatModel),
    "model": dict(CHOICES),
    "data": DATA,
    "objective": {
        "clean": Clean,
        "madry": Madry,
        "trades": Trades,
        "ibp": Ibp,
        "crown_ibp": CrownIbp,
        "smooth": Smooth,
        "lessons": Lessons,
    },
    "optim": {"adamw": AdamW, "sgd": Sgd},
    "schedule": dict.fromkeys(DATA, Schedule),
    "mark": {"owner": OwnerMark},
}
"""Group -> option -> dataclass. A schedule is called after the data set that it was made for."""

APPENDED: dict[type, frozenset[str]] = {
    TrainRequest: frozenset({"attack"}),
    RoundRequest: frozenset({"attack"}),
    PlanRequest: frozenset({"attack"}),
}
"""The groups that the defaults of a request's root leave out, so that a choice is written with a plus sign."""

REQUESTS: dict[str, type] = {
    "train": TrainRequest,
    "evaluate": EvaluateRequest,
    "evaluate_verify": ReexamineRequest,
    "watermark": marking.WatermarkRequest,
    "watermark_embed": marking.EmbedRequest,
    "watermark_verify": marking.VerifyMarkRequest,
    "watermark_trace": marking.TraceRequest,
    "watermark_disclose": marking.DiscloseRequest,
    "watermark_attack": marking.AttackRequest,
    "round": rounds.RoundRequest,
    "round_plan": rounds.PlanRequest,
    "round_due": rounds.DueRequest,
    "round_history": rounds.HistoryRequest,
    "review": ReviewRequest,
    "keygen": keys.KeygenRequest,
    "keygen_recipient": keys.RecipientRequest,
    "keygen_signer": keys.SignerRequest,
    "keygen_owner": keys.OwnerRequest,
    "keygen_trust": keys.TrustRequest,
    "keygen_token": keys.TokenRequest,
    "seal": sealed.SealRequest,
    "seal_rewrap": sealed.RewrapRequest,
    "seal_rotate": sealed.RotateRequest,
    "seal_vouch": sealed.VouchRequest,
    "seal_inspect": sealing.InspectRequest,
    "seal_export": sealed.ExportRequest,
    "seal_import": sealed.ImportRequest,
    "unseal": sealing.UnsealRequest,
    "verify": sealing.VerifyRequest,
}
"""What each door is asked for, by its root in `configs/`: a verb, or `<verb>_<action>`."""

PARTS: tuple[type, ...] = (Compute, Gates, Judging, Sealing, Smoothing, Tracking, Watchdog)

KNOWN: dict[str, type] = {
    kind.__name__: kind
    for kind in [
        *(kind for options in GROUPS.values() for kind in options.values()),
        *PARTS,
        Recipe,
        TrainRequest,
        EvaluateRequest,
        RoundRequest,
    ]
}
"""Every configuration dataclass by name, for reading back what `spell` wrote."""


def register(root: str, request: type, *, actions: Sequence[str] = ()) -> None:
    """Tells Hydra of all options, and of `request` as the root of `root`: a verb, or `<verb>_<action>`.

    `actions` are what the help page says that the verb can do besides.
    """
    store = ConfigStore.instance()
    for group, options in GROUPS.items():
        for option, kind in options.items():
            store.store(group=f"schema/{group}", name=option, node=_node(kind))
    node = _node(request)
    for group in {"data", "optim"} & node.keys():
        node[group] = None  # else the default's fields would stay beside those of another choice
    store.store(group="schema", name=root, node=node, package="_global_")
    store.store(group="hydra/help", name="harden", node=_help(root, request, groups_of(request), actions))


def _help(root: str, request: type, groups: list[str], actions: Sequence[str]) -> dict[str, str]:
    """Hydra's help page in the words of this house: which options there are, and the keys with their values."""
    plus = {group: "+" * (group in APPENDED.get(request, ())) + f"{group}=" for group in groups}
    options = "".join(f"  {plus[group]:<11}{', '.join(GROUPS[group])}\n" for group in groups)
    choices = f"options\n{options}\n" * bool(groups)
    more = " (to see an option's keys, name it before --help)" * bool(groups)
    verb, _, action = root.partition("_")
    line = f"python -m harden.{verb}" + f" action={action}" * bool(action)
    also = "".join(f"\n       {line} action={one} ...  ({line} action={one} --help tells more)" for one in actions)
    template = (
        f"usage: {line} [-m]{' [GROUP=OPTION ...]' * bool(groups)} [KEY=VALUE ...]{also}\n\n"
        f"{choices}keys and what they are now{more}\n\n$CONFIG"
    )
    return {"app_name": f"harden.{verb}", "header": "", "footer": "", "template": template}


def _node(kind: type) -> DictConfig:
    return _open(OmegaConf.structured(kind))


def _open(node: DictConfig) -> DictConfig:
    """The node with the read-only flag of frozen dataclasses lifted, all the way down."""
    OmegaConf.set_readonly(node, False)
    if node._metadata.element_type is Any:  # a field of free keys, such as attack.args
        OmegaConf.set_struct(node, False)
    for key in node:
        if not OmegaConf.is_missing(node, key) and isinstance(node[key], DictConfig):
            _open(node[key])
    return node


def recalled(plain: Any, kind: type[T], *, where: str) -> T:
    """The `kind` that `harden.spelling.spell` made `plain` of, every value of its field's type.

    `plain` comes from a file that anybody may have edited; `where` names it. Raises ConfigError.
    """
    try:
        value = read(plain, KNOWN)
        if not isinstance(value, kind):
            raise ConfigError(f"wanted a {kind.__name__}, got {_kind_of(plain)}")
        OmegaConf.structured(value)  # reads the types of fields and refuses what is not of them
    except Exception as error:  # a value of a wrong type can fail anywhere in a dataclass's own checks
        told = complaint.of(error)
        raise ConfigError(f"{where}: {told.message}", told.hint) from error
    return value


def _kind_of(plain: Any) -> str:
    return str(plain.get("is", "a mapping")) if isinstance(plain, Mapping) else type(plain).__name__


def groups_of(request: Any) -> list[str]:
    """The groups of which a request holds a choice; a text of the same name, such as a digest, is none."""
    return [field.name for field in fields(request) if field.name in GROUPS and field.type != str | None]


def fields_of(kind: Any) -> list[str]:
    """The keys of a configuration dataclass."""
    return sorted(field.name for field in fields(kind)) if is_dataclass(kind) else []
