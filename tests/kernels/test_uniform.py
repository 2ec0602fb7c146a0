"""Philox4x32-10 gives Random123's answers, and a draw depends on key, id, element and draw alone."""

import os

import numpy as np
import pytest
import torch
from torch import Tensor

from harden import kernels
from harden.kernels import exact, loops, reference

# Random123's kat_vectors, philox4x32 with 10 rounds: counter, key, answer.
ANSWERS = (
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
)

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
ENGINES = ("cuda",) if SIMULATED else ("torch", "numba")  # test_cuda.py starts a process for the simulator
engines = pytest.mark.parametrize("engine", ENGINES)


def words(text: str) -> tuple[int, ...]:
    return tuple(int(word, 16) for word in text.split())


def drawn(rows: list[int], pixels: int, *, key: int = 3, draw: int = 0) -> Tensor:
    out = torch.empty(len(rows), pixels)
    return kernels.uniform(key, torch.tensor(rows, dtype=torch.int64), low=0, high=1, draw=draw, out=out)


@pytest.mark.parametrize(("counter", "key", "answer"), ANSWERS)
def test_philox_gives_the_known_answers(counter: str, key: str, answer: str) -> None:
    (c0, c1, c2, c3), (k0, k1) = words(counter), words(key)
    assert reference.philox((c0, c1, c2, c3), (k0, k1)) == words(answer)
    assert loops.philox(c0, c1, c2, c3, k0, k1) == words(answer)
    tensors = (torch.tensor([c0]), torch.tensor([c1]), torch.tensor([c2]), torch.tensor([c3]))
    assert tuple(int(word) for word in exact.philox(tensors, k1 << 32 | k0)) == words(answer)


@engines
def test_uniform_takes_the_upper_24_bits_of_the_known_answer(engine: str) -> None:
    with kernels.using(engine):
        out = drawn([0], 4, key=0)
    wanted = np.array([[word >> 8 for word in words(ANSWERS[0][2])]])
    np.testing.assert_array_equal(out.numpy() * 2.0**24, wanted)


@engines
def test_any_split_of_a_batch_draws_the_same_numbers(engine: str) -> None:
    rows = [5, 0, 2**33, 7, 5]
    with kernels.using(engine):
        whole = drawn(rows, 11)
        parts = torch.cat([drawn(rows[:2], 11), drawn(rows[2:3], 11), drawn(rows[3:], 11)])
        longer = drawn(rows, 50)
    torch.testing.assert_close(parts, whole, rtol=0, atol=0)
    torch.testing.assert_close(longer[:, :11], whole, rtol=0, atol=0)
    torch.testing.assert_close(whole[0], whole[4], rtol=0, atol=0)


@engines
def test_another_key_id_or_draw_gives_other_numbers(engine: str) -> None:
    with kernels.using(engine):
        first = drawn([1], 64)
        others = [
            drawn([2], 64),
            drawn([1 + 2**32], 64),
            drawn([1], 64, draw=1),
            drawn([1], 64, key=3 + 2**32),
        ]
    for other in others:
        assert (first != other).float().mean() > 0.99


@engines
def test_the_numbers_are_spread_evenly_below_high(engine: str) -> None:
    with kernels.using(engine):
        out = kernels.uniform(1, torch.arange(40), low=-2, high=6, out=torch.empty(40, 2500))
    assert out.min() >= -2
    assert out.max() < 6
    counts = np.histogram(out.numpy(), bins=100, range=(-2, 6))[0]
    chi_squared = float(np.sum((counts - 1000.0) ** 2 / 1000))
    assert 50 < chi_squared < 165  # 99 degrees of freedom: outside with a chance below 1e-4


@engines
def test_equal_bounds_give_that_number(engine: str) -> None:
    with kernels.using(engine):
        out = kernels.uniform(1, torch.arange(2), low=0.1, high=0.1, out=torch.empty(2, 3))
    torch.testing.assert_close(out, torch.full((2, 3), 0.1), rtol=0, atol=0)
