"""The battery catches ten seeded faults and leaves five honest models in peace."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from harden.attacks import Attack, Pgd
from harden.data import DataSet, Split
from harden.evaluation.sanity import CHECKS, Facts, Subject, Verdict, battery

from .conftest import FAULTS, HONEST, Outside


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


class IgnoresEps(Attack):
    """PGD within an eps of its own, whatever it is given."""

    @property
    def label(self) -> str:
        return "deaf"

    def propose(self, model, x, y, threat, *, rng):  # type: ignore[no-untyped-def]
        return Pgd(steps=5).propose(model, x, y, replace(threat, eps="0.1"), rng=rng)


class GivesUp(Attack):
    """Hands the last point of a walk back in the place of the one that broke the model."""

    @property
    def label(self) -> str:
        return "forgetful"

    def propose(self, model, x, y, threat, *, rng):  # type: ignore[no-untyped-def]
        for _ in range(3):
            model(Pgd(steps=10).propose(model, x, y, threat, rng=rng))
        return x


class StopsEarly(Attack):
    """A climb cut off while it was still rising."""

    @property
    def label(self) -> str:
        return "hasty"

    def propose(self, model, x, y, threat, *, rng):  # type: ignore[no-untyped-def]
        return Pgd(steps=4, step=0.05).propose(model, x, y, threat, rng=rng)


def told(number: int, subject: Subject) -> tuple[Verdict, str]:
    row = CHECKS[number - 1][1](subject)
    return row.verdict, row.figure


def test_an_attack_that_moves_at_eps_0_fails_the_first_row(
    models: dict[str, nn.Module], subject_of: Callable[..., Subject]
) -> None:
    verdict, figure = told(1, subject_of(models["pgd"], attack=IgnoresEps()))
    assert verdict is Verdict.failed
    assert "120 of 120 moved" in figure


def test_a_success_that_is_not_handed_back_is_noticed(
    models: dict[str, nn.Module], subject_of: Callable[..., Subject]
) -> None:
    verdict, figure = told(14, subject_of(models["clean"], attack=GivesUp()))
    assert verdict is Verdict.failed
    assert "0 silent successes" not in figure


def test_a_climb_that_was_cut_off_is_noticed(models: dict[str, nn.Module], subject_of: Callable[..., Subject]) -> None:
    verdict, figure = told(14, subject_of(models["pgd"], attack=StopsEarly()))
    assert verdict is Verdict.failed, figure
    assert told(14, subject_of(models["pgd"]))[0] is Verdict.passed


def test_a_loss_that_jumps_near_images_is_noticed(
    models: dict[str, nn.Module], subject_of: Callable[..., Subject]
) -> None:
    net = models["pgd"]

    class Jumpy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            sign = torch.where((x.flatten(1).sum(1) * 1000).remainder(2) < 1, 1.0, 0.2)
            out: torch.Tensor = net(x) * sign[:, None]
            return out

    verdict, figure = told(14, subject_of(Jumpy()))
    assert verdict is Verdict.failed
    assert "the loss moves 0" not in figure


def test_images_of_another_model_that_break_more_fail_the_order(
    models: dict[str, nn.Module], subject_of: Callable[..., Subject]
) -> None:
    for ahead, verdict in ((0.4, Verdict.passed), (3.0, Verdict.failed)):
        found, figure = told(5, subject_of(models["pgd"], facts=Facts(transfer=("other", ahead))))
        assert found is verdict, figure
        assert f"images made on other break {ahead} points more" in figure


def test_validation_images_that_fare_otherwise_fail_the_selection(
    digits: DataSet, models: dict[str, nn.Module], subject_of: Callable[..., Subject]
) -> None:
    honest = digits.train.take(torch.arange(120))
    wrong = Split(honest.x, (honest.y + 1) % 10)
    for split, verdict in ((honest, Verdict.passed), (wrong, Verdict.failed)):
        facts = Facts(selected_on="validation", overlap=0, validation=split)
        assert told(15, subject_of(models["pgd"], facts=facts))[0] is verdict


def test_the_mean_of_a_model_that_answers_at_random_passes_where_one_answer_does_not(
    models: dict[str, nn.Module], subject_of: Callable[..., Subject]
) -> None:
    def noisy(size: float) -> nn.Module:
        return Outside(models["clean"], before=lambda x: x + size * torch.randn(x.shape))

    verdict, figure = told(9, subject_of(noisy(0.05), eot=40))
    assert verdict is Verdict.passed, figure
    assert "each the mean of 40 passes" in figure
    assert told(7, subject_of(noisy(0.05), eot=4))[0] is Verdict.passed
    verdict, figure = told(9, subject_of(noisy(1.0), eot=2))
    assert verdict is Verdict.failed, figure
