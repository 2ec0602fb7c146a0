"""AutoAttack's standard set: harden's `suite=standard` against torchattacks' AutoAttack, in one process.

    python scripts/bench_evaluation.py --weights WEIGHTS --root FOLDER_WITH_MNIST --json bench.json

Both attack the same images of MNIST with the same weights at the same eps, in float32 on the CPU with the same
threads, and are judged by the same code: each round one after the other, every other round in the other order.
torchattacks' AutoAttack leaves APGD, APGD-T and FAB at its own default of 10 steps where AutoAttack's standard set
has 100: it is timed as shipped, and with the steps of the set (`same budget`), which is the comparison of like with
like. With `--agreement` each attack of the set is run by itself on every image that is right when clean, by both
sides, and their flags are compared sample by sample; beside them stands how far one side agrees with itself when
its random start is another.
"""

import argparse
import importlib.util
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

import harden.openmp  # noqa: F401  before torch: threads that spin long steal cores from either side
from harden.attacks import ApgdCe, ApgdT, Attack, FabT, Square
from harden.data import Mnist, load
from harden.environment import environment
from harden.errors import HardenError, MissingExtra
from harden.evaluation.campaign import Campaign
from harden.evaluation.inference import at_batch
from harden.evaluation.suite import Suite, suite_of
from harden.files import write_json
from harden.models import load as load_weights
from harden.seeds import stream
from harden.threat import Norm, ThreatModel

BATCH = 250


@dataclass(frozen=True)
class Measured:
    """What one side needed and left: `standing` of the images, the broken ones by position.

    `cpu`: seconds of all threads, which other jobs on the machine change less than they change `seconds`.
    """

    seconds: float
    cpu: float
    standing: int
    broken: tuple[int, ...]


@dataclass(frozen=True)
class Agreement:
    """One attack by itself on both sides: how many images each broke, and on how many the two agree.

    `chance`: on how many each side agrees with itself under another seed, the lower of the two.
    """

    attack: str
    images: int
    ours: int
    theirs: int
    equal: int
    chance: int


class Bench:
    """A model, its images and a threat, for either side to attack."""

    def __init__(self, weights: Path, root: str, images: int, eps: str) -> None:
        self.model, card = load_weights(weights)
        self.model.requires_grad_(False)
        self.split = load(Mnist(root=root)).test
        self.index = torch.arange(images)
        batch = self.split.batch(self.index)
        self.x, self.y = batch.x, batch.y
        self.threat = ThreatModel(norm=Norm.linf, eps=eps or str((card.threat or {}).get("eps", "0.3")))
        self.logits = at_batch(self.model, BATCH)
        self.right = self.logits(self.x).argmax(dim=1) == self.y

    def ours(self, suite: Suite, seed: int) -> Measured:
        """harden's campaign, judge and all."""
        began = _now()
        campaign = Campaign(
            self.model, self.split, self.index, suite, self.threat, rng=stream(seed, "bench"), batch_size=BATCH
        )
        for _ in campaign:
            pass
        spent = _since(began)
        if campaign.findings is None:
            raise HardenError("the campaign ended without findings")
        return self._measured(spent, campaign.findings.robust)

    def theirs(self, make: Callable[[nn.Module], Any]) -> Measured:
        """An attack of torchattacks on what is right when clean, then the same judge."""
        began = _now()
        x, y = self.x[self.right], self.y[self.right]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            x_adv = make(self.model)(x, y).detach()
        robust = self.right.clone()
        robust[self.right] = self.logits(self.threat.project(x_adv, x)).argmax(dim=1) == y
        return self._measured(_since(began), robust)

    def _measured(self, spent: tuple[float, float], robust: Tensor) -> Measured:
        return Measured(*spent, int(robust.sum()), tuple((self.right & ~robust).nonzero().squeeze(1).tolist()))


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _since(began: tuple[float, float]) -> tuple[float, float]:
    wall, cpu = _now()
    return wall - began[0], cpu - began[1]


OURS, SHIPPED, SAME = "harden", "torchattacks as shipped", "torchattacks, same budget"


def rounds(bench: Bench, count: int) -> Iterator[dict[str, Measured]]:
    """All sides, `count` times; each round begins with another one."""
    radius = bench.threat.radius
    for number in range(count):
        sides: list[tuple[str, Callable[[], Measured]]] = [
            (OURS, lambda seed=number: bench.ours(suite_of("standard", Norm.linf), seed)),  # type: ignore[misc]
            (SAME, lambda seed=number: bench.theirs(lambda model: _same_budget(model, radius, seed))),  # type: ignore[misc]
            (SHIPPED, lambda seed=number: bench.theirs(lambda model: _as_shipped(model, radius, seed))),  # type: ignore[misc]
        ]
        first = number % len(sides)
        yield {name: run() for name, run in [*sides[first:], *sides[:first]]}


