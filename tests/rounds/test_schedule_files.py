"""What a user installs to have rounds run: cron, systemd and the shell understand it, and it does what it says."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "scripts" / "schedule"
SCRIPT = FOLDER / "harden-round.sh"
FIELD = re.compile(r"(\*|\d+(-\d+)?)(/\d+)?(,\d+)*")


def test_the_shell_understands_the_script() -> None:
    assert os.access(SCRIPT, os.X_OK)
    assert subprocess.run(["sh", "-n", str(SCRIPT)], check=False).returncode == 0


def test_each_line_of_the_crontab_is_one() -> None:
    lines = [line for line in (FOLDER / "harden-round.cron").read_text().splitlines() if line and line[0] != "#"]
    jobs = [line for line in lines if not re.fullmatch(r"[A-Z_]+=.*", line)]
    assert len(jobs) == 1
    minute, hour, day, month, weekday, command = jobs[0].split(maxsplit=5)
    assert all(FIELD.fullmatch(field) for field in (minute, hour, day, month, weekday))
    assert (int(minute) < 60, int(hour) < 24, int(weekday) < 8) == (True, True, True)
    assert command.endswith(SCRIPT.name)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    for name in ("harden-round.service", "harden-round.timer"):
        text = (FOLDER / name).read_text().replace("%h/model/harden-round.sh", "/bin/true")
        (tmp_path / name).write_text(text)
    units = [str(tmp_path / name) for name in ("harden-round.service", "harden-round.timer")]
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert "harden-round" not in done.stderr, done.stderr
    when = re.search(r"^OnCalendar=(.+)$", (FOLDER / "harden-round.timer").read_text(), re.MULTILINE)
    assert when is not None
    assert subprocess.run(["systemd-analyze", "calendar", when[1]], capture_output=True, check=False).returncode == 0


def stand_in(folder: Path, said: str, code: int) -> Path:
    """A program in harden's place: notes how it is called, says what is due, and succeeds at rounds."""
    path = folder / "harden"
    path.write_text(
        f'#!/bin/sh\necho "$@" >> "{folder}/calls"\n'
        f'case "$2" in action=due) printf "%s\\n" "{said}"; exit {code};; esac\nexit 3\n'
    )
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("said", "code", "calls", "left"),
    [
        ("done: 2026Q4 is done", 0, ["round action=due"], 0),
        (
            "due: 2026Q4 is due\nnext      python -m harden.round round=2026Q4 +attack=pgd home=rounds",
            3,
            ["round action=due", "round round=2026Q4 +attack=pgd"],
            3,
        ),
        (
            "overdue: 2026Q3 was due\nnext      python -m harden.round round=2026Q3 +attack=pgd home=rounds",
            5,
            ["round action=due", "round round=2026Q3 +attack=pgd"],
            3,
        ),
        ("a record was changed", 4, ["round action=due"], 1),
    ],
)
def test_the_script_runs_what_is_due_and_nothing_else(
    tmp_path: Path, said: str, code: int, calls: list[str], left: int
) -> None:
    program = stand_in(tmp_path, said, code)
    environment = {**os.environ, "HARDEN_ROUNDS": str(tmp_path), "HARDEN": str(program)}
    done = subprocess.run(["sh", str(SCRIPT)], env=environment, capture_output=True, check=False)
    assert (tmp_path / "calls").read_text().splitlines() == calls
    assert done.returncode == left


def test_without_a_folder_it_says_what_is_missing() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "HARDEN_ROUNDS"}
    done = subprocess.run(["sh", str(SCRIPT)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "names the folder that holds rounds/" in done.stderr
