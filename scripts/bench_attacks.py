"""PGD's whole loop: harden against torchattacks, Foolbox, ART as shipped and tuned, and the network's passes alone.

    python scripts/bench_attacks.py --weights FILE --root FOLDER_WITH_MNIST --json attacks.json --picture attacks.svg

Same network, images, start, step length and number of steps, one process, float32. The rounds are interleaved and
each begins with another row, so that a change in the machine's load meets all rows alike. *Passes alone* runs the
network forward and back to its input as often as the attack does, weights frozen, and does nothing else: what a perfect
loop around these passes would take.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported; spinning threads steal cores
os.environ.setdefault("TQDM_DISABLE", "1")

import argparse
import logging
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from contextvars import copy_context
from importlib import metadata, util
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harden.attacks import Keep, Pgd
from harden.attacks.base import frozen
from harden.attacks.replay import Replay, replaying
from harden.attacks.shares import shared, shares_for
from harden.attacks.swift import swift
from harden.data import Mnist, load
from harden.environment import environment
from harden.errors import HardenError
from harden.files import write_json
from harden.models import CHOICES, build
from harden.models import load as load_model
from harden.seeds import stream
from harden.threat import ThreatModel

OURS, SHARED, PASSES = "harden", "harden, shared among threads", "passes alone"
FOLDED, GRAPH, PASSES_GRAPH = "harden, folded layers", "harden, one graph", "passes alone, one graph"
GOALS = {"torchattacks": 1.1, "Foolbox": 1.5, "ART as shipped": 3.5, PASSES: 0.9}
"""How many times as fast harden must be on 2 CPU cores; of the passes alone, which share of their speed."""

HEAD = (
    "| row | images/s, median | min to max | harden is so many times as fast, paired median | min to max | goal "
    "| accuracy left |\n|---|--:|--:|--:|--:|--:|--:|\n"
)

Row = Callable[[], Tensor]


class Bench:
    """A network, images, and the rows that attack them."""

    def __init__(self, model: nn.Module, x: Tensor, y: Tensor, *, eps: float, step: float, steps: int) -> None:
        self.model, self.x, self.y = model.eval(), x, y
        self.eps, self.step, self.steps = eps, step, steps
        self.threat = ThreatModel(eps=repr(eps))
        self.attack = Pgd(steps=steps, step=step / eps, keep=Keep.last)

    def rows(self) -> dict[str, Row]:
        """Each row makes adversarial images; those whose library is missing are left out."""
        rows: dict[str, Row] = {OURS: self.ours, PASSES: self.passes}
        if self.x.is_cuda:
            rows |= {GRAPH: self._replayed(self.ours), PASSES_GRAPH: self._captured_passes()}
        else:
            rows |= {FOLDED: self.ours_folded, SHARED: self.ours_shared}
        builders = {"torchattacks": self._torchattacks, "foolbox": self._foolbox, "art": self._art}
        for package, builder in builders.items():
            if util.find_spec(package) is not None:
                rows |= builder()
            else:
                print(f"bench_attacks: {package} is not installed: left out", file=sys.stderr)
        return rows

    def ours(self) -> Tensor:
        """The attack as training and a script call it."""
        ids = torch.arange(len(self.x), device=self.x.device)
        return self.attack(self.model, self.x, self.y, self.threat, rng=stream(0).at(ids))

    def ours_folded(self) -> Tensor:
        """The attack on one thread's model whose layers take the faster ways of `harden.attacks.swift`."""
        with swift(self.model):
            return self.ours()

    def _replayed(self, row: Row) -> Row:
        found = ExitStack()
        found.enter_context(replaying())
        row()  # seen once; captured the next time
        context = copy_context()
        return lambda: context.run(row)

    def _captured_passes(self) -> Row:
        with frozen(self.model):
            replay = Replay(lambda x, _start, _y: self._passed(x), self.x, self.x, self.y)
        return lambda: replay(self.x, self.x, self.y)

    def ours_shared(self) -> Tensor:
        """The attack as an evaluation runs it on a CPU: a thread with a model of its own for each core."""
        rng = stream(0).at(torch.arange(len(self.x), device=self.x.device))

        def work(model: Any, few: slice) -> Tensor:
            return self.attack.propose(model, self.x[few], self.y[few], self.threat, rng=rng.take(few))

        shares = shares_for(self.attack, self.model, len(self.x), self.x.device)
        with frozen(self.model):
            return shared(work, self.model, len(self.x), shares).x_adv

    def passes(self) -> Tensor:
        """Forward, loss, gradient of the input, as often as the attack; the points stay where they are."""
        with frozen(self.model):
            return self._passed(self.x)

    def _passed(self, given: Tensor) -> Tensor:
        for _ in range(self.steps):
            x = given.detach().requires_grad_(True)
            torch.autograd.grad(F.cross_entropy(self.model(x), self.y, reduction="sum"), x)
        return given

    def _torchattacks(self) -> dict[str, Row]:
        import torchattacks

        attack = torchattacks.PGD(self.model, eps=self.eps, alpha=self.step, steps=self.steps)
        return {"torchattacks": lambda: attack(self.x, self.y)}

    def _foolbox(self) -> dict[str, Row]:
        import foolbox

        model = foolbox.PyTorchModel(self.model, bounds=(0, 1), device=self.x.device)
        attack = foolbox.attacks.LinfPGD(abs_stepsize=self.step, steps=self.steps)
        return {"Foolbox": lambda: attack(model, self.x, self.y, epsilons=self.eps)[1]}

    def _art(self) -> dict[str, Row]:
        from art.attacks.evasion import ProjectedGradientDescent
        from art.estimators.classification import PyTorchClassifier

        x, y = self.x.cpu().numpy(), self.y.cpu().numpy()
        shape, classes = tuple(x.shape[1:]), self.model(self.x[:1]).shape[1]
        common = {"loss": nn.CrossEntropyLoss(), "input_shape": shape, "nb_classes": classes, "clip_values": (0.0, 1.0)}
        common |= {"device_type": "gpu" if self.x.is_cuda else "cpu"}
        knobs = {"eps": self.eps, "eps_step": self.step, "max_iter": self.steps, "verbose": False}
        shipped = ProjectedGradientDescent(PyTorchClassifier(self.model, **common), num_random_init=1, **knobs)
        plain = PyTorchClassifier(self.model, **common, preprocessing=None)
        tuned = ProjectedGradientDescent(plain, num_random_init=1, batch_size=len(x), **knobs)
        return {
            "ART as shipped": lambda: torch.from_numpy(shipped.generate(x, y)),
            "ART tuned": lambda: torch.from_numpy(tuned.generate(x, y)),
        }


