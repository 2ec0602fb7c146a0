"""Climbs through buffers that are used again give what climbs give; what a CPU can say about CUDA graphs."""

from dataclasses import replace

import torch
from torch import nn

from harden.attacks import Keep, Pgd
from harden.attacks import replay as replays
from harden.attacks.replay import replaying
from harden.seeds import stream
from harden.threat import ThreatModel

ATTACK = Pgd(steps=3, keep=Keep.last)


def images(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(6, 1, 4, 4, generator=rng), torch.randint(3, (6,), generator=rng)


def attacked(model: nn.Module, seed: int, attack: Pgd = ATTACK) -> torch.Tensor:
    x, y = images(seed)
    return attack(model, x, y, ThreatModel(), rng=stream(seed).at(torch.arange(6)))


def test_replayed_climbs_give_the_bits_of_plain_ones_whatever_comes_in_between() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    seeds = (1, 2, 3, 1)
    plain = [attacked(model, seed) for seed in seeds]
    other = attacked(model, 1, replace(ATTACK, steps=2))
    with replaying():
        for wanted, seed in zip(plain, seeds, strict=True):
            assert torch.equal(attacked(model, seed), wanted)
            assert torch.equal(attacked(model, 1, replace(ATTACK, steps=2)), other)
        found = replays._replays.get()
        assert found is not None
        assert len(found) == 2
        with torch.no_grad():
            next(model[1].parameters()).mul_(-1)  # in place, as an optimiser does
        changed = attacked(model, 1)
    assert not torch.equal(changed, plain[0])
    assert torch.equal(changed, attacked(model, 1))


def test_a_first_sight_is_not_captured_and_few_are_kept() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    with replaying():
        attacked(model, 1)
        found = replays._replays.get()
        assert found is not None
        assert list(found.values()) == [None]
        for steps in range(1, 9):
            attacked(model, 1, replace(ATTACK, steps=steps))
        assert len(found) == replays.KEPT
    assert replays._replays.get() is None
