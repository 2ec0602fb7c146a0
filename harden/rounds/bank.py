"""The replay bank: every adversarial image of every round, without doubles, with its source, threat and round.

Append-only: a round's bank is the one before it and what the round found. Each entry knows which part of the data its
source belongs to; only those of training images may be trained on, and they alone stand in `train.safetensors`.
Entries are re-verified against each new model: an entry that the model before withstood and this one does not is a
regression.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from harden.data import DataSet, Split
from harden.errors import Untrusted
from harden.evaluation.verify import SLACK
from harden.files import write_bytes
from harden.spelling import read as read_value
from harden.threat import ThreatModel

PARTS = ("training", "validation", "test")
ALL, TRAIN = "bank.safetensors", "train.safetensors"
THREATS = "harden.threats"
COLUMNS = ("x_adv", "y", "ids", "part", "round")


@dataclass(frozen=True)
class Bank:
    """Entries in the order they came. x_adv: (n, *pixel) float32; y, ids, part, round: (n,) int64.

    ids count within the source's split: the training set for parts 0 and 1, the test set for part 2. threats: that
    of each round, by number.
    """

    x_adv: Tensor
    y: Tensor
    ids: Tensor
    part: Tensor
    round: Tensor
    threats: Mapping[int, ThreatModel]

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: Tensor) -> "Bank":
        """The entries at `index`."""
        columns = {name: getattr(self, name)[index] for name in COLUMNS}
        return Bank(**columns, threats=self.threats)

    def of_part(self, name: str) -> "Bank":
        """The entries whose sources belong to this part of the data."""
        return self.take((self.part == PARTS.index(name)).nonzero().squeeze(1))


def empty(shape: tuple[int, ...]) -> Bank:
    """A bank without entries, for images of `shape`."""
    none = torch.empty(0, dtype=torch.int64)
    return Bank(torch.empty(0, *shape), none, none, none, none, {})


def added(bank: Bank, new: Bank) -> Bank:
    """Both, without doubles: of entries of one source that are the same image in 8 bits the oldest stays."""
    columns = {name: torch.cat([getattr(bank, name), getattr(new, name)]) for name in COLUMNS}
    both = Bank(**columns, threats={**bank.threats, **new.threats})
    seen: set[bytes] = set()
    kept = []
    for place, key in enumerate(_keys(both)):
        if key not in seen:
            seen.add(key)
            kept.append(place)
    return both.take(torch.tensor(kept, dtype=torch.int64))


def write(bank: Bank, folder: Path) -> None:
    """The whole bank, and the part of it that may be trained on, which is not written where it is empty."""
    threats = {str(number): _spelled(threat) for number, threat in bank.threats.items()}
    told = {THREATS: json.dumps(threats, sort_keys=True)}
    write_bytes(folder / ALL, save({name: getattr(bank, name).contiguous() for name in COLUMNS}, told))
    usable = bank.of_part("training")
    if len(usable):
        write_bytes(folder / TRAIN, save({"x_adv": usable.x_adv.contiguous(), "y": usable.y.contiguous()}))


def read(folder: Path) -> Bank:
    """The bank that `write` wrote. Raises Untrusted."""
    path = folder / ALL
    try:
        with safe_open(path, framework="pt") as file:
            columns = {name: file.get_tensor(name) for name in COLUMNS}
            threats = json.loads((file.metadata() or {})[THREATS])
        return Bank(**columns, threats={int(number): _threat(one) for number, one in threats.items()})
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise Untrusted(f"{path}: is no replay bank: {error}", "put the round's folder back as it was") from error


def still_breaks(bank: Bank, logits: Callable[[Tensor], Tensor], data: DataSet, *, batch_size: int) -> Tensor:
    """Whether each entry lies in its own round's ball and box and the model takes it for another class, (n,) bool."""
    flags = torch.zeros(len(bank), dtype=torch.bool)
    for number, threat in bank.threats.items():
        here = (bank.round == number).nonzero().squeeze(1)
        for few in torch.split(here, batch_size):
            if len(few):
                flags[few] = _judged(bank.take(few), logits, data, threat)
    return flags


def regressions(before: Tensor, now: Tensor) -> tuple[int, int]:
    """How many entries broke only this model, and how many only the one before; (n,) bool each."""
    return int((now & ~before).sum()), int((before & ~now).sum())


def _judged(bank: Bank, logits: Callable[[Tensor], Tensor], data: DataSet, threat: ThreatModel) -> Tensor:
    source = _sources(bank, data)
    x_adv = bank.x_adv.to(source)
    inside = threat.distance(x_adv, source) <= threat.radius * (1 + SLACK) + 1e-7
    pixels = x_adv.flatten(1)
    inside &= ((pixels >= threat.low) & (pixels <= threat.high)).all(dim=1)
    return (inside & (logits(x_adv).argmax(dim=1) != bank.y.to(source.device))).cpu()


def _sources(bank: Bank, data: DataSet) -> Tensor:
    """The clean image of each entry."""
    out = torch.empty_like(bank.x_adv)
    test = bank.part == PARTS.index("test")
    for split, here in ((data.train, ~test), (data.test, test)):
        rows = here.nonzero().squeeze(1)
        if len(rows):
            out[rows] = _images(split, bank.ids[rows])
    return out


def _images(split: Split, ids: Tensor) -> Tensor:
    return split.batch(ids).x.cpu()


def _keys(bank: Bank) -> list[bytes]:
    pixels = (bank.x_adv * 255).round().to(torch.uint8).flatten(1).numpy()
    heads = zip(bank.part.tolist(), bank.ids.tolist(), strict=True)
    return [
        hashlib.sha256(f"{part} {one} ".encode() + row.tobytes()).digest()
        for (part, one), row in zip(heads, pixels, strict=True)
    ]


def _spelled(threat: ThreatModel) -> dict[str, Any]:
    return {"norm": threat.norm.value, "eps": threat.eps, "low": threat.low, "high": threat.high}


def _threat(plain: Mapping[str, Any]) -> ThreatModel:
    value: ThreatModel = read_value({"is": "ThreatModel", **plain}, {"ThreatModel": ThreatModel})
    return value
