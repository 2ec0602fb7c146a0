"""Lessons weigh classes and replay attacks; without either they are Madry's objective."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from harden.attacks import Pgd
from harden.data import Batch
from harden.errors import ConfigError, DataError
from harden.seeds import Stream, stream
from harden.threat import ThreatModel
from harden.training import Madry
from harden.training.lessons import Lessons

THREAT = ThreatModel(eps="0.1")
ATTACK = Pgd(steps=2)


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


@pytest.fixture
def batch() -> Batch:
    x = torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(2))
    return Batch(x, torch.arange(20) % 3, torch.arange(100, 120))


@pytest.fixture
def rng(batch: Batch) -> Stream:
    return stream(7, "test").at(batch.index)


def losses(model: nn.Module, batch: Batch, rng: Stream) -> Tensor:
    x_adv = ATTACK(model, batch.x, batch.y, THREAT, rng=rng)
    return F.cross_entropy(model(x_adv), batch.y, reduction="none")


def bank_at(path: Path, count: int) -> tuple[Tensor, Tensor]:
    x, y = torch.full((count, 1, 4, 4), 0.25), torch.full((count,), 2)
    save_file({"x_adv": x, "y": y}, path)
    return x, y


def test_without_lessons_it_is_madrys_objective(model: nn.Module, batch: Batch, rng: Stream) -> None:
    one, other = (objective(model, batch, ATTACK, THREAT, rng=rng) for objective in (Madry(), Lessons()))
    torch.testing.assert_close(one.value, other.value)
    assert torch.equal(one.robust, other.robust)  # type: ignore[arg-type]


def test_weights_make_a_weighted_mean(model: nn.Module, batch: Batch, rng: Stream) -> None:
    weight = torch.tensor([1.0, 2.0, 0.5])[batch.y]
    wanted = (weight * losses(model, batch, rng)).sum() / weight.sum()
    found = Lessons(classes=[1.0, 2.0, 0.5])(model, batch, ATTACK, THREAT, rng=rng).value
    torch.testing.assert_close(found, wanted)


def test_replayed_images_are_added_to_the_batch_and_not_counted(
    model: nn.Module, batch: Batch, rng: Stream, tmp_path: Path
) -> None:
    x, y = bank_at(tmp_path / "bank.safetensors", 4)
    objective = Lessons(replay=str(tmp_path / "bank.safetensors"), share=0.25)
    found = objective(model, batch, ATTACK, THREAT, rng=rng)
    old = F.cross_entropy(model(x[:1]), y[:1])
    torch.testing.assert_close(found.value, (losses(model, batch, rng).sum() + 5 * old) / 25)
    assert torch.equal(found.robust, Lessons()(model, batch, ATTACK, THREAT, rng=rng).robust)  # type: ignore[arg-type]


def test_what_is_replayed_follows_from_the_batch_alone(batch: Batch, rng: Stream, tmp_path: Path) -> None:
    x = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 1, 4, 4).contiguous() / 8
    save_file({"x_adv": x, "y": torch.arange(8) % 3}, tmp_path / "bank.safetensors")
    objective = Lessons(replay=str(tmp_path / "bank.safetensors"), share=0.5)
    one, other = objective._drawn(batch, rng), objective._drawn(batch, rng)
    assert torch.equal(one[0], other[0])
    assert len(one[1]) == 10
    assert len(set(one[0][:, 0, 0, 0].tolist())) > 1


@pytest.mark.parametrize("wrong", [{"classes": [1.0, 0.0]}, {"share": 0.0}, {"share": 1.5}])
def test_what_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="objective"):
        Lessons(**wrong)  # type: ignore[arg-type]


def test_a_file_that_is_no_bank_is_told(model: nn.Module, tmp_path: Path) -> None:
    (tmp_path / "bank").write_bytes(b"nothing")
    with pytest.raises(DataError, match="is no replay bank"):
        Lessons(replay=str(tmp_path / "bank")).check(model, THREAT)
    save_file({"x_adv": torch.zeros(0, 1, 4, 4), "y": torch.zeros(0, dtype=torch.int64)}, tmp_path / "empty")
    with pytest.raises(DataError, match="holds 0 images"):
        Lessons(replay=str(tmp_path / "empty")).check(model, THREAT)
