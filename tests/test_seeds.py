"""Named random numbers: the same in every process, batch and order, and other ones under every other name."""

import hashlib
import math

import pytest
import torch

from harden.seeds import Stream, seeded, stream

LIKE = torch.empty(5, 3, 4)
IDS = torch.tensor([9, 2, 400, 0, 77])


def test_the_key_is_the_beginning_of_the_sha256_of_seed_and_names() -> None:
    digest = hashlib.sha256(b'[3, "attack", 12]').digest()
    assert stream(3, "attack", 12).key == int.from_bytes(digest[:8], "little")


def test_names_seeds_and_their_order_all_make_another_stream() -> None:
    streams = [
        stream(0),
        stream(1),
        stream(0, "a"),
        stream(0, "a", "b"),
        stream(0, "b", "a"),
        stream(0, "ab"),
        stream(0, "1"),
        stream(0, 1),
        stream(0, "a").child("c"),
        stream(0, "b").child("c"),
    ]
    assert len({one.key for one in streams}) == len(streams)


def test_a_child_keeps_the_samples() -> None:
    rows = stream(0).at(IDS).child("x", 1).rows
    assert rows is not None
    assert rows.tolist() == IDS.tolist()


def test_a_number_depends_on_the_samples_id_not_on_its_place_or_its_neighbours() -> None:
    whole = stream(0, "x").at(IDS).uniform(LIKE)
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(stream(0, "x").at(IDS[order]).uniform(LIKE), whole[order], rtol=0, atol=0)
    torch.testing.assert_close(stream(0, "x").at(IDS).take(order[:2]).uniform(LIKE[:2]), whole[order[:2]])
    normal = stream(0, "x").at(IDS).normal(LIKE)
    torch.testing.assert_close(stream(0, "x").at(IDS[order]).normal(LIKE), normal[order], rtol=0, atol=1e-6)


def test_draws_of_one_stream_differ_and_repeat() -> None:
    rng = stream(0, "x").at(IDS)
    assert torch.equal(rng.uniform(LIKE, draw=1), rng.uniform(LIKE, draw=1))
    assert not torch.equal(rng.uniform(LIKE, draw=0), rng.uniform(LIKE, draw=1))
    assert not torch.equal(rng.normal(LIKE, draw=0), rng.normal(LIKE, draw=1))


def test_uniform_numbers_fill_their_range_evenly() -> None:
    numbers = stream(0, "u").at(torch.arange(20_000)).uniform(torch.empty(20_000, 1), -2.0, 6.0).flatten().double()
    assert -2 <= numbers.min() < -1.99
    assert 5.99 < numbers.max() <= 6
    empirical = torch.arange(1, 20_001) / 20_000
    distance = ((numbers.sort().values + 2) / 8 - empirical).abs().max()
    assert distance < 1.95 / math.sqrt(20_000)  # Kolmogorov-Smirnov, level 0.001


def test_normal_numbers_are_normal_and_independent_along_pixels() -> None:
    numbers = stream(0, "n").at(torch.arange(20_000)).normal(torch.empty(20_000, 2)).double()
    empirical = torch.arange(1, 20_001) / 20_000
    distance = (torch.special.ndtr(numbers[:, 0].sort().values) - empirical).abs().max()
    assert distance < 1.95 / math.sqrt(20_000)
    assert torch.corrcoef(numbers.T)[0, 1].abs() < 4 / math.sqrt(20_000)
    assert torch.isfinite(numbers).all()


@pytest.mark.parametrize("rng", [stream(0), stream(0).at(torch.arange(4))])
def test_draws_need_an_id_for_each_sample(rng: Stream) -> None:
    with pytest.raises(ValueError, match="sample ids, wanted 5"):
        rng.uniform(LIKE)


def test_nothing_can_be_taken_from_a_stream_without_samples() -> None:
    with pytest.raises(ValueError, match="no sample ids"):
        stream(0).take(torch.tensor([0]))


def test_a_generator_is_made_afresh_each_time() -> None:
    first, second = (torch.randperm(50, generator=stream(0, "order", 1).generator()) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, torch.randperm(50, generator=stream(0, "order", 2).generator()))


def test_the_global_generator_is_seeded_inside_and_as_before_afterwards() -> None:
    before = torch.get_rng_state()
    with seeded(stream(0, "init")):
        inside = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ArithmeticError), seeded(stream(0, "init")):
        raise ArithmeticError(torch.rand(3))
    assert torch.equal(torch.get_rng_state(), before)
    with seeded(stream(0, "init")):
        torch.testing.assert_close(torch.rand(3), inside, rtol=0, atol=0)


def test_drawing_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    rng = stream(0).at(IDS)
    rng.uniform(LIKE)
    rng.normal(LIKE)
    rng.generator()
    assert torch.equal(torch.get_rng_state(), before)
