"""The CUDA engine without a GPU: in numba's simulator, in a process of its own, and compiled to PTX and cubins."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harden.kernels import blocks

pytest.importorskip("numba.cuda", reason="numba's CUDA target is not installed")

HERE = Path(__file__).parent
CAPABILITIES = ((8, 0), (9, 0), (10, 0))
EXACT = ("step_linf", "project_linf", "apgd_linf", "start_linf", "uniform", "paste")
"""Kernels whose bits must be those of every other engine: no product of theirs may be fused with a sum."""

SIGNATURES = [name for name in vars(blocks) if not name.startswith("_")]
KERNELS = [name for name in SIGNATURES if getattr(blocks, name).__class__.__name__ == "function"]


@pytest.fixture(scope="module")
def ptx() -> object:
    """The module, where libNVVM can be had."""
    module = pytest.importorskip("harden.kernels.ptx")
    try:
        module.ptx("step_linf", (8, 0))
    except Exception as error:  # what a missing libNVVM raises differs from one numba-cuda to the next
        pytest.skip(f"PTX cannot be compiled here ({error}); the extra harden[cuda] brings what it takes")
    return module


@pytest.mark.slow
def test_the_kernels_agree_with_the_reference_in_the_simulator() -> None:
    files = [str(HERE / f"test_{name}.py") for name in ("ascents", "agreement", "patches", "uniform")]
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "--no-header", *files]
    done = subprocess.run(
        command, env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) > 100


def test_every_kernel_has_a_signature(ptx: object) -> None:
    mine = {name for name in KERNELS if getattr(blocks, name).__module__ == blocks.__name__}
    assert mine == set(ptx.SIGNATURES)  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.parametrize("capability", CAPABILITIES, ids=lambda cc: f"sm_{cc[0]}{cc[1]}")
def test_every_kernel_compiles_to_ptx(ptx: object, capability: tuple[int, int]) -> None:
    for name in ptx.SIGNATURES:  # type: ignore[attr-defined]
        text = ptx.ptx(name, capability)  # type: ignore[attr-defined]
        assert f".target sm_{capability[0]}{capability[1]}" in text
        assert ".entry" in text
        if name in EXACT:
            assert "fma." not in text, name
        if name not in (
            "step_l1",
            "project_l1",
            "step_l2",
            "project_l2",
            "onto_plane",
            "paste",
            "uniform",
            "start_linf",
        ):
            assert ".f64" not in text, f"{name} computes in float64 without need"


@pytest.mark.parametrize(("name", "loads"), [("step_linf", 3), ("project_linf", 2)])
def test_each_element_is_loaded_once_from_each_tensor_and_stored_once(ptx: object, name: str, loads: int) -> None:
    assert ptx.traffic(ptx.ptx(name, (9, 0))) == (loads, 1)  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.parametrize("capability", CAPABILITIES, ids=lambda cc: f"sm_{cc[0]}{cc[1]}")
def test_kernels_link_to_machine_code(ptx: object, capability: tuple[int, int]) -> None:
    pytest.importorskip("cuda.core", reason="cuda-core is not installed")
    for name in ("step_linf", "step_l1", "targeted_dlr"):
        assert ptx.cubin(name, capability)[:4] == b"\x7fELF"  # type: ignore[attr-defined]
