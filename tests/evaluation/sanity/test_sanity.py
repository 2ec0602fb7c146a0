"""The battery catches ten seeded faults and leaves five honest models in peace."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from harden.attacks import Attack, Pgd
from harden.evaluation.sanity import CHECKS, Facts, Subject, Verdict, battery

from .conftest import FAULTS, HONEST


def failed(subject: Subject) -> dict[int, str]:
    """The rows that failed, with figure and reason."""
    return {row.number: f"{row.figure}; {row.reason}" for row in battery(subject) if row.verdict is Verdict.failed}


@pytest.mark.slow
@pytest.mark.parametrize("how", HONEST)
def test_an_honest_model_fails_no_row(
    how: str, models: dict[str, nn.Module], subject_of: Callable[..., Subject]
) -> None:
    assert failed(subject_of(models[how], facts=Facts(selected_on="validation", overlap=0))) == {}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_seeded_fault_fails_its_row(fault: str, faulty: Callable[[str], Subject]) -> None:
    number = FAULTS[fault]
    found = CHECKS[number - 1][1](faulty(fault))
    assert found.number == number
    assert found.verdict is Verdict.failed, found.figure


def test_there_are_ten_faults_and_five_honest_models() -> None:
    assert len({fault.split(" too ")[0] for fault in FAULTS}) == 10
    assert len(HONEST) == 5


def test_rows_come_in_order_under_their_names(models: dict[str, nn.Module], subject_of: Callable[..., Subject]) -> None:
    subject = subject_of(models["clean"])
    rows = list(battery(subject))
    assert [(row.number, row.name) for row in rows] == [(i, name) for i, (name, _) in enumerate(CHECKS, start=1)]
    assert rows[-1].verdict is Verdict.not_applicable


def test_a_check_that_breaks_down_is_a_failed_row(subject_of: Callable[..., Subject]) -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no such layer\nmore")

    rows = list(battery(subject_of(Broken())))
    assert len(rows) == 15
    assert "the check broke down: no such layer" in {row.reason for row in rows}


def test_a_model_that_answers_at_random_is_noticed(
    models: dict[str, nn.Module], subject_of: Callable[..., Subject]
) -> None:
    net = models["clean"]

    class Noisy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = net(x + 0.05 * torch.randn(x.shape))
            return out

    with torch.random.fork_rng():
        assert 9 in set(failed(subject_of(Noisy())))


def test_a_forward_pass_that_optimises_is_noticed(
    models: dict[str, nn.Module], subject_of: Callable[..., Subject]
) -> None:
    net = models["clean"]

    class Purified(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.enable_grad():
                z = x.detach().requires_grad_(True)
                (step,) = torch.autograd.grad(net(z).logsumexp(1).sum(), z)
            out: torch.Tensor = net(x - 0.001 * step)
            return out

    row = CHECKS[5][1](subject_of(Purified()))
    assert row.verdict is Verdict.failed
    assert "1 calls of autograd" in row.figure


def test_an_attack_that_stops_short_has_not_converged(
    models: dict[str, nn.Module], subject_of: Callable[..., Subject]
) -> None:
    class Lazy(Attack):
        @property
        def label(self) -> str:
            return "lazy"

        def propose(self, model, x, y, threat, *, rng):  # type: ignore[no-untyped-def]
            return Pgd(steps=1, step=0.01, start=False).propose(model, x, y, threat, rng=rng)

    assert CHECKS[1][1](subject_of(models["pgd"], attack=Lazy())).verdict is Verdict.failed
