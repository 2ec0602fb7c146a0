"""Which engine computes, what happens without numba, and what is refused."""

import logging
import math
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from harden import kernels
from harden.errors import MissingExtra
from harden.kernels import dispatch

NUMBERS = {"eps": 0.1, "low": 0.0, "high": 1.0}


@pytest.fixture
def without_numba(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    dispatch._numba.cache_clear()
    monkeypatch.delattr(kernels, "cpu", raising=False)
    monkeypatch.setitem(sys.modules, "harden.kernels.cpu", None)
    yield
    dispatch._numba.cache_clear()


def project(x: torch.Tensor) -> torch.Tensor:
    return kernels.project_linf(x, x, out=torch.empty_like(x), **NUMBERS)


def test_contiguous_float32_goes_to_numba_and_the_rest_to_torch() -> None:
    x = torch.rand(4, 6)
    assert kernels.engine_for(x) == "numba"
    assert kernels.engine_for(x, x.t()) == "torch"
    assert kernels.engine_for(x.double()) == "torch"
    assert kernels.engine_for(x.to("meta")) == "torch"


def test_an_engine_is_forced_inside_the_block_only_even_when_that_fails() -> None:
    x = torch.rand(4, 6)
    with kernels.using("torch"):
        assert kernels.engine_for(x) == "torch"
        with pytest.raises(ValueError), kernels.using("numba"):
            project(x.double())
        assert kernels.engine_for(x) == "torch"
    assert kernels.engine_for(x) == "numba"


def test_a_forced_engine_refuses_what_it_cannot_take() -> None:
    with (
        kernels.using("numba"),
        pytest.raises(ValueError, match=r"contiguous .* got float64 \(2, 3\) on cpu"),
    ):
        project(torch.rand(2, 3).double())


def test_an_unknown_engine_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="one of torch, numba, cuda, got 'abacus'"), kernels.using("abacus"):
        pass


@pytest.mark.usefixtures("without_numba")
def test_without_numba_torch_computes_after_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    x = torch.rand(2, 3)
    with caplog.at_level(logging.WARNING):
        torch.testing.assert_close(project(x), x)
        torch.testing.assert_close(project(x), x)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "numba cannot be imported" in caplog.text


@pytest.mark.usefixtures("without_numba")
def test_an_absent_engine_that_is_preferred_is_told_of_once_and_torch_computes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    dispatch._warn_missing.cache_clear()
    x = torch.rand(2, 3)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with kernels.preferring(kernels.Wanted.cuda):
                assert kernels.engine_for(x) == "torch"
                torch.testing.assert_close(project(x), x)
    assert [record.message for record in caplog.records if "kernels=cuda is not to be had" in record.message] != []
    assert len(caplog.records) == 1


def test_a_preferred_engine_computes_what_it_can_take_and_the_choice_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    dispatch._tell.cache_clear()
    x = torch.rand(2, 3)
    with caplog.at_level(logging.INFO), kernels.preferring(kernels.Wanted.torch):
        project(x)
        project(x)
        assert kernels.engine_for(x) == "torch"
    with kernels.preferring(kernels.Wanted.auto):
        assert kernels.engine_for(x) == "numba"
    with kernels.preferring(kernels.Wanted.numba):
        assert kernels.engine_for(x) == "numba"
        assert kernels.engine_for(x.double()) == "torch"
    assert [record.message for record in caplog.records] == ["kernels: torch computes perturbations on cpu"]


@pytest.mark.usefixtures("without_numba")
def test_forcing_an_absent_engine_is_refused() -> None:
    with pytest.raises(MissingExtra, match="'numba' cannot be imported"), kernels.using("numba"):
        pass


def test_the_kernels_import_without_numba_and_do_not_list_it() -> None:
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "from harden import kernels; from harden.kernels import reference\n"
        "assert kernels.available() == ('torch',), kernels.available()\n"
        "assert 'harden.kernels.cpu' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_torch_keeps_its_thread_count_when_numba_starts() -> None:
    code = """
import torch
torch.set_num_threads(1)
from harden import kernels
out = torch.empty(4, 5)
kernels.uniform(1, torch.arange(4), low=0, high=1, out=out)
assert kernels.engine_for(out) == "numba"
print(torch.get_num_threads())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1"]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"eps": -0.1}, "eps must be >= 0, got -0.1"),
        ({"eps": math.nan}, "eps must be finite in float32, got nan"),
        ({"eps": 1e39}, r"eps must be finite in float32, got 1e\+39"),
        ({"low": 2.0}, "low must be <= high, got 2.0 and 1.0"),
    ],
)
def test_numbers_out_of_range_are_refused(numbers: dict[str, float], message: str) -> None:
    x = torch.rand(2, 3)
    with pytest.raises(ValueError, match=message):
        kernels.project_l2(x, x, out=x, **(NUMBERS | numbers))


def test_tensors_that_do_not_fit_are_refused_with_both_descriptions() -> None:
    x = torch.rand(2, 3)
    with pytest.raises(ValueError, match=r"gradient is float32 \(2, 4\) on cpu, out is float32 \(2, 3\) on cpu"):
        kernels.step_linf(x, torch.rand(2, 4), x, step=0.1, out=x, **NUMBERS)
    with pytest.raises(ValueError, match=r"x is float64 \(2, 3\) on cpu, out is float32"):
        kernels.project_l1(x, x.double(), out=x, **NUMBERS)
    with pytest.raises(ValueError, match=r"out must be .* got int64 \(2, 3\)"):
        project(torch.zeros(2, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"got float32 \(2, 0\)"):
        project(torch.zeros(2, 0))


@pytest.mark.parametrize("share", [0.0, 1.5, math.nan])
def test_a_share_outside_its_range_is_refused(share: float) -> None:
    x = torch.rand(2, 3)
    with pytest.raises(ValueError, match=r"share must be in \(0, 1\]"):
        kernels.step_l1(x, x, x, step=0.1, share=share, out=x, **NUMBERS)


def test_keys_draws_and_ids_that_do_not_fit_are_refused() -> None:
    rows, out = torch.arange(2), torch.empty(2, 3)
    with pytest.raises(ValueError, match=r"key must be in 0..2\*\*64 - 1, got -1"):
        kernels.uniform(-1, rows, low=0, high=1, out=out)
    with pytest.raises(ValueError, match=r"draw must be in 0..2\*\*32 - 1, got 4294967296"):
        kernels.uniform(1, rows, low=0, high=1, draw=2**32, out=out)
    with pytest.raises(ValueError, match="one int64 id a sample"):
        kernels.uniform(1, rows.float(), low=0, high=1, out=out)
    with pytest.raises(ValueError, match="out must be float32"):
        kernels.uniform(1, rows, low=0, high=1, out=out.double())


@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_several_threads_may_compute_at_once(layer: str) -> None:
    """numba's workqueue layer, its last resort, would end the process."""
    code = """
import torch, numba
from multiprocessing.pool import ThreadPool
from harden import kernels

def draw(key):
    out = torch.empty(50, 300)
    for _ in range(300):
        kernels.uniform(key, torch.arange(50), low=0, high=1, out=out)
    return out

with ThreadPool(2, torch.set_num_threads, (1,)) as pool:
    assert torch.equal(*pool.map(draw, [7, 7]))
print(numba.threading_layer())
"""
    environment = os.environ | {"NUMBA_THREADING_LAYER": layer}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    if layer == "omp" and "threading layer could be loaded" in done.stderr:
        pytest.skip("no OpenMP here")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [layer]
