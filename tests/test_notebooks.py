"""The notebooks run from top to bottom, on a run made a moment ago, and lie in the repository without outputs."""

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="the notebook extra is not installed")

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
TINY = (
    *("+attack=pgd", "attack.steps=1", "schedule.epochs=2", "judge.images=20", "judge.steps=2", "judge.restarts=1"),
    *("compute.threads=1", "tracking.uri=none", "output=run"),
)
PROMISED = {"05": {"text/html", "text/markdown", "image/svg+xml"}}
"""What a notebook shows, by its number, where it is not the usual."""
PATIENCE = 240  # seconds a cell may take on a busy machine

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of two epochs."""
    home = tmp_path_factory.mktemp("home")
    subprocess.run([sys.executable, "-m", "harden.train", *TINY], cwd=home, check=True, capture_output=True)
    return home / "run"


def test_there_is_a_notebook() -> None:
    assert NOTEBOOKS


@pytest.mark.slow
@each
def test_every_cell_runs_and_shows_what_it_promises(
    path: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARDEN_RUN", str(run))
    monkeypatch.delenv("HARDEN_ROUNDS", raising=False)  # it then makes a small round of its own, elsewhere
    before = sorted(run.iterdir())
    shown = _executed(_read(path), tmp_path)
    assert PROMISED.get(path.stem[:2], {"text/markdown", "image/svg+xml", "image/png"}) <= shown
    assert list(tmp_path.iterdir()) == [], "a notebook leaves no files where it was started"
    assert sorted(run.iterdir()) == before


@each
def test_outputs_and_counts_are_stripped(path: Path) -> None:
    cells = [cell for cell in _read(path).cells if cell.cell_type == "code"]
    assert [cell.id for cell in cells if cell.outputs or cell.execution_count is not None] == []


@each
def test_nothing_of_the_writers_machine_is_kept(path: Path) -> None:
    notebook = _read(path)
    nbformat.validate(notebook)
    assert notebook.metadata.get("kernelspec", {"name": "python3"})["name"] == "python3"
    assert set(notebook.metadata.get("language_info", {})) <= {"name"}
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    assert [cell.id for cell in notebook.cells if cell.metadata] == []


@each
def test_a_notebook_imports_calls_and_plots_but_defines_nothing(path: Path) -> None:
    lines = [line.strip() for cell in _read(path).cells if cell.cell_type == "code" for line in cell.source.split("\n")]
    assert [line for line in lines if line.startswith(("def ", "class ", "async def ", "!", "%"))] == []


def _read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def _executed(notebook: Any, folder: Path) -> set[str]:
    """The kinds of output that all cells of `notebook` showed when run in `folder`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Jupyter's own: sockets and event loops
        from nbclient import NotebookClient

        place = {"metadata": {"path": str(folder)}}
        NotebookClient(notebook, timeout=PATIENCE, kernel_name="python3", resources=place).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return {kind for output in outputs for kind in output.get("data", {})}
