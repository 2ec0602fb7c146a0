"""What a campaign has found so far, on disk: one file a batch, whole or not there.

A killed campaign that is begun again reads them and repeats at most the batch that it died in.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from harden.files import write_bytes, write_json

PARTS = "parts"


@dataclass(frozen=True)
class Part:
    """What one attack did to some samples.

    ids: (n,) int64; broken: (n,) bool; distance: (n,) float64 in the threat's norm, NaN where not broken;
    x_adv: (broken, *pixel) float32, in the order of ids; forward, backward: samples through the model;
    excess: how far past eps the worst candidate lay before it was projected.
    """

    ids: Tensor
    broken: Tensor
    distance: Tensor
    x_adv: Tensor
    forward: int
    backward: int
    excess: float
    seconds: float


class Journal:
    """The parts of a campaign in `folder`; None keeps nothing. `plan` is what all parts belong to."""

    def __init__(self, folder: Path | None, plan: str) -> None:
        self.folder = folder / PARTS if folder else None
        self.plan = plan

    def part(self, attack: str, number: int, make: Callable[[], Part]) -> Part:
        """The batch `number` of `attack`: read where it was done before, else made now and written."""
        if self.folder is None:
            return make()
        path = self.folder / attack / f"{number:06d}.safetensors"
        part = self._read(path)
        if part is None:
            part = make()
            write_bytes(path, self._packed(part))
        return part

    def kept(self, name: str, number: int, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """The tensors of the batch `number` of a stage: read where they were made before, else made now and written."""
        if self.folder is None:
            return make()
        path = self.folder / name / f"{number:06d}.safetensors"
        found = self._tensors_in(path)
        if found is None:
            found = {key: value.contiguous().cpu() for key, value in make().items()}
            write_bytes(path, bytes(save(found, {"plan": self.plan})))
        return found

    def told(self, name: str, number: int, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The same for what is told in words and numbers."""
        if self.folder is None:
            return make()
        path = self.folder / name / f"{number:06d}.json"
        try:
            found = json.loads(path.read_text())
            if found["plan"] == self.plan:
                return dict(found["told"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # not there, or of another hand: made anew
        told = make()
        write_json(path, {"plan": self.plan, "told": told})
        return told

    def _tensors_in(self, path: Path) -> dict[str, Tensor] | None:
        try:
            with safe_open(path, framework="pt") as file:
                if (file.metadata() or {}).get("plan") != self.plan:
                    return None
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
        except (OSError, SafetensorError):
            return None

    def _packed(self, part: Part) -> bytes:
        tensors = {name: value.contiguous().cpu() for name, value in _tensors(part)}
        told = {"forward": part.forward, "backward": part.backward, "excess": part.excess, "seconds": part.seconds}
        return bytes(save(tensors, {"plan": self.plan, "told": json.dumps(told)}))

    def _read(self, path: Path) -> Part | None:
        try:
            with safe_open(path, framework="pt") as file:
                about = file.metadata() or {}
                if about.get("plan") != self.plan:
                    return None
                tensors = {name: file.get_tensor(name) for name in ("ids", "broken", "distance", "x_adv")}
            return Part(**tensors, **json.loads(about["told"]))
        except (OSError, SafetensorError, KeyError, ValueError, TypeError):
            return None  # not there, or of another hand: made anew


def _tensors(part: Part) -> Iterator[tuple[str, Tensor]]:
    yield from (("ids", part.ids), ("broken", part.broken), ("distance", part.distance), ("x_adv", part.x_adv))


def joined(parts: list[Part], like: Tensor) -> Part:
    """All parts in one; without any, an empty one for images like `like`."""
    if not parts:
        empty = torch.empty(0, dtype=torch.int64)
        return Part(empty, empty.bool(), empty.double(), like[:0].cpu(), 0, 0, 0.0, 0.0)
    ids, broken, distance, x_adv = (
        torch.cat([dict(_tensors(part))[name] for part in parts]) for name in ("ids", "broken", "distance", "x_adv")
    )
    forward, backward = sum(part.forward for part in parts), sum(part.backward for part in parts)
    excess = max(part.excess for part in parts)
    return Part(ids, broken, distance, x_adv, forward, backward, excess, sum(part.seconds for part in parts))
