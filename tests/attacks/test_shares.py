"""A batch shared out among threads: the same as alone, and nothing left behind."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from harden import kernels
from harden.attacks import Adaptive, ApgdCe, Art, Attack, FabT, Fgsm, Model, Pgd, Square, frozen, shared, shares_for
from harden.seeds import stream
from harden.threat import Norm, ThreatModel

COUNT = 64
X = torch.rand(COUNT, 1, 6, 6, generator=torch.Generator().manual_seed(0))
RNG = stream(0, "test").at(torch.arange(COUNT))
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 5))


def attacked(attack: Attack, model: nn.Module, norm: Norm, shares: int) -> tuple[Tensor, int, int]:
    threat, y = ThreatModel(norm=norm, eps="0.05" if norm is Norm.linf else "0.4"), model(X).argmax(1)
    found = shared(lambda m, few: attack(m, X[few], y[few], threat, rng=RNG.take(few)), model, COUNT, shares)
    return found.x_adv, found.forwards, found.backwards


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize(
    "attack", [Pgd(steps=5, restarts=2), ApgdCe(steps=10), FabT(steps=10), Square(queries=60)], ids=lambda a: a.label
)
def test_shares_find_what_one_finds_in_as_many_passes(attack: Attack, norm: Norm, model: nn.Module) -> None:
    alone, *passes = attacked(attack, model, norm, 1)
    assert not torch.equal(alone, X)
    for shares in (2, 3):
        found, *passes_too = attacked(attack, model, norm, shares)
        torch.testing.assert_close(found, alone, rtol=1e-3, atol=1e-3)
        if not isinstance(attack, Square):  # its own count hangs on ties in the last bit
            assert passes_too == passes


def test_the_model_and_torchs_threads_are_as_they_were(model: nn.Module) -> None:
    model.train()
    attacked(Pgd(steps=2), model, Norm.linf, 2)
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
    assert not any("forward" in vars(one) for one in model.modules())
    assert torch.get_num_threads() == 2


def test_each_share_has_a_model_and_a_thread_of_its_own_and_the_callers_settings(model: nn.Module) -> None:
    seen: list[tuple[int, tuple[int, str]]] = []

    def work(counted: Model, few: slice) -> Tensor:
        assert isinstance(counted, nn.Module)
        inner = next(counted.children())
        with frozen(counted):
            seen.append((id(inner), (torch.get_num_threads(), kernels.engine_for(X))))
        return X[few]

    with kernels.using("torch"):
        found = shared(work, model, COUNT, 2)
    assert torch.equal(found.x_adv, X)
    assert len({one for one, _ in seen}) == 2
    assert {settings for _, settings in seen} == {(1, "torch")}


def test_an_error_in_a_share_is_the_callers(model: nn.Module) -> None:
    def work(_model: Model, few: slice) -> Tensor:
        if few.start:
            raise ValueError("the second share")
        return X[few]

    with pytest.raises(ValueError, match="the second share"):
        shared(work, model, COUNT, 2)
    assert torch.get_num_threads() == 2


def test_what_cannot_be_shared_is_not(model: nn.Module) -> None:
    assert shares_for(Fgsm(), model, COUNT, CPU) == 2
    assert shares_for(Fgsm(), model, 49, CPU) == 1  # too few to be worth it
    assert shares_for(Fgsm(), model, COUNT, torch.device("meta")) == 1
    for alone in (Adaptive(base=Fgsm()), Art()):
        assert shares_for(alone, model, COUNT, CPU) == 1
    assert shares_for(Fgsm(), lambda x: x, COUNT, CPU) == 1
    stuck = nn.Linear(2, 2)
    stuck.register_buffer("computed", torch.ones(2, requires_grad=True) * 2)  # a tensor that cannot be copied
    assert shares_for(Fgsm(), stuck, COUNT, CPU) == 1
