"""Milliseconds of each kernel: every engine at hand against textbook torch, and its share of the memory's bandwidth.

    python scripts/bench_kernels.py --json kernels.json --picture kernels.svg

The rows of an operation are interleaved in one process; figures are medians. *Textbook* is what attack libraries do:
torch operations that make a tensor each, the l1 projection by sorting. On a CUDA device the engine `cuda` joins in and
times are the device's own.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported; spinning threads steal cores

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from harden import kernels
from harden.environment import environment
from harden.files import write_json

SHAPES = ((128, 3072), (64, 150_528), (256, 784))
SHARE = 0.004  # the l1 radius for each pixel: a quarter of how far the points are
LIMITS = {"low": 0.0, "high": 1.0}
GOALS = {("step_linf", (128, 3072)): 8, ("step_linf", (64, 150_528)): 15, ("step_l2", (128, 3072)): 8}
GOALS |= {("project_l1", (128, 3072)): 40}
"""How many times as fast as textbook torch numba must be on 2 CPU cores."""

PASSES = {"step_linf": 4, "step_l2": 4, "project_l1": 3, "apgd_linf": 5, "start_linf": 2, "keep_best": 4}
"""Times a tensor's size that must go over the memory bus at least, reads and writes together."""

HEAD = (
    "| operation | samples x pixels | engine | ms, median | min to max | times textbook | goal | GB/s |\n"
    "|---|---|---|--:|--:|--:|--:|--:|\n"
)

Row = Callable[[], object]


def rows_of(name: str, shape: tuple[int, int], device: torch.device) -> dict[str, Row]:
    """What is timed for an operation: textbook torch and every engine, each on tensors of its own."""
    textbook = TEXTBOOK[name]
    given = tensors(shape, device)
    rows: dict[str, Row] = {"textbook torch": lambda: textbook(**given)}
    for engine in kernels.available():
        if engine == ("numba" if device.type == "cuda" else "cuda"):
            continue
        rows[engine] = _through(engine, name, tensors(shape, device))
    return rows


def _through(engine: str, name: str, given: dict[str, Tensor]) -> Row:
    call = CALLS[name]

    def row() -> None:
        with kernels.using(engine):
            call(**given)

    return row


def tensors(shape: tuple[int, int], device: torch.device) -> dict[str, Tensor]:
    """Tensors for any of the operations."""
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(shape, generator=rng)
    one = {
        "x_adv": (x + 0.06 * (torch.rand(shape, generator=rng) - 0.5)).clamp(0, 1),
        "before": x.clone(),
        "gradient": torch.randn(shape, generator=rng),
        "x": x,
        "out": torch.empty(shape),
        "size": torch.full(shape[:1], 0.01),
        "rows": torch.arange(shape[0]),
    }
    return {name: value.to(device) for name, value in one.items()}


# -- textbook torch -----------------------------------------------------------------------------------------


def _linf(x_adv: Tensor, gradient: Tensor, x: Tensor, **_: Tensor) -> Tensor:
    moved = x_adv + 0.01 * gradient.sign()
    delta = torch.clamp(moved - x, min=-0.03, max=0.03)
    return torch.clamp(x + delta, min=0, max=1)


def _l2(x_adv: Tensor, gradient: Tensor, x: Tensor, **_: Tensor) -> Tensor:
    norm = gradient.flatten(1).norm(dim=1).clamp_min(1e-12)
    delta = x_adv + 0.1 * gradient / norm[:, None] - x
    factor = torch.minimum(0.5 / delta.norm(dim=1).clamp_min(1e-12), torch.ones(len(x), device=x.device))
    return torch.clamp(x + delta * factor[:, None], min=0, max=1)


