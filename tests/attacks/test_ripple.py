"""What a patch changes downstream, beside whole passes: random chains, patches at borders, and what is not followed."""

import copy
import math
from collections.abc import Callable
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from harden import kernels
from harden.attacks import Counted, Model, Square, frozen
from harden.attacks.ripple import Ripple, ripple
from harden.models import Classifier
from harden.seeds import stream
from harden.threat import ThreatModel

COUNT, SIDE = 5, 12
SMALL = ThreatModel(eps="0.02")


def layers(rng: torch.Generator, channels: int) -> list[nn.Module]:
    """A random chain from (channels, SIDE, SIDE + 1) to three logits."""

    def pick(*options: int) -> int:
        return options[int(torch.randint(len(options), (), generator=rng))]

    chain: list[nn.Module] = []
    deep, probe = channels, torch.zeros(1, channels, SIDE, SIDE + 1)
    for _ in range(pick(1, 2, 3)):
        kernel = min(pick(1, 2, 3, 4), *nn.Sequential(*chain).eval()(probe).shape[2:])
        wider = pick(3, 6)
        chain.append(nn.Conv2d(deep, wider, kernel, stride=pick(1, 2), padding=pick(0, 1), bias=bool(pick(0, 1))))
        deep = wider
        bends: list[list[nn.Module]] = [[nn.ReLU()], [nn.LeakyReLU(0.2)], [nn.BatchNorm2d(deep), nn.ReLU()], []]
        chain += bends[pick(0, 1, 2, 3)]
        few = nn.Sequential(*chain).eval()(probe).shape[3] < 2
        pools: list[list[nn.Module]] = [[], [nn.MaxPool2d(3, 2, 1)], [nn.AvgPool2d(2, padding=1)]]
        pools.append([] if few else [nn.AvgPool2d((1, 2), 1)])
        chain += pools[pick(0, 1, 2, 3)]
    size = nn.Sequential(*chain).eval()(probe)[0].numel()
    return [*chain, nn.Flatten(), nn.Linear(size, 7), nn.ReLU(), nn.Dropout(0.5), nn.Linear(7, 3)]


def network(seed: int, channels: int) -> Classifier:
    rng = torch.Generator().manual_seed(seed)
    net = nn.Sequential(*layers(rng, channels))
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if tensor.is_floating_point():
                fan = max(tensor[0].numel() if tensor.dim() > 1 else 1, 1)
                drawn = torch.randn(tensor.shape, generator=rng) / math.sqrt(fan)
                tensor.copy_(drawn.abs() + 0.5 if "running_var" in name else drawn)
    return Classifier(net, mean=[0.3] * channels, std=[0.5 - 0.1 * c for c in range(channels)]).eval()


def at_any_cost(model: Model, point: Tensor) -> Ripple | None:
    with patch("harden.attacks.ripple.WORTH", math.inf):
        return ripple(model, point, 1)


def begun(model: nn.Module, point: Tensor) -> Ripple:
    found = at_any_cost(model, point)
    assert found is not None
    return found


