"""The whole task: an ordinary model, a hardened one, both measured on the same test images by the same attack."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harden.data import DataSet
from harden.errors import HardenError, Interrupted
from harden.evaluation import Begin, Judged, judge
from harden.models import Mlp, load
from harden.seeds import stream
from harden.training import Compute, EpochStats, Event, Job, Judging, Recipe, Training, results
from harden.training.folder import WEIGHTS

Make = Callable[..., Recipe]
CPU = Compute(device="cpu")


def job_of(recipe: Recipe, data: DataSet, *, baseline: bool = True) -> tuple[Job, list[object]]:
    job = Job(recipe, data, compute=CPU, baseline=baseline)
    return job, list(job.run())


def test_both_models_are_measured_on_the_same_images_by_the_judges_attack(dots: DataSet, recipe_of: Make) -> None:
    recipe = recipe_of(judge=Judging(steps=5, restarts=2, images=25, batch_size=10, validation_steps=3))
    job, _ = job_of(recipe, dots)
    for measured in (job.hardened, job.ordinary):
        assert measured is not None
        wanted = judge(
            measured.model, dots.test, torch.arange(25), recipe.judge.attack, recipe.threat, rng=stream(0, "judge")
        )
        assert measured.robust.n == 25
        assert torch.equal(measured.outcome.robust, wanted.robust)
        assert torch.equal(measured.outcome.clean, wanted.clean)


def test_the_hardened_model_is_the_one_that_training_alone_gives(dots: DataSet, recipe_of: Make) -> None:
    job, _ = job_of(recipe_of(), dots)
    training = Training(recipe_of(), dots)
    for _ in training:
        pass
    assert job.hardened is not None
    alone = dict(training.selected().state_dict())
    torch.testing.assert_close(dict(job.hardened.model.state_dict()), alone, rtol=0, atol=0)
    assert job.hardened.chosen == training.state.chosen


def test_parts_announce_their_work_and_do_that_much(dots: DataSet, recipe_of: Make) -> None:
    recipe = recipe_of(judge=Judging(steps=2, restarts=1, images=0, batch_size=15, validation_steps=1))
    _, news = job_of(recipe, dots)
    begins = [one for one in news if isinstance(one, Begin)]
    assert [(one.name, one.steps) for one in begins] == [
        ("ordinary", 18),
        ("judge-ordinary", 40),
        ("hardened", 18),
        ("judge-hardened", 40),
    ]
    assert [one.images for one in news if isinstance(one, Judged)] == [15, 15, 10] * 2
    assert sum(isinstance(one, EpochStats) for one in news) == 6


def test_without_a_baseline_there_is_no_ordinary_model(dots: DataSet, recipe_of: Make) -> None:
    job, news = job_of(recipe_of(), dots, baseline=False)
    assert job.ordinary is None
    assert [one.name for one in news if isinstance(one, Begin)] == ["hardened", "judge-hardened"]
    assert results.summary_of(job)["baseline_robust_accuracy"] is None


def test_a_recipe_without_an_attack_is_its_own_baseline(dots: DataSet, recipe_of: Make) -> None:
    job, news = job_of(recipe_of(attack=None), dots)
    assert job.hardened is job.ordinary
    assert [one.name for one in news if isinstance(one, Begin)] == ["ordinary", "judge-ordinary"]


def test_an_unfinished_job_has_no_summary(dots: DataSet, recipe_of: Make) -> None:
    with pytest.raises(ValueError, match="not been run to its end"):
        results.summary_of(Job(recipe_of(), dots, compute=CPU))


def test_a_job_stopped_between_parts_goes_on_where_it_was(dots: DataSet, recipe_of: Make, tmp_path: Path) -> None:
    unbroken, _ = job_of(recipe_of(), dots)
    for name in ("judge-ordinary", "hardened", "judge-hardened"):
        job = Job(recipe_of(), dots, compute=CPU)
        news = job.run(tmp_path)
        for one in news:
            if isinstance(one, Begin) and one.name == name:
                job.stop = lambda: True
                break
        with pytest.raises(Interrupted):
            list(news)
    job = Job(recipe_of(), dots, compute=CPU)
    events = [one.kind for one in job.run(tmp_path) if isinstance(one, Event)]
    assert events == ["resume", "resume"]
    for resumed, other in ((job.hardened, unbroken.hardened), (job.ordinary, unbroken.ordinary)):
        assert resumed is not None
        assert other is not None
        torch.testing.assert_close(dict(resumed.model.state_dict()), dict(other.model.state_dict()), rtol=0, atol=0)
        assert torch.equal(resumed.outcome.robust, other.outcome.robust)


def test_what_was_written_is_what_was_measured(dots: DataSet, recipe_of: Make, tmp_path: Path) -> None:
    job, _ = job_of(recipe_of(), dots)
    summary = results.write(job, tmp_path, run_id="7")
    found = results.finished(tmp_path)
    assert found.summary == summary
    assert job.hardened is not None
    assert found.accuracy("robust_accuracy") == job.hardened.robust
    again = judge(
        found.model,
        dots.test,
        torch.arange(40),
        job.recipe.judge.attack,
        found.threat,
        rng=stream(job.recipe.seed, "judge"),
    )
    assert torch.equal(again.robust, job.hardened.outcome.robust)
    assert found.card.classes == dots.classes
    assert summary["data"]["sha256"] == dots.digest
    assert summary["recipe_sha256"] == job.recipe.digest


def test_hardening_can_start_from_weights_and_then_these_are_the_baseline(
    dots: DataSet, recipe_of: Make, tmp_path: Path
) -> None:
    first, _ = job_of(recipe_of(attack=None), dots)
    results.write(first, tmp_path, run_id="1")
    init = str(tmp_path / WEIGHTS)
    job, news = job_of(recipe_of(init=init, model=None), dots)
    assert [one.name for one in news if isinstance(one, Begin)][:1] == ["judge-given"]
    assert job.ordinary is not None
    assert first.ordinary is not None
    assert torch.equal(job.ordinary.outcome.robust, first.ordinary.outcome.robust)
    fresh, given = Training(recipe_of(init=init), dots), load(tmp_path / WEIGHTS)[0]
    torch.testing.assert_close(dict(fresh.selected().state_dict()), dict(given.state_dict()), rtol=0, atol=0)


def test_weights_that_do_not_fit_are_refused_before_anything_begins(
    dots: DataSet, recipe_of: Make, tmp_path: Path
) -> None:
    first, _ = job_of(recipe_of(attack=None), dots)
    results.write(first, tmp_path, run_id="1")
    with pytest.raises(HardenError):
        Job(replace(recipe_of(init=str(tmp_path / WEIGHTS)), model=Mlp(hidden=[5])), dots, compute=CPU)


def test_a_folder_without_a_run_has_no_result(tmp_path: Path) -> None:
    with pytest.raises(HardenError, match="there is no finished run here"):
        results.finished(tmp_path)