def _l1(x_adv: Tensor, x: Tensor, **_: Tensor) -> Tensor:
    """Croce and Hein's projection onto l1 ball and box, which sorts both kinds of kink (their published code)."""
    u, radius = x_adv - x, SHARE * x.shape[1]
    size = u.abs()
    room = torch.where(u > 0, 1 - x, x)
    kinks, order = torch.sort(torch.cat([size, size - room], dim=1).clamp_min(0), dim=1)
    count = torch.where(order < u.shape[1], -1.0, 1.0)
    slope = count.flip(1).cumsum(1).flip(1)
    gaps = torch.diff(kinks, dim=1, prepend=torch.zeros_like(kinks[:, :1]))
    sums = torch.minimum(size, room).sum(1, keepdim=True) + (slope * gaps).cumsum(1)
    at = (sums > radius).sum(1, keepdim=True).clamp_max(kinks.shape[1] - 1)
    lam = kinks.gather(1, at) - (radius - sums.gather(1, at)) / slope.gather(1, at).abs().clamp_min(1)
    kept = torch.minimum((size - lam.clamp_min(0)).clamp_min(0), room)
    return x + u.sign() * kept


def _apgd(x_adv: Tensor, before: Tensor, gradient: Tensor, x: Tensor, size: Tensor, **_: Tensor) -> Tensor:
    z = x_adv + size[:, None] * gradient.sign()
    z = torch.clamp(torch.min(torch.max(z, x - 0.03), x + 0.03), 0.0, 1.0)
    z = x_adv + (z - x_adv) * 0.75 + (x_adv - before) * 0.25
    return torch.clamp(torch.min(torch.max(z, x - 0.03), x + 0.03), 0.0, 1.0)


def _start(x: Tensor, **_: Tensor) -> Tensor:
    return torch.clamp(x + torch.empty_like(x).uniform_(-0.03, 0.03), 0, 1)


TEXTBOOK: dict[str, Callable[..., object]] = {
    "step_linf": _linf,
    "step_l2": _l2,
    "project_l1": _l1,
    "apgd_linf": _apgd,
    "start_linf": _start,
}


# -- the same through the kernels ---------------------------------------------------------------------------


def _ours_linf(x_adv: Tensor, gradient: Tensor, x: Tensor, out: Tensor, **_: Tensor) -> None:
    kernels.step_linf(x_adv, gradient, x, step=0.01, eps=0.03, out=out, **LIMITS)


def _ours_l2(x_adv: Tensor, gradient: Tensor, x: Tensor, out: Tensor, **_: Tensor) -> None:
    kernels.step_l2(x_adv, gradient, x, step=0.1, eps=0.5, out=out, **LIMITS)


def _ours_l1(x_adv: Tensor, x: Tensor, out: Tensor, **_: Tensor) -> None:
    kernels.project_l1(x_adv, x, eps=SHARE * x.shape[1], out=out, **LIMITS)


def _ours_apgd(
    x_adv: Tensor, before: Tensor, gradient: Tensor, x: Tensor, size: Tensor, out: Tensor, **_: Tensor
) -> None:
    kernels.apgd_linf(x_adv, before, gradient, x, size=size, share=0.75, eps=0.03, out=out, **LIMITS)


def _ours_start(x: Tensor, rows: Tensor, out: Tensor, **_: Tensor) -> None:
    kernels.start_linf(1, rows, x, eps=0.03, low=LIMITS["low"], high=LIMITS["high"], out=out)


CALLS: dict[str, Callable[..., None]] = {
    "step_linf": _ours_linf,
    "step_l2": _ours_l2,
    "project_l1": _ours_l1,
    "apgd_linf": _ours_apgd,
    "start_linf": _ours_start,
}


# -- measuring ----------------------------------------------------------------------------------------------


