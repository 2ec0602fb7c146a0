"""Checkpoints: bit-exact, two of them, a damaged one passed over, nothing half-written, nothing pickled."""

import os
import struct
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from harden.errors import HardenError, TrainingError
from harden.training import AdamW, Sgd
from harden.training.averaging import Average
from harden.training.checkpoint import below, capture, newest, restore, write

Trained = tuple[nn.Module, nn.Module, Optimizer]
optimisers = pytest.mark.parametrize("optim", [AdamW(), Sgd(), Sgd(momentum=0.0)], ids=["adamw", "sgd", "plain"])


def trained(optim: AdamW | Sgd, *, steps: int, seed: int = 0) -> Trained:
    """A model with BatchNorm, its average and its optimiser after some steps."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 2))
    everything = model, Average(model).model, optim.over(model)
    advance(everything, steps)
    return everything


def advance(everything: Trained, steps: int) -> None:
    model, average, optimiser = everything
    for step in range(steps):
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
        model.train()(x).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
        follower = Average(average)
        follower.update(model, 0.5)
        average.load_state_dict(follower.model.state_dict())


@optimisers
@pytest.mark.parametrize("steps", [0, 3])
def test_a_restored_state_goes_on_to_the_same_bits(optim: AdamW | Sgd, steps: int, tmp_path: Path) -> None:
    unbroken, other = trained(optim, steps=steps), trained(optim, steps=5, seed=1)
    write(tmp_path, 1, capture(*unbroken), {})
    found = newest(tmp_path)
    assert found is not None
    restore(found[0], *other)
    torch.testing.assert_close(capture(*other), capture(*unbroken), rtol=0, atol=0)
    advance(unbroken, 4)
    advance(other, 4)
    torch.testing.assert_close(capture(*other), capture(*unbroken), rtol=0, atol=0)


@optimisers
def test_what_was_captured_does_not_move_with_the_model_nor_after_being_restored(optim: AdamW | Sgd) -> None:
    everything = trained(optim, steps=3)
    held = capture(*everything)
    before = {name: value.clone() for name, value in held.items()}
    advance(everything, 2)
    restore(held, *everything)
    advance(everything, 2)
    torch.testing.assert_close(held, before, rtol=0, atol=0)


def test_state_and_odd_numbers_survive_to_the_bit(tmp_path: Path) -> None:
    tensors = {
        "a/b.c": torch.tensor([0.1, -0.0, float("inf"), float("nan"), 1e-45]),
        "double": torch.tensor(1 / 3, dtype=torch.float64),
        "whole": torch.tensor([2**62 + 1]),
        "half": torch.tensor([1.5], dtype=torch.bfloat16),
        "none": torch.empty(0, 3),
    }
    state = {"step": 7, "text": 'ä "quoted"', "list": [0.1, None, True], "nested": {"x": 1e-300}}
    write(tmp_path, 7, tensors, state)
    found = newest(tmp_path)
    assert found is not None
    for name, value in tensors.items():
        again = found[0][name]
        assert (again.dtype, again.shape) == (value.dtype, value.shape)
        assert torch.equal(again.reshape(-1).view(torch.uint8), value.reshape(-1).view(torch.uint8))
    assert {key: found[1][key] for key in state} == state


def test_the_newest_two_are_kept_by_number_not_by_time(tmp_path: Path) -> None:
    for step in (9, 10, 100, 99):
        write(tmp_path, step, {"x": torch.tensor([step])}, {"step": step})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-000000099.safetensors",
        "step-000000100.safetensors",
    ]
    found = newest(tmp_path)
    assert found is not None
    assert found[1]["step"] == 100


def cut(data: bytes) -> bytes:
    return data[:-1]


def emptied(_data: bytes) -> bytes:
    return b""


def scrambled(data: bytes) -> bytes:
    return bytes(255 - byte for byte in data)


def nameless(_data: bytes) -> bytes:
    """A sound safetensors file that is no checkpoint."""
    header = b'{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
    return struct.pack("<Q", len(header)) + header + b"\0"


@pytest.mark.parametrize("damage", [cut, emptied, scrambled, nameless], ids=lambda damage: damage.__name__)
def test_a_damaged_newest_file_is_passed_over(damage: type, tmp_path: Path) -> None:
    for step in (1, 2):
        write(tmp_path, step, {"x": torch.tensor([step])}, {"step": step})
    last = tmp_path / "step-000000002.safetensors"
    last.write_bytes(damage(last.read_bytes()))
    found = newest(tmp_path)
    assert found is not None
    assert found[1]["step"] == 1
    assert found[0]["x"].tolist() == [1]


def test_where_every_file_is_damaged_the_user_is_told(tmp_path: Path) -> None:
    for step in (1, 2):
        write(tmp_path, step, {}, {}).write_bytes(b"rubbish")
    with pytest.raises(TrainingError, match="no checkpoint can be read"):
        newest(tmp_path)


def test_an_empty_or_missing_folder_holds_no_checkpoint(tmp_path: Path) -> None:
    assert newest(tmp_path) is None
    assert newest(tmp_path / "nowhere") is None


def test_a_full_disk_leaves_the_checkpoints_that_were_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    for step in (1, 2):
        write(tmp_path, step, {}, {"step": step})
    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HardenError, match="no space left"):
        write(tmp_path, 3, {}, {"step": 3})
    assert sorted(tmp_path.iterdir()) == before


def test_names_below_a_prefix_lose_it_once() -> None:
    one = torch.zeros(1)
    assert set(below({"a/a/x": one, "a/y": one, "b/z": one}, "a/")) == {"a/x", "y"}
