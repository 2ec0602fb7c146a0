"""How the cost of PGD grows with batch, image, network and steps: seconds and memory, fitted by powers.

    python scripts/bench_growth.py --json growth.json --picture growth.svg

One quantity grows at a time, the others stay at their base. A row's time is the median of its rounds, its memory what
the process holds at most beyond what it held before, each row in a process of its own. The exponent is the slope of a
line through logarithms: 1 means that twice as much costs twice as much.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from harden.attacks import Keep, Pgd
from harden.environment import environment
from harden.files import write_json
from harden.models import Cnn, build
from harden.seeds import stream
from harden.threat import ThreatModel

BASE = {"batch": 64, "side": 28, "width": 16, "steps": 8}
GROWTH = {
    "batch": (16, 32, 64, 128, 256),
    "side": (16, 28, 40, 56),
    "width": (8, 16, 32, 64),
    "steps": (2, 4, 8, 16, 32),
}
UNITS = {"batch": "images", "side": "pixels", "width": "weights", "steps": "steps"}


def cost(setting: dict[str, int], rounds: int) -> dict[str, float]:
    """Seconds of one attack, weights of the network and pixels of the batch, in this process."""
    side, width = setting["side"], setting["width"]
    choice = Cnn([width, 2 * width], 100)
    model = build(choice, shape=(1, side, side), classes=10, mean=(0.1,), std=(0.3,), rng=stream(0)).eval()
    rng = torch.Generator().manual_seed(0)
    x, y = torch.rand(setting["batch"], 1, side, side, generator=rng), torch.zeros(setting["batch"], dtype=torch.int64)
    ids = torch.arange(len(x))
    Pgd(steps=1, keep=Keep.last)(model, x[:2], y[:2], ThreatModel(), rng=stream(0).at(ids[:2]))  # compiles
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    laps = []
    for _ in range(rounds):
        began = time.perf_counter()
        Pgd(steps=setting["steps"], keep=Keep.last)(model, x, y, ThreatModel(), rng=stream(0).at(ids))
        laps.append(time.perf_counter() - began)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "seconds": median(laps),
        "low": min(laps),
        "high": max(laps),
        "mib": grown / 1024,
        "weights": sum(p.numel() for p in model.parameters()),
        "pixels": side * side,
    }


def apart(setting: dict[str, int], rounds: int) -> dict[str, float]:
    """`cost` in a process of its own."""
    command = [sys.executable, __file__, "--one", json.dumps(setting), "--rounds", str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told: dict[str, float] = json.loads(done.stdout)
    return told


def amount(name: str, setting: dict[str, int], row: dict[str, float]) -> float:
    """What grew: images, pixels, weights or steps."""
    return row["pixels"] if name == "side" else row["weights"] if name == "width" else float(setting[name])


def slope(amounts: Sequence[float], costs: Sequence[float]) -> float:
    """The exponent of the power that fits best, by least squares on logarithms; NaN where a cost is 0."""
    if min(costs) <= 0:
        return math.nan
    xs, ys = [math.log(one) for one in amounts], [math.log(one) for one in costs]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / sum((a - x) ** 2 for a in xs)


def measured(rounds: int) -> dict[str, Any]:
    """All figures as plain data."""
    found: dict[str, Any] = {"facts": environment() | {"base": json.dumps(BASE)}, "growth": {}}
    for name, values in GROWTH.items():
        rows = []
        for value in values:
            setting = BASE | {name: value}
            row = apart(setting, rounds)
            rows.append(row | {"amount": amount(name, setting, row)})
            print(f"{name} {value}: {row['seconds']:.4f} s, {row['mib']:.0f} MiB", file=sys.stderr)
        amounts = [row["amount"] for row in rows]
        exponents = {cost: slope(amounts, [row[cost] for row in rows]) for cost in ("seconds", "mib")}
        found["growth"][name] = {"rows": rows, "exponents": exponents}
    return found


def markdown(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = ["| what grows | from | to | time as the power | memory as the power | ms from, to | MiB from, to |"]
    lines.append("|---|--:|--:|--:|--:|--:|--:|")
    for name, one in found["growth"].items():
        first, last = one["rows"][0], one["rows"][-1]
        times, memory = one["exponents"]["seconds"], one["exponents"]["mib"]
        lines.append(
            f"| {UNITS[name]} | {first['amount']:.0f} | {last['amount']:.0f} | {times:.2f} | {memory:.2f} "
            f"| {1000 * first['seconds']:.1f}, {1000 * last['seconds']:.1f} | {first['mib']:.0f}, {last['mib']:.0f} |"
        )
    facts = "\n".join(f"- {name}: {fact}" for name, fact in found["facts"].items())
    return "\n".join(lines) + f"\n\n{facts}"


def draw(found: dict[str, Any], path: Path) -> None:
    """Time and memory against what grows, on logarithmic axes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, len(found["growth"]), figsize=(11, 5), squeeze=False)
    for column, (name, one) in enumerate(found["growth"].items()):
        amounts = [row["amount"] for row in one["rows"]]
        for place, key, scale, unit in ((0, "seconds", 1000, "ms"), (1, "mib", 1, "MiB")):
            plot = axes[place][column]
            plot.loglog(amounts, [scale * row[key] for row in one["rows"]], "o-")
            plot.set_xlabel(UNITS[name])
            plot.set_title(f"{unit}: power {one['exponents'][key]:.2f}", fontsize=9)
    figure.tight_layout()
    figure.savefig(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--picture", type=Path, help="draw them into this file")
    options = parser.parse_args(arguments)
    if options.one:
        print(json.dumps(cost(options.one, options.rounds)))
        return
    found = measured(options.rounds)
    if options.json:
        write_json(options.json, found)
    if options.picture:
        draw(found, options.picture)
    print(markdown(found))


if __name__ == "__main__":
    main()