def race(rows: dict[str, Row], *, rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Milliseconds of a call, one figure a round: the mean of as many calls as fill some 20 ms."""
    times: dict[str, list[float]] = {name: [] for name in rows}
    calls = {}
    for name, row in rows.items():
        row()  # compiles
        calls[name] = max(1, min(200, int(20 / max(_timed(row, 1, device), 1e-3))))
    for one in range(rounds):
        names = list(rows)
        for name in names[one % len(names) :] + names[: one % len(names)]:
            times[name].append(_timed(rows[name], calls[name], device))
    return times


def _timed(row: Row, calls: int, device: torch.device) -> float:
    if device.type == "cuda":
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
        for _ in range(calls):
            row()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / calls
    began = time.perf_counter()
    for _ in range(calls):
        row()
    return 1000 * (time.perf_counter() - began) / calls


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """All figures as plain data."""
    device = torch.device(options.device)
    found = []
    for name in TEXTBOOK:
        for shape in SHAPES:
            times = race(rows_of(name, shape, device), rounds=options.rounds, device=device)
            plain = median(times["textbook torch"])
            for engine, laps in times.items():
                moved = PASSES[name] * 4 * shape[0] * shape[1] / (median(laps) * 1e6)
                found.append(
                    {
                        "operation": name,
                        "shape": shape,
                        "engine": engine,
                        "ms": laps,
                        "times": plain / median(laps),
                        "goal": GOALS.get((name, shape)) if engine in ("numba", "cuda") else None,
                        "gb_s": moved,
                    }
                )
            print(f"{name} {shape}: {', '.join(f'{k} {median(v):.3f}' for k, v in times.items())} ms", file=sys.stderr)
    facts = environment() | {"device": str(device), "threads": str(torch.get_num_threads())}
    return {"facts": facts, "rows": found, "copy_gb_s": copy_bandwidth(device)}


def copy_bandwidth(device: torch.device) -> float:
    """GB/s of a plain copy of 256 MiB, reads and writes together: what a kernel's figure is a share of."""
    a = torch.empty(64 * 2**20, device=device)
    b = torch.empty_like(a).copy_(a)
    laps = [_timed(lambda: b.copy_(a), 3, device) for _ in range(7)]
    return 2 * a.nbytes / (median(laps) * 1e6)


def markdown(found: dict[str, Any]) -> str:
    """The figures as a Markdown table, and what they rest on."""
    lines = []
    for row in found["rows"]:
        n, d = row["shape"]
        goal = f"{row['goal']}" if row["goal"] else ""
        spread = f"{min(row['ms']):.3f} to {max(row['ms']):.3f}"
        lines.append(
            f"| {row['operation']} | {n} x {d} | {row['engine']} | {median(row['ms']):.3f} | {spread} | "
            f"{row['times']:.1f} | {goal} | {row['gb_s']:.1f} |"
        )
    facts = "\n".join(f"- {name}: {fact}" for name, fact in found["facts"].items())
    return f"{HEAD}{chr(10).join(lines)}\n\nA plain copy: {found['copy_gb_s']:.1f} GB/s.\n\n{facts}"


def draw(found: dict[str, Any], path: Path) -> None:
    """Bars: how many times as fast as textbook torch, by operation and shape."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = [row for row in found["rows"] if row["engine"] != "textbook torch"]
    labels = [f"{row['operation']}\n{row['shape'][0]} x {row['shape'][1]}\n{row['engine']}" for row in rows]
    figure, axes = plt.subplots(figsize=(max(6, 0.55 * len(rows)), 4))
    axes.bar(
        range(len(rows)), [row["times"] for row in rows], color=["#888" if "torch" in x else "#28c" for x in labels]
    )
    axes.set_yscale("log")
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks(range(len(rows)), labels, fontsize=5, rotation=90)
    axes.set_ylabel("times as fast as textbook torch")
    figure.tight_layout()
    figure.savefig(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--picture", type=Path, help="draw the ratios into this file")
    options = parser.parse_args(arguments)
    found = measured(options)
    if options.json:
        write_json(options.json, found)
    if options.picture:
        draw(found, options.picture)
    print(markdown(found))


if __name__ == "__main__":
    main()
