"""The replay bank: no doubles, nothing of test images to train on, and every entry judged anew."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from harden.data import DataSet
from harden.errors import Untrusted
from harden.rounds import bank as banks
from harden.rounds.bank import Bank
from harden.threat import ThreatModel

THREAT = ThreatModel(eps="0.1")


def entries(data: DataSet, ids: list[int], part: int, *, number: int = 1, shift: float = 0.05) -> Bank:
    split = data.test if part == 2 else data.train
    batch = split.batch(torch.tensor(ids))
    x_adv = (batch.x + shift).clamp(0, 1)
    same = torch.full((len(ids),), part)
    return Bank(x_adv, batch.y, batch.index, same, torch.full((len(ids),), number), {number: THREAT})


def test_doubles_in_8_bits_count_once_and_the_oldest_stays(dots: DataSet) -> None:
    old = entries(dots, [0, 1], 0)
    new = entries(dots, [1, 2], 0, number=2)
    new.x_adv.add_(1e-5)  # less than half a level
    both = banks.added(old, new)
    assert both.ids.tolist() == [0, 1, 2]
    assert both.round.tolist() == [1, 1, 2]
    assert banks.added(both, both).ids.tolist() == both.ids.tolist()


def test_the_same_pixels_of_another_source_are_no_double(dots: DataSet) -> None:
    one, other = entries(dots, [0], 0), entries(dots, [0], 2)
    other.x_adv.copy_(one.x_adv)
    assert len(banks.added(one, other)) == 2


def test_only_training_images_may_be_trained_on(dots: DataSet, tmp_path: Path) -> None:
    bank = banks.added(banks.added(entries(dots, [0, 1], 0), entries(dots, [2], 1)), entries(dots, [3, 4, 5], 2))
    banks.write(bank, tmp_path)
    usable = load_file(tmp_path / banks.TRAIN)
    assert torch.equal(usable["x_adv"], bank.of_part("training").x_adv)
    assert len(usable["y"]) == 2
    again = banks.read(tmp_path)
    assert torch.equal(again.x_adv, bank.x_adv)
    assert again.threats == bank.threats


def test_without_training_images_there_is_nothing_to_train_on(dots: DataSet, tmp_path: Path) -> None:
    banks.write(entries(dots, [0], 2), tmp_path)
    assert not (tmp_path / banks.TRAIN).exists()


def test_an_entry_breaks_where_it_is_misread_inside_ball_and_box(dots: DataSet) -> None:
    bank = entries(dots, [0, 1, 2, 3], 0)
    bank.x_adv[1] += 0.2  # leaves the ball
    wrong = 1 - bank.y

    def logits(x: torch.Tensor) -> torch.Tensor:
        said = torch.stack([wrong[(bank.x_adv == one).flatten(1).all(1)][0] for one in x])
        said[(x == bank.x_adv[2]).flatten(1).all(1)] = bank.y[2]  # withstands this one
        return torch.nn.functional.one_hot(said, 2).float()

    assert banks.still_breaks(bank, logits, dots, batch_size=3).tolist() == [True, False, False, True]


def test_regressions_are_what_only_the_new_model_falls_for() -> None:
    before, now = torch.tensor([True, False, False, True]), torch.tensor([True, True, False, False])
    assert banks.regressions(before, now) == (1, 1)


def test_a_damaged_bank_is_refused(dots: DataSet, tmp_path: Path) -> None:
    banks.write(entries(dots, [0], 0), tmp_path)
    (tmp_path / banks.ALL).write_bytes(b"no bank")
    with pytest.raises(Untrusted, match="is no replay bank"):
        banks.read(tmp_path)
