"""The validation stage: probes on images that were held out of training, from which the next plan is made.

The same probes run on training images, whose adversarial images may be trained on later. No test image is looked at.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from harden.attacks import ApgdCe, ApgdT, Attack, Loss, Pgd, Square
from harden.evaluation import Begin, wilson
from harden.evaluation.campaign import Campaign, Findings
from harden.evaluation.classes import by_class
from harden.evaluation.journal import Journal
from harden.evaluation.suite import named
from harden.files import write_bytes, write_json
from harden.models import Classifier, load
from harden.rounds.bench import ORDINARY, TRAIN, Bench
from harden.rounds.stage import Done
from harden.seeds import stream
from harden.training.held_out import held_out

VALIDATION, IMAGES = "validation.json", "x_adv.safetensors"
ON_TRAINING = 500
"""Training images that are probed for the replay bank."""

PROBES: dict[str, Attack] = {
    "apgd_ce": ApgdCe(steps=50),
    "pgd_margin": Pgd(steps=50, loss=Loss.margin),
    "apgd_t": ApgdT(steps=50, targets=3),
    "square": Square(queries=500),
}

WAY = {"apgd_ce": "ce", "pgd_margin": "margin", "apgd_t": "runner_up", "square": "margin"}
"""Which way of `harden.attacks.mixed` trains against what a probe found."""


def validate(bench: Bench, folder: Path) -> Done:
    """What breaks the model on validation images, by attack and class, and the images that did."""
    part = held_out(bench.data, bench.recipe.schedule.validation, bench.recipe.seed)
    train_ids, val_ids = part.kept, part.held
    model = bench.model(bench.plan.round)
    found = _probed(bench, folder, model, val_ids, "validation", cascade=False)
    told = _told(bench, found)
    before = _before(bench)
    if before is not None:
        told["before"] = asdict(_probed(bench, folder, before, val_ids, "before", cascade=True).worst_case)
    probed = _probed(bench, folder, model, train_ids[:ON_TRAINING], "training", cascade=True)
    told["training"] = {"images": len(probed.ids), "broken": int((probed.clean & ~probed.robust).sum())}
    write_bytes(folder / IMAGES, save(_images(found, "validation") | _images(probed, "training")))
    write_json(folder / VALIDATION, told)
    return Done(told)


def _before(bench: Bench) -> Classifier | None:
    """The model that stood before this one: the champion, in the first round the ordinary model."""
    if bench.champion is not None:
        return bench.model(bench.champion.quarter.name)
    ordinary = bench.home / TRAIN / ORDINARY
    return load(ordinary, custom=bench.custom)[0].to(bench.device) if ordinary.is_file() else None


def _probed(bench: Bench, folder: Path, model: Classifier, ids: Tensor, name: str, *, cascade: bool) -> Findings:
    bench.watch(Begin(name, f"probe {name} images", len(ids) * len(PROBES)))
    campaign = Campaign(
        model,
        bench.data.train.on(bench.device),
        ids.to(bench.device),
        named({f"{name}.{key}": attack for key, attack in PROBES.items()}),
        bench.threat,
        rng=stream(bench.recipe.seed, "probe", name),
        batch_size=bench.recipe.judge.batch_size,
        cascade=cascade,
        journal=Journal(folder / ".parts", f"{bench.plan.round} {name}"),
        stop=bench.stop,
    )
    for _ in campaign:
        bench.check()
    if campaign.findings is None:
        raise RuntimeError("the campaign ended without findings")
    return campaign.findings


def _told(bench: Bench, found: Findings) -> dict[str, Any]:
    broken = {one.key.partition(".")[2]: set(one.part.ids[one.part.broken].tolist()) for one in found.tried}
    attacked_as = torch.full((len(found.ids),), -1)
    rows = by_class(bench.data.classes, found.y, found.clean, found.robust, attacked_as)
    return {
        "images": len(found.ids),
        "clean": asdict(found.clean_accuracy),
        "worst": asdict(found.worst_case),
        "broken": {name: len(ids) for name, ids in broken.items()},
        "credit": _credit(broken),
        "attacks": {
            name: asdict(wilson(int(found.clean.sum()) - len(ids), len(found.ids))) for name, ids in broken.items()
        },
        "classes": [{"name": row.name, "n": row.n, "value": row.robust.value, "low": row.robust.low} for row in rows],
    }


def _credit(broken: dict[str, set[int]]) -> dict[str, float]:
    """The share of breaks that is due to each way: an image that several ways break counts for each in part."""
    ways: dict[str, set[int]] = {way: set() for way in WAY.values()}
    for name, ids in broken.items():
        ways[WAY[name]] |= ids
    every = set().union(*ways.values())
    share = {one: 1 / sum(one in ids for ids in ways.values()) for one in every}
    return {way: round(sum(share[one] for one in ids) / max(len(every), 1), 6) for way, ids in sorted(ways.items())}


def _images(found: Findings, part: str) -> dict[str, Tensor]:
    """Every image that broke the model, with its sample's id and label."""
    ids = torch.cat([one.part.ids[one.part.broken] for one in found.tried])
    labels = dict(zip(found.ids.tolist(), found.y.tolist(), strict=True))
    return {
        f"{part}.ids": ids,
        f"{part}.y": torch.tensor([labels[one] for one in ids.tolist()], dtype=torch.int64),
        f"{part}.x_adv": torch.cat([one.part.x_adv for one in found.tried]).contiguous(),
    }
