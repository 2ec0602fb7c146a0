"""Parts by class and the order of an epoch."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harden.data import Split, epoch_order, hold_out
from harden.data.split import mixed, with_test_part
from harden.errors import ConfigError
from harden.seeds import stream

labels = st.lists(st.integers(0, 5), min_size=2, max_size=60)


@given(y=labels, share=st.floats(0, 0.999), seed=st.integers(0, 3))
def test_held_out_and_kept_ids_are_a_partition_of_the_wanted_sizes(y: list[int], share: float, seed: int) -> None:
    count = int(share * len(y))
    kept, held = hold_out(torch.tensor(y), count, stream(seed))
    assert len(held) == count
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(len(y)))


@given(y=labels, share=st.floats(0, 0.999))
def test_every_class_gives_its_share_to_less_than_one_sample(y: list[int], share: float) -> None:
    numbers, count = torch.tensor(y), int(share * len(y))
    _, held = hold_out(numbers, count, stream(1))
    exact = torch.bincount(numbers).double() * count / len(y)
    taken = torch.bincount(numbers[held], minlength=len(exact)).double()
    assert (taken - exact).abs().max() < 1


def test_equal_remainders_go_to_the_lower_classes() -> None:
    _, held = hold_out(torch.tensor([0, 0, 1, 1, 2, 2]), 2, stream(0))
    assert sorted((held // 2).tolist()) == [0, 1]


def test_the_same_stream_holds_out_the_same_and_another_stream_others() -> None:
    y = torch.arange(200) % 4
    one, again, other = (hold_out(y, 40, stream(seed, "hold out"))[1] for seed in (1, 1, 2))
    assert one.tolist() == again.tolist()
    assert one.tolist() != other.tolist()


def test_ids_are_drawn_evenly_within_a_class() -> None:
    y = torch.zeros(100, dtype=torch.int64)
    counts = torch.zeros(100)
    for seed in range(400):
        counts[hold_out(y, 20, stream(seed))[1]] += 1
    # binomial(400, 0.2): mean 80, standard deviation 8; 4.5 of them cover 100 ids at odds below 1e-3
    assert (counts - 80).abs().max() < 36


@pytest.mark.parametrize("count", [-1, 3, 4])
def test_a_count_that_leaves_nothing_or_makes_no_sense_is_refused(count: int) -> None:
    with pytest.raises(ConfigError, match=rf"^cannot hold out {count} of 3 samples, wanted 0\.\.2$"):
        hold_out(torch.tensor([0, 1, 0]), count, stream(0))


def test_the_test_part_takes_images_with_their_labels() -> None:
    whole = Split(torch.arange(40, dtype=torch.uint8).view(40, 1, 1, 1), torch.arange(40) % 2)
    train, test = with_test_part(whole, 10)
    x = torch.cat([train.x, test.x]).flatten()
    assert sorted(x.tolist()) == list(range(40))
    assert torch.equal(torch.cat([train.y, test.y]), x.long() % 2)
    assert torch.bincount(test.y).tolist() == [5, 5]


def test_an_epoch_visits_every_sample_once_in_an_order_of_its_own() -> None:
    one, again, next_one = (epoch_order(50, stream(0, "order", epoch)).tolist() for epoch in (1, 1, 2))
    assert sorted(one) == list(range(50))
    assert one == again
    assert one != next_one


def test_samples_that_lie_class_by_class_are_mixed_and_others_stay() -> None:
    y = torch.arange(4).repeat_interleave(50)
    x = torch.arange(200, dtype=torch.uint8).view(200, 1, 1, 1)
    ordered = mixed(Split(x, y))
    assert set(ordered.y[:20].tolist()) == {0, 1, 2, 3}
    assert sorted(ordered.x.flatten().tolist()) == list(range(200))
    torch.testing.assert_close(ordered.y, y[ordered.x.flatten().long()])  # images keep their labels
    torch.testing.assert_close(mixed(ordered).x, ordered.x)