def race(bench: Bench, *, rounds: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Images a second of each row and round; the accuracy that each row's images leave, which must be alike."""
    rows, left = bench.rows(), {}
    for name, row in rows.items():  # warms up, and proves that a row attacks
        found = row().to(bench.x.device)
        worst = float((found - bench.x).abs().max())
        if worst > bench.eps + 1e-6:
            raise HardenError(f"{name}: left the ball: {worst:g}, eps {bench.eps:g}")
        with torch.no_grad():
            left[name] = float((bench.model(found).argmax(1) == bench.y).float().mean())
    speeds: dict[str, list[float]] = {name: [] for name in rows}
    for one in range(rounds):
        names = list(rows)
        for name in names[one % len(names) :] + names[: one % len(names)]:
            _wait(bench.x.device)
            began = time.perf_counter()
            rows[name]()
            _wait(bench.x.device)
            speeds[name].append(len(bench.x) / (time.perf_counter() - began))
        told = ", ".join(f"{name} {laps[-1]:.0f}" for name, laps in speeds.items())
        print(f"round {one + 1}/{rounds}: {told}", file=sys.stderr)
    return speeds, left


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """All figures as plain data."""
    device = torch.device(options.device)
    model, x, y, network = subject(options)
    bench = Bench(
        model.to(device),
        x.to(device),
        y.to(device),
        eps=options.eps,
        step=options.step,
        steps=options.steps,
    )
    speeds, left = race(bench, rounds=options.rounds)
    versions = {name: metadata.version(name) for name in ("torchattacks", "foolbox") if util.find_spec(name)}
    facts = environment() | versions | {"ART": metadata.version("adversarial-robustness-toolbox")}
    facts |= {"network": network, "threads": str(torch.get_num_threads()), "device": str(device)}
    facts |= {
        "attack": f"PGD-{options.steps}, linf eps {options.eps:g}, step {options.step:g}, {options.images} images"
    }
    return {"facts": facts, "speeds": speeds, "left": left, "rounds": options.rounds}


def subject(options: argparse.Namespace) -> tuple[nn.Module, Tensor, Tensor, str]:
    """The network, images, labels, and what they are: MNIST and a weights file, or a fresh network on noise."""
    if options.weights:
        model, card = load_model(options.weights)
        batch = load(Mnist(root=options.root, download=False)).test.batch(torch.arange(options.images))
        return model, batch.x, batch.y, f"{card.model}, {options.weights.name}, MNIST"
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(options.images, 3, 32, 32, generator=rng)
    model = build(
        CHOICES[options.network](), shape=(3, 32, 32), classes=10, mean=(0.5,) * 3, std=(0.25,) * 3, rng=stream(0)
    ).eval()
    with torch.no_grad():
        y = torch.cat([model(few).argmax(1) for few in torch.split(x, 64)])
    return model, x, y, f"{options.network} of random weights, noise of 3 x 32 x 32"


def ratios(found: dict[str, Any], name: str) -> list[float]:
    """How many times as fast harden was as `name`, round by round."""
    return [ours / theirs for ours, theirs in zip(found["speeds"][OURS], found["speeds"][name], strict=True)]


def markdown(found: dict[str, Any]) -> str:
    """The figures as a Markdown table, and what they rest on."""
    lines = []
    for name, laps in found["speeds"].items():
        paired, goal = ratios(found, name), GOALS.get(name, "")
        lines.append(
            f"| {name} | {median(laps):.0f} | {min(laps):.0f} to {max(laps):.0f} | {median(paired):.2f} "
            f"| {min(paired):.2f} to {max(paired):.2f} | {goal} | {found['left'][name]:.1%} |"
        )
    facts = "\n".join(f"- {name}: {fact}" for name, fact in found["facts"].items())
    return f"{HEAD}{chr(10).join(lines)}\n\n{facts}"


def draw(found: dict[str, Any], path: Path) -> None:
    """Bars of images a second with their spread."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    names = list(found["speeds"])
    middle = [median(found["speeds"][name]) for name in names]
    spread = [
        [m - min(found["speeds"][name]) for m, name in zip(middle, names, strict=True)],
        [max(found["speeds"][name]) - m for m, name in zip(middle, names, strict=True)],
    ]
    figure, axes = plt.subplots(figsize=(6, 3))
    axes.barh(names[::-1], middle[::-1], xerr=[one[::-1] for one in spread], color="#28c")
    axes.set_xlabel("images a second")
    figure.tight_layout()
    figure.savefig(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints; leaves with a message where that cannot be done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--weights", type=Path, help="a weights file for MNIST; without it a fresh network on noise")
    parser.add_argument("--network", default="preact_resnet18", choices=sorted(CHOICES), help="the fresh network")
    parser.add_argument("--root", help="folder with MNIST's files; without it the cache")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--eps", type=float, default=0.3)
    parser.add_argument("--step", type=float, default=0.01)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--picture", type=Path, help="draw them into this file")
    options = parser.parse_args(arguments)
    logging.getLogger("art").setLevel(logging.ERROR)
    try:
        found = measured(options)
        if options.json:
            write_json(options.json, found)
    except HardenError as error:
        raise SystemExit(f"bench_attacks: {error.message}; {error.hint}".rstrip("; ")) from error
    if options.picture:
        draw(found, options.picture)
    print(markdown(found))


if __name__ == "__main__":
    main()
