"""The state of a run on disk: one safetensors file, tensors by path-like names, the rest as JSON metadata.

Randomness is counter-based and the schedule a function of the step, so neither needs to be saved. The last
two checkpoints are kept; each is written under a temporary name, synced and renamed.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from harden.errors import TrainingError
from harden.files import canonical_json, write_bytes

FORMAT = 1
Tensors = dict[str, Tensor]


def capture(model: nn.Module, average: nn.Module, optimiser: Optimizer) -> Tensors:
    """A copy of every tensor that training changes."""
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"average/{name}": value for name, value in average.state_dict().items()}
    for index, slots in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser/{index}/{slot}": value for slot, value in slots.items() if value is not None}
    return {name: value.detach().clone().contiguous() for name, value in tensors.items()}


def restore(tensors: Tensors, model: nn.Module, average: nn.Module, optimiser: Optimizer) -> None:
    """Puts what `capture` took back in place, to the bit."""
    model.load_state_dict(below(tensors, "model/"))
    average.load_state_dict(below(tensors, "average/"))
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in below(tensors, "optimiser/").items():
        index, slot = name.split("/")
        state.setdefault(int(index), {})[slot] = value.clone()
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    _lay_out(optimiser)


def _lay_out(optimiser: Optimizer) -> None:
    """Gives slots the strides of their parameters, which fused optimisers want: files hold contiguous tensors."""
    for parameter, slots in optimiser.state.items():
        for name, slot in slots.items():
            if isinstance(slot, Tensor) and slot.shape == parameter.shape and slot.stride() != parameter.stride():
                slots[name] = torch.empty_like(parameter, dtype=slot.dtype).copy_(slot)


def below(tensors: Mapping[str, Tensor], prefix: str) -> Tensors:
    """The tensors whose names begin with `prefix`, under the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def write(folder: Path, step: int, tensors: Tensors, state: Mapping[str, Any]) -> Path:
    """The checkpoint of `step` in `folder`; all but the newest two are removed. Raises HardenError on a full disk."""
    path = folder / f"step-{step:09d}.safetensors"
    metadata = {"harden.checkpoint": canonical_json({"format": FORMAT, **state}).decode()}
    write_bytes(path, save({name: value.cpu().contiguous() for name, value in tensors.items()}, metadata))
    for old in sorted(folder.glob("step-*.safetensors"))[:-2]:
        old.unlink()
    return path


def newest(folder: Path) -> tuple[Tensors, dict[str, Any]] | None:
    """The newest readable checkpoint in `folder`, or None where there is none.

    A damaged file is passed over for the one before it; TrainingError where all of them are damaged.
    """
    paths = sorted(folder.glob("step-*.safetensors"), reverse=True)
    for path in paths:
        try:
            with safe_open(path, framework="pt") as file:
                state = json.loads((file.metadata() or {})["harden.checkpoint"])
                if state["format"] != FORMAT:
                    raise TrainingError(f"{path}: was written by another version of harden", "resume with that one")
                return {name: file.get_tensor(name) for name in file.keys()}, state  # noqa: SIM118
        except (SafetensorError, KeyError, ValueError, OSError):
            continue
    if paths:
        raise TrainingError(f"{folder}: no checkpoint can be read", "start again with overwrite=true")
    return None
