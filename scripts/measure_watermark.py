"""What a mark costs and what it survives, on networks that harden trained: no key file, fresh keys each time.

    python scripts/measure_watermark.py runs/a/weights.safetensors runs/b/weights.safetensors --attacked 1000

For each file: clean accuracy on so many test images and robust accuracy (PGD-20) on so many, before and after, with
McNemar's exact p; then edits of the weights, with bit errors, Z and log10 p blind, and Z against the sidecar.
"""

import argparse
import copy
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import harden.openmp  # noqa: F401  before torch
from harden.attacks import Pgd
from harden.evaluation import judge
from harden.evaluation.paired import paired
from harden.loading import Opened, opened
from harden.seeds import stream
from harden.training.results import threat_of
from harden.watermarking import Layout, Mark, Plan, Profile, WatermarkKey, embedded, layout_of, plan, verify
from harden.watermarking.sidecar import sidecar_of

Edit = Callable[[Tensor], Tensor]


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="+", type=Path)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--attacked", type=int, default=1000)
    parser.add_argument("--profile", default="standard", choices=[one.value for one in Profile])
    wish = parser.parse_args()
    for path in wish.weights:
        subject = opened(path, device="cpu", batch_size=250)
        base = {name: value.detach().clone() for name, value in subject.model.state_dict().items()}
        layout = layout_of(base)
        found = plan(layout.count, profile=Profile(wish.profile))
        mark = fresh(layout, found)
        marked, done = embedded(base, mark, found)
        print(f"{path}: {found.bits} bits in {layout.count} weights, alpha {done.alpha:.4f}, rounds {done.rounds}")
        cost(subject, base, marked, wish.images, wish.attacked)
        sidecar = sidecar_of(base, layout)
        for name, other in edited(marked, layout, found).items():
            verdict = verify(other, mark, sidecar=sidecar)
            first, second = verdict.readings
            told = f"{first.errors:>4} of {first.bits} wrong  Z {first.z:8.1f}  log10 p {first.log10_p:9.1f}"
            print(f"  {name:<14} {told}  residual Z {second.z:8.1f}", flush=True)
        verdict = verify(base, mark, sidecar=sidecar)
        print(f"  {'unmarked':<14} Z {verdict.blind.z:.2f}, level {verdict.level}", flush=True)


def fresh(layout: Layout, found: Plan) -> Mark:
    """A mark under a key that nobody keeps."""
    keys = WatermarkKey(os.urandom(32)).under(os.urandom(32), found.leaves)
    payload = np.unpackbits(np.frombuffer(os.urandom(32), dtype=np.uint8))[: found.bits]
    return Mark(layout, payload, dict(enumerate(keys.leaf)), keys.slots, found.leaves)


def cost(subject: Opened, base: Mapping[str, Tensor], marked: Mapping[str, Tensor], images: int, attacked: int) -> None:
    """Prints accuracy before and after."""
    for name, count, attack in (("clean", images, Pgd(steps=1)), ("robust", attacked, Pgd(steps=20))):
        ids = torch.arange(min(count, len(subject.test)))
        right = []
        for weights in (base, marked):
            model = copy.deepcopy(subject.model)
            model.load_state_dict(weights)
            rng = stream(0, "measure")
            outcome = judge(model.eval(), subject.test, ids, attack, threat_of(subject.card), rng=rng)
            right.append(outcome.clean if name == "clean" else outcome.robust)
        one = paired(*right)
        before, after = (100 * float(some.float().mean()) for some in right)
        print(f"  {name:<7} {before:.2f} -> {after:.2f} on {one.n} images, McNemar p {one.p:.3g}", flush=True)


def edited(marked: Mapping[str, Tensor], layout: Layout, found: Plan) -> dict[str, dict[str, Tensor]]:
    """The marked weights after each edit."""
    rng = torch.Generator().manual_seed(0)

    def each(edit: Edit) -> dict[str, Tensor]:
        return {**marked, **{layer.name: edit(marked[layer.name]) for layer in layout.layers}}

    table = {"marked": dict(marked), "fp16": each(lambda w: w.half()), "bf16": each(lambda w: w.bfloat16())}
    for bits in (8, 4):
        table[f"int{bits}"] = each(partial(rounded, top=2 ** (bits - 1) - 1))
    for share in (0.5, 0.8, 0.9, 0.95, 0.99):
        table[f"prune {share:g}"] = each(partial(pruned, share=share))
    for size in (0.1, 0.3, 1.0):
        table[f"noise {size:g}"] = each(partial(noisy, size=size, rng=rng))
    other = dict(marked)
    for _ in range(10):
        other, _ = embedded(other, fresh(layout, found), found)
    return table | {"10 overwrites": other}


def rounded(weight: Tensor, top: int) -> Tensor:
    """Symmetric rounding to -top..top, a scale a row."""
    scale = weight.abs().amax(dim=tuple(range(1, weight.dim())), keepdim=True) / top
    return (weight / scale).round() * scale


def noisy(weight: Tensor, size: float, rng: torch.Generator) -> Tensor:
    """The layer with noise of so many of its standard deviations."""
    return weight + size * weight.std() * torch.randn(weight.shape, generator=rng)


def pruned(weight: Tensor, share: float) -> Tensor:
    """The smallest weights of the layer set to zero."""
    edge = weight.abs().flatten().kthvalue(max(1, int(share * weight.numel()))).values
    return torch.where(weight.abs() <= edge, 0, weight)


if __name__ == "__main__":
    main()