def patched(point: Tensor, corner: Tensor, side: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """What stood in the patch of each image, in place of which there is something else now, and who changed."""
    old = torch.empty(*point.shape[:2], side, side)
    leap = torch.where(torch.rand(point.shape[:2], generator=rng) < 0.5, -0.3, 0.3)
    changed = kernels.paste(point, point.clone(), corner, leap, side=side, eps=0.25, low=0, high=1, old=old)
    return old, changed


@given(seed=st.integers(0, 10**6), channels=st.sampled_from([1, 3]), side=st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_followed_logits_are_the_models_wherever_the_patches_lie_and_whatever_is_kept(
    seed: int, channels: int, side: int
) -> None:
    rng, model = torch.Generator().manual_seed(seed), network(seed, channels)
    point = torch.rand(COUNT, channels, SIDE, SIDE + 1, generator=rng)
    followed = begun(model, point)
    for _ in range(6):
        row = torch.randint(SIDE - side + 1, (COUNT,), generator=rng)
        column = torch.randint(SIDE + 1 - side + 1, (COUNT,), generator=rng)
        row[0], column[0], row[1], column[1] = 0, 0, SIDE - side, SIDE + 1 - side
        corner = row * (SIDE + 1) + column
        old, changed = patched(point, corner, side, rng)
        found = followed.follow(point, old, corner, changed)
        with torch.no_grad():
            wanted = copy.deepcopy(model).double()(point.double())
        scale = wanted.abs().max().item() + 1
        assert (found.double() - wanted).abs().max().item() < 2e-5 * scale
        kept = changed & (torch.rand(COUNT, generator=rng) < 0.5)
        followed.settle(kept)
        kernels.take_back(point, corner, kept, side=side, old=old)
        stay = torch.randperm(COUNT, generator=rng)
        point = point[stay].contiguous()
        followed.take(stay)
    assert followed.refresh(point)


def test_a_followed_query_is_one_pass_and_so_is_a_refresh() -> None:
    meter = Counted(network(0, 1))
    point = torch.rand(COUNT, 1, SIDE, SIDE + 1)
    followed = begun(meter, point)
    before = meter.forwards
    corner, changed = torch.zeros(COUNT, dtype=torch.int64), torch.tensor([True, False, True, True, False])
    followed.follow(point, point[:, :, :2, :2].contiguous(), corner, changed)
    assert meter.forwards == before + 3
    followed.refresh(point)
    assert meter.forwards == before + 3 + COUNT


class _Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.as_tensor(self.layer(x))


class _Bent(Classifier):
    """One that does more than it inherits."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).square()


def head(channels: int = 1, side: int = SIDE) -> list[nn.Module]:
    return [nn.Flatten(), nn.Linear(channels * side * (side + 1), 3)]


def hooked() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), *head())
    model[0].register_forward_hook(lambda *_: None)
    return model


UNKNOWN: dict[str, Callable[[], nn.Module]] = {
    "residual": lambda: nn.Sequential(_Residual(), *head()),
    "hooked": hooked,
    "smooth": lambda: nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.SiLU(), *head()),
    "grouped": lambda: nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1, groups=2), *head(2)),
    "dilated": lambda: nn.Sequential(nn.Conv2d(1, 1, 3, dilation=2, padding=2), *head()),
    "wrapped around": lambda: nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"), *head()),
    "rounded up": lambda: nn.Sequential(nn.MaxPool2d(1, ceil_mode=True), *head()),
    "in float64": lambda: nn.Sequential(*head()).double(),
    "not flat": lambda: nn.Sequential(nn.Conv2d(1, 3, 1)),
    "bent": lambda: _Bent(nn.Sequential(*head()), mean=[0.0], std=[1.0]),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_no_plain_chain_is_not_followed(name: str) -> None:
    model = UNKNOWN[name]().eval()
    point = torch.rand(COUNT, 1, SIDE, SIDE + 1)
    assert at_any_cost(model, point) is None
    assert at_any_cost(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), *head()).eval(), point) is not None
    assert at_any_cost(lambda x: x, point) is None


def test_nothing_is_followed_but_by_numba_nor_where_a_pass_costs_little_more() -> None:
    model, point = network(1, 1), torch.rand(COUNT, 1, SIDE, SIDE + 1)
    assert ripple(model, point, 1) is not None
    assert ripple(model, point, SIDE) is None
    with kernels.using("torch"):
        assert ripple(model, point, 1) is None


def test_a_layer_that_lies_is_found_out() -> None:
    """Its weights are not what it computes with."""
    model, point = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(440, 3)).eval(), torch.rand(2, 1, 12, 13)
    with torch.no_grad():
        model[0].get_parameter("weight").fill_(1.0)
    model[0].forward = lambda x: nn.functional.conv2d(x, -torch.ones(4, 1, 3, 3))
    followed, corner, rng = begun(model, point), torch.zeros(2, dtype=torch.int64), torch.Generator().manual_seed(0)
    old, changed = patched(point, corner, 3, rng)
    followed.follow(point, old, corner, changed)
    followed.settle(changed)
    assert not followed.refresh(point)


def test_square_breaks_the_same_samples_followed_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(7, 1)
    x = torch.rand(40, 1, SIDE, SIDE + 1, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        y = model(x).argmax(1)
    seen = []
    for follows in (True, False):
        monkeypatch.setattr("harden.attacks.square._Linf.can_follow", follows)
        monkeypatch.setattr("harden.attacks.ripple.COMPILING", 0)
        meter = Counted(model)
        found = Square(queries=400)(meter, x, y, SMALL, rng=stream(0).at(torch.arange(40)))
        with torch.no_grad():
            seen.append((model(found).argmax(1) != y, meter.forwards))
    (followed, passes), (whole, passes_too) = seen
    assert 0 < int(whole.sum()) < 40
    assert int((followed != whole).sum()) <= 1
    assert passes != passes_too  # the refreshes: it was followed indeed


def test_frozen_models_are_followed_from_train_mode() -> None:
    model = network(2, 1).train()
    point = torch.rand(COUNT, 1, SIDE, SIDE + 1)
    assert ripple(model, point, 1) is None
    with frozen(model):
        assert ripple(model, point, 1) is not None


def test_what_takes_less_than_compiling_is_not_followed() -> None:
    model, point = network(3, 1), torch.rand(COUNT, 1, SIDE, SIDE + 1)
    with patch("harden.attacks.ripple.WORTH", math.inf):
        assert ripple(model, point, 1, queries=100) is None
        assert ripple(model, point, 1, queries=10**12) is not None
