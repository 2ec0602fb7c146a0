"""A round that is killed at any moment and started again ends with the record of one that was let live."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

POINTS = int(os.environ.get("HARDEN_KILLS", "3"))
"""How often rounds are killed; 50 take about half an hour of two cores."""


def test_a_killed_round_ends_with_the_record_of_an_unbroken_one(tmp_path: Path) -> None:
    script = Path(__file__).with_name("killing.py")
    words = [sys.executable, str(script), str(POINTS), str(tmp_path / "rounds"), "7"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=7200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert told["kills"] == POINTS
    assert told["ended"] >= 1
    assert told["wrong"] == []
