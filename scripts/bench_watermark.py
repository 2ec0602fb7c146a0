"""How fast marks are embedded and found, by the number of weights; and how much memory that takes.

    python scripts/bench_watermark.py                          1 and 25 million weights, in memory
    python scripts/bench_watermark.py 25e6 100e6 500e6 --map   the weights in a mapped file, memory is watched

One layer of Gaussian weights, half of them a convolution's. Medians of `--repeat` rounds; a first round warms up.
"""

import argparse
import os
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import harden.openmp  # noqa: F401  before torch
from harden.watermarking import Layer, Layout, Mark, WatermarkKey, imprint, plan, verify
from harden.watermarking.digest import digest_of

COLUMNS = 4608  # 512 channels of 3 x 3


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="*", type=float, default=[1e6, 25e6])
    parser.add_argument("--map", action="store_true", help="keep the weights in a file")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: as many as it likes")
    wish = parser.parse_args()
    if wish.threads:
        torch.set_num_threads(wish.threads)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    print(f"{'weights':>12} {'embed':>9} {'verify':>9} {'digest':>9} {'rounds':>6} {'memory / largest tensor':>24}")
    for count in wish.weights:
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
            print(row(int(count), Path(folder) if wish.map else None, 1 if wish.map else wish.repeat))


def row(count: int, folder: Path | None, repeat: int) -> str:
    """A line of the table."""
    weights = {name: drawn(shape, folder, name) for name, shape in shapes(count).items()}
    layout = Layout(tuple(Layer(name, tuple(one.shape), f"{name}:out", f"{name}:in") for name, one in weights.items()))
    found = plan(layout.count)
    largest = max(one.numel() * one.element_size() for one in weights.values())
    rounds, embeds, verifies, digests = 0, [], [], []
    with memory() as peak:
        for number in range(repeat + (folder is None)):
            mark = mark_of(layout, found.bits, found.leaves, number)
            seconds, done = timed(lambda mark=mark: imprint(weights, mark, found))  # type: ignore[misc]
            rounds = done.rounds  # type: ignore[attr-defined]
            embeds.append(seconds)
            seconds, verdict = timed(lambda mark=mark: verify(weights, mark))  # type: ignore[misc]
            verifies.append(seconds)
            if verdict.level != "court" or verdict.blind.errors:  # type: ignore[attr-defined]
                raise SystemExit("the mark was not found")
        digests.append(timed(lambda: digest_of(weights))[0])
    warm = slice(1, None) if len(embeds) > 1 else slice(None)
    times = [statistics.median(some[warm] if len(some) > 1 else some) for some in (embeds, verifies, digests)]
    told = " ".join(f"{seconds:8.2f}s" for seconds in times)
    return f"{layout.count:>12,} {told} {rounds:>6} {peak[0] / largest:>24.2f}"


def shapes(count: int) -> dict[str, tuple[int, ...]]:
    """Half of the weights in a convolution, half in a linear layer."""
    rows = max(16, count // 2 // COLUMNS)
    return {"0.weight": (rows, 512, 3, 3), "1.weight": (rows, COLUMNS)}


def drawn(shape: tuple[int, ...], folder: Path | None, name: str) -> Tensor:
    """Gaussian weights, in memory or in a mapped file."""
    size = int(np.prod(shape))
    if folder is None:
        return torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 0.02
    path = folder / name
    with path.open("wb") as file:
        file.truncate(4 * size)
    flat = torch.from_file(str(path), shared=True, size=size, dtype=torch.float32)
    rng = torch.Generator().manual_seed(0)
    for start in range(0, size, 1 << 22):
        part = flat[start : start + (1 << 22)]
        part.copy_(torch.randn(len(part), generator=rng) * 0.02)
    return flat.reshape(shape)


def mark_of(layout: Layout, bits: int, leaves: int, number: int) -> Mark:
    """A mark under a key of this number."""
    keys = WatermarkKey(number.to_bytes(32, "big")).under(b"bench", leaves)
    payload = np.random.default_rng(number).integers(0, 2, bits).astype(np.uint8)
    return Mark(layout, payload, dict(enumerate(keys.leaf)), keys.slots, leaves)


def timed(work: Callable[[], object]) -> tuple[float, object]:
    """Seconds of a clock, or of the processor where there is one thread (others may be busy too), and what came out."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    began = clock()
    out = work()
    return clock() - began, out


@contextmanager
def memory() -> Iterator[list[int]]:
    """Yields a list whose one number is the most anonymous memory, in bytes, that the block added."""
    before, peak, over = anonymous(), [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            peak[0] = max(peak[0], anonymous() - before)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


def anonymous() -> int:
    """Bytes of memory of this process that no file stands behind."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


if __name__ == "__main__":
    main()
