"""No attack waits for the device at every step: what makes the host wait is counted."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from harden.attacks import ApgdCe, ApgdT, Attack, FabT, Fmn, MiFgsm, Pgd
from harden.seeds import stream
from harden.threat import ThreatModel

WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique_dim", "_unique2"}
"""Operators whose result the host has to know."""


class Waits(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operators at which a host would wait for its device; indexing by a mask is one."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name.startswith("index") and any(
            isinstance(one, Tensor) and one.dtype == torch.bool for one in _flat(args[1:2])
        )
        self.count += name in WAITING or by_mask
        return func(*args, **(kwargs or {}))


def _flat(values: Any) -> list[Any]:
    return [x for value in values for x in (_flat(value) if isinstance(value, list | tuple) else [value])]


def waits(attack: Attack) -> int:
    """How often the host would wait for an attack on images that nothing breaks."""
    layer = nn.Linear(16, 5)
    model = nn.Sequential(nn.Flatten(), layer)
    with torch.no_grad():
        layer.weight.mul_(0.01)
        layer.bias.copy_(torch.tensor([9.0, 0, 0, 0, 0]))
    x = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    with Waits() as mode:
        attack(model, x, torch.zeros(6).long(), ThreatModel(eps="0.05"), rng=stream(0).at(torch.arange(6)))
    found: int = mode.count
    return found


def test_the_counter_notices_what_makes_a_host_wait() -> None:
    x = torch.rand(4)
    with Waits() as mode:
        x[x > 0.5]
        bool(x.sum() > 0)
        x.nonzero()
    assert mode.count == 3


@pytest.mark.parametrize(
    ("short", "long", "every"),
    [
        (Pgd(steps=20), Pgd(steps=60), 0),
        (ApgdCe(steps=20), ApgdCe(steps=60), 5),
        (ApgdT(steps=20, targets=1), ApgdT(steps=60, targets=1), 5),
        (FabT(steps=20, targets=1), FabT(steps=60, targets=1), 5),
        (Fmn(steps=20), Fmn(steps=60), 10),
        (MiFgsm(steps=20), MiFgsm(steps=60), 0),
    ],
    ids=lambda value: value.label if isinstance(value, Attack) else str(value),
)
def test_forty_steps_more_make_the_host_wait_at_the_looks_alone(short: Attack, long: Attack, every: int) -> None:
    looks = 40 // every if every else 0
    assert waits(long) - waits(short) <= 2 * looks
