"""Kills a round at random moments, again and again, and compares the record in the end with that of an unbroken one.

    python tests/rounds/killing.py POINTS FOLDER [SEED]

Each trial starts `python -m harden.round` over a tiny round and sends SIGKILL after a time drawn uniformly from 0 to
what an unbroken round takes; the same command then goes on, until a round ends by itself, and another is begun. All
share one pair of keys and relative paths. Prints JSON: kills, rounds that ended, stages that were being done when it
was killed, and every record that differs in more than its circumstances.
"""

import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from harden.rounds.record import core

TINY = (
    *("round=2026Q1", "+attack=pgd", "attack.steps=2", "model=mlp", "model.hidden=[16]", "schedule.epochs=2"),
    *("schedule.validate_every=1", "watchdog.every=0", "suite=quick", "images=30", "minutes=600"),
)


def start(folder: Path) -> "subprocess.Popen[bytes]":
    """The round in `folder`, begun or gone on with."""
    words = [sys.executable, "-m", "harden.round", *TINY]
    return subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def record_in(folder: Path) -> dict[str, Any]:
    """What two runs of the same round must have in common."""
    return core(json.loads((folder / "rounds" / "2026Q1" / "record.json").read_bytes()))


def fresh(home: Path, number: int) -> Path:
    """A folder with the keys of the unbroken round and nothing else."""
    folder = home / f"broken-{number}"
    shutil.copytree(home / "unbroken" / "rounds" / "keys", folder / "rounds" / "keys")
    return folder


def ended(child: "subprocess.Popen[bytes]") -> None:
    """Waits for a round that was let live; AssertionError with what it said where it failed."""
    _, told = child.communicate(timeout=3600)
    assert child.returncode in (0, 3), told.decode()[-2000:]


def killed(child: "subprocess.Popen[bytes]", after: float) -> bool:
    """Whether SIGKILL after so many seconds found the process alive."""
    try:
        child.wait(timeout=after)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        return True
    return False


def doing(folder: Path) -> str:
    """The stage that a round was in when it was killed."""
    home = folder / "rounds" / "2026Q1"
    parts = [path.name for path in home.glob(".*.part")] + [path.name for path in home.glob(".record")]
    return parts[0] if parts else "between stages"


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The fields of two records that differ."""
    names = sorted({*one, *other})
    return [name for name in names if one.get(name) != other.get(name)]


def main() -> None:
    """Runs the trials."""
    points, home = int(sys.argv[1]), Path(sys.argv[2])
    rng = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    (home / "unbroken").mkdir(parents=True)
    began = time.monotonic()
    ended(start(home / "unbroken"))
    takes, wanted = time.monotonic() - began, record_in(home / "unbroken")
    told: dict[str, Any] = {"kills": 0, "ended": 0, "during": {}, "seconds unbroken": round(takes, 1), "wrong": []}
    folder, alive = fresh(home, 0), True
    while alive:
        alive = told["kills"] < points  # the last one is let live
        child = start(folder)
        if alive and killed(child, rng.uniform(0, takes)):
            told["kills"] += 1
            where = doing(folder)
            told["during"][where] = told["during"].get(where, 0) + 1
            sys.stderr.write(f"{told['kills']} killed in {where}\n")
            if not (folder / "rounds" / "2026Q1" / "record.json").exists():
                continue  # else it was killed after its last act
        else:
            ended(child)
        told["ended"] += 1
        if differ := differing(wanted, record_in(folder)):
            told["wrong"].append([told["ended"], differ])
        if alive:
            shutil.rmtree(folder)
            folder = fresh(home, told["ended"])
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
