"""The facts a run stood on, checked against git and the standard library."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from harden.environment import commit, environment


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A tracked file in a repository of one commit."""
    file = tmp_path / "code.py"
    file.write_text("a = 1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "-q", "-m", "first")
    return file


def test_the_commit_is_the_head_and_is_dirty_after_a_change(code: Path) -> None:
    head = git(code.parent, "rev-parse", "HEAD")
    (code.parent / "untracked.txt").write_text("")
    assert commit(code) == head
    code.write_text("a = 2\n")
    assert commit(code) == f"{head}-dirty"


def test_a_file_that_git_does_not_track_has_no_commit(code: Path) -> None:
    installed = code.parent / "site-packages.py"
    installed.write_text("")
    assert commit(installed) is None


def test_a_folder_outside_git_and_a_machine_without_git_have_no_commit(
    code: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert commit(tmp_path_factory.mktemp("plain") / "code.py") is None
    monkeypatch.setenv("PATH", "")
    assert commit(code) is None


def test_git_variables_of_a_hook_do_not_mislead(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = git(code.parent, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert commit(code) == head


def test_facts_are_text_and_versions_are_those_installed() -> None:
    facts = environment()
    assert all(isinstance(fact, str) and fact for fact in facts.values())
    assert facts["numpy"] == metadata.version("numpy")
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert 1 <= int(facts["cores"]) <= (os.cpu_count() or 1)
    assert facts["memory"].endswith(" GiB")


def test_asking_imports_nothing_heavy() -> None:
    code = (
        "import sys; from harden.environment import environment; facts = environment()\n"
        "assert not {'torch', 'numpy', 'mlflow', 'numba'} & set(sys.modules)\n"
        "assert 'gpu' not in facts"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