def _as_shipped(model: nn.Module, radius: float, seed: int) -> Any:
    return _torchattacks().AutoAttack(model, norm="Linf", eps=radius, version="standard", seed=seed)


def _same_budget(model: nn.Module, radius: float, seed: int) -> Any:
    """Its four attacks with the steps of AutoAttack's standard set."""
    torchattacks = _torchattacks()
    attacks = [
        torchattacks.APGD(model, eps=radius, steps=100, seed=seed),
        torchattacks.APGDT(model, eps=radius, steps=100, seed=seed),
        torchattacks.FAB(model, eps=radius, steps=100, multi_targeted=True, seed=seed),
        torchattacks.Square(model, eps=radius, n_queries=5000, seed=seed),
    ]
    return torchattacks.MultiAttack(attacks)


def agreements(bench: Bench) -> Iterator[Agreement]:
    """Each attack of the set by itself, with its own defaults, on every image that is right when clean."""
    torchattacks, radius = _torchattacks(), bench.threat.radius
    pairs: list[tuple[Attack, Callable[[int, nn.Module], Any]]] = [
        (ApgdCe(), lambda seed, model: torchattacks.APGD(model, eps=radius, steps=100, seed=seed)),
        (ApgdT(), lambda seed, model: torchattacks.APGDT(model, eps=radius, steps=100, seed=seed)),
        (FabT(), lambda seed, model: torchattacks.FAB(model, eps=radius, steps=100, multi_targeted=True, seed=seed)),
        (Square(whole=False), lambda seed, model: torchattacks.Square(model, eps=radius, n_queries=5000, seed=seed)),
    ]
    images = int(bench.right.sum())
    for attack, make in pairs:
        ours = [set(bench.ours(Suite("one", {"one": attack}), seed).broken) for seed in (0, 1)]
        theirs = [set(bench.theirs(partial(make, seed)).broken) for seed in (0, 1)]
        chance = images - max(len(ours[0] ^ ours[1]), len(theirs[0] ^ theirs[1]))
        equal = images - len(ours[0] ^ theirs[0])
        yield Agreement(attack.label, images, len(ours[0]), len(theirs[0]), equal, chance)


def report(bench: Bench, done: Sequence[dict[str, Measured]], agreed: Sequence[Agreement]) -> dict[str, Any]:
    """Prints the tables; all figures as plain data."""
    n = len(bench.index)
    print(f"{n} images of MNIST, linf eps {bench.threat.eps}, {torch.get_num_threads()} threads, {len(done)} rounds\n")
    told: dict[str, Any] = {"environment": environment(), "images": n, "eps": bench.threat.eps}
    if done:
        print("| side | left standing | its time over harden's, median | min to max | CPU time, median | min to max |")
        print("|---|--:|--:|--:|--:|--:|")
        for name in done[0]:
            ratios = [one[name].seconds / one[OURS].seconds for one in done]
            left = ", ".join(f"{count / n:.1%}" for count in sorted({one[name].standing for one in done}))
            cpu = [one[name].cpu / one[OURS].cpu for one in done]
            spread = f"{min(ratios):.2f} to {max(ratios):.2f} | {median(cpu):.2f} | {min(cpu):.2f} to {max(cpu):.2f}"
            print(f"| {name} | {left} | {median(ratios):.2f} | {spread} |")
        print()
        told["rounds"] = [{name: asdict(one) for name, one in round_.items()} for round_ in done]
    if agreed:
        print("| attack | images | harden broke | torchattacks broke | equal flags | one side, two seeds |")
        print("|---|--:|--:|--:|--:|--:|")
        for one in agreed:
            equal, chance = one.equal / one.images, one.chance / one.images
            print(f"| {one.attack} | {one.images} | {one.ours} | {one.theirs} | {equal:.1%} | {chance:.1%} |")
        told["agreement"] = [asdict(one) for one in agreed]
    return told


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1 with one line where something is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--root", required=True, help="folder with MNIST's four files")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--eps", default="", help="default: the threat that the weights were trained against")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--agreement", action="store_true")
    parser.add_argument("--json", type=Path)
    wish = parser.parse_args(arguments)
    torch.set_num_threads(wish.threads)
    try:
        bench = Bench(wish.weights, wish.root, wish.images, wish.eps)
        told = report(bench, list(rounds(bench, wish.rounds)), list(agreements(bench)) if wish.agreement else [])
    except HardenError as error:
        print(f"bench_evaluation: {error.message}", file=sys.stderr)
        return 1
    if wish.json:
        write_json(wish.json, told)
    return 0


def _torchattacks() -> Any:
    if importlib.util.find_spec("torchattacks") is None:
        raise MissingExtra("torchattacks is not installed", "pip install --no-deps torchattacks")
    import torchattacks

    return torchattacks


if __name__ == "__main__":
    raise SystemExit(main())
