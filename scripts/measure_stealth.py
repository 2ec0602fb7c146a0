"""How visible marks are: many small digits networks, half of them marked, and detectors trained to tell them apart.

    python scripts/measure_stealth.py [--networks 80] [--epochs 4] [--hidden 64] [--alpha 0.05 0.1 0.2]

Prints, for each loudness, q = N alpha^4 / 4, the law's bound, and the area under the curve of each detector in 10-fold
cross-validation with its standard error. Marked and unmarked networks are different ones, as in the wild.
"""

import argparse
import time

from torch import Tensor

from harden.data import DataSet, Digits, load
from harden.models import CnnSmall
from harden.seeds import stream
from harden.training import Clean, Recipe, Schedule, Training
from harden.watermarking import Layout, Level, Plan, Profile, embedded, layout_of
from harden.watermarking.edits.strangers import stranger
from harden.watermarking.stealth import visibility
from harden.watermarking.stealth.detector import detect
from harden.watermarking.stealth.law import quiet_alpha


def main() -> None:
    """Trains, marks, detects, prints."""
    asked = _parser().parse_args()
    began, data = time.monotonic(), load(Digits())
    nets = [trained(seed, data, asked) for seed in range(asked.networks)]
    layout = layout_of(nets[0])
    half = asked.networks // 2
    print(f"{asked.networks} networks, {layout.count} eligible weights, {time.monotonic() - began:.0f} s of training")
    for alpha in [0.0, quiet_alpha(layout.count), *asked.alpha]:
        marked = [loud(net, layout, alpha, number) for number, net in enumerate(nets[half:])]
        names = [layer.name for layer in layout.layers]
        found = detect(nets[:half], marked, names, rng=stream(0, "stealth"))
        seen = visibility(alpha, layout.count)
        told = ", ".join(f"{one.detector} {one.auc:.2f} +- {one.error:.2f}" for one in found)
        print(f"alpha {alpha:.3f}: q {seen.q:.3f}, law {seen.auc_bound:.2f}; {told}", flush=True)


def trained(seed: int, data: DataSet, asked: argparse.Namespace) -> dict[str, Tensor]:
    """The weights of one network, from its own seed."""
    model = CnnSmall(channels=asked.channels, hidden=asked.hidden)
    schedule = Schedule(epochs=asked.epochs, validation=10, validate_every=1e6, ema=0.9)
    training = Training(Recipe(data=Digits(), model=model, objective=Clean(), schedule=schedule, seed=seed), data)
    for _ in training:
        pass
    return {name: tensor.detach().clone() for name, tensor in training.selected().state_dict().items()}


def loud(weights: dict[str, Tensor], layout: Layout, alpha: float, number: int) -> dict[str, Tensor]:
    """The weights with a mark of this loudness, a step of alpha for every weight; 0: as they are."""
    if alpha == 0:
        return weights
    plan = Plan(Profile.stealth, Level.match, 16, 0.0, alpha, 0.0, 1, layout.count)
    return embedded(weights, stranger(layout, plan, rng=stream(number, "stealth")), plan)[0]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=80)
    parser.add_argument("--epochs", type=float, default=4)
    parser.add_argument("--channels", type=int, nargs=2, default=[8, 16])
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--alpha", type=float, nargs="*", default=[0.05, 0.1, 0.2])
    return parser


if __name__ == "__main__":
    main()
