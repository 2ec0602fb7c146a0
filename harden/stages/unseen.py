"""Threats that the model was not hardened against: other norms, rotations and shifts, common corruptions."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from harden.attacks import ApgdCe
from harden.evaluation import Begin, Judged
from harden.evaluation.unseen import CORRUPTIONS, SEVERITIES, Spatial, corrupt, spatial
from harden.seeds import Stream
from harden.stages.curve import CHECKER
from harden.stages.desk import Desk, News
from harden.threat import Norm, ThreatModel


def unseen_threats(desk: Desk) -> News:
    """Other norms, rotations and shifts, fifteen corruptions in five severities."""
    rows = []
    for threat in other_norms(desk.threat, desk.split.x[0].numel()):
        name = f"unseen.{threat.norm.value}"
        yield from desk.standing(name, {"apgd_ce": ApgdCe(steps=50), "apgd_t": CHECKER}, threat, desk.findings.ids)
        desk.columns[name] = desk.columns[name] == 1
        rows.append({"name": threat.norm.value, "label": f"{threat.label} (APGD-CE, APGD-T)", "kind": "norm"})
    yield from _turned(desk, Spatial())
    rows.append({"name": "spatial", "label": Spatial().label, "kind": "spatial"})
    yield from _corrupted(desk)
    rows += [{"name": name, "label": name.replace("_", " "), "kind": "corruption"} for name in CORRUPTIONS]
    yield {"unseen": rows}


def other_norms(threat: ThreatModel, pixels: int) -> list[ThreatModel]:
    """The two other norms, at radii that go with the threat's: 8/255 on CIFAR-10 goes with l2 0.43 and l1 12."""
    per_pixel = {
        Norm.linf: threat.radius,
        Norm.l2: 4 * threat.radius / pixels**0.5,
        Norm.l1: 8 * threat.radius / pixels,
    }[threat.norm]
    radii = {
        Norm.linf: min(per_pixel, threat.high - threat.low),
        Norm.l2: per_pixel * pixels**0.5 / 4,
        Norm.l1: per_pixel * pixels / 8,
    }
    return [replace(threat, norm=norm, eps=f"{radii[norm]:.3g}") for norm in Norm if norm is not threat.norm]


def _turned(desk: Desk, grid: Spatial) -> News:
    yield Begin("spatial", grid.label, len(desk.index))
    flags = []
    for number, _, x, y in desk.batches(desk.index):
        kept = desk.journal.kept(
            "spatial",
            number,
            lambda x=x, y=y: {"robust": spatial(desk.logits, x, y, grid)[0].cpu()},  # type: ignore[misc]
        )
        flags.append(kept["robust"])
        yield Judged(len(y))
    desk.columns["unseen.spatial"] = torch.cat(flags)


def _corrupted(desk: Desk) -> News:
    yield Begin("corruptions", "common corruptions", len(desk.index))
    shares: dict[str, list[Tensor]] = {name: [] for name in CORRUPTIONS}
    for number, ids, x, y in desk.batches(desk.index):
        rng = desk.rng.child("corruption").at(ids)
        kept = desk.journal.kept(
            "corruptions",
            number,
            lambda x=x, y=y, rng=rng: {  # type: ignore[misc]
                name: _right_share(desk.logits, name, x, y, rng) for name in CORRUPTIONS
            },
        )
        for name in CORRUPTIONS:
            shares[name].append(kept[name])
        yield Judged(len(y))
    desk.columns |= {f"unseen.{name}": torch.cat(parts) for name, parts in shares.items()}


def _right_share(model: Callable[[Tensor], Tensor], name: str, x: Tensor, y: Tensor, rng: Stream) -> Tensor:
    """The share of severities at which each sample is right, (n,) float64."""
    right = [model(corrupt(x, name, severity, rng=rng)).argmax(dim=1) == y for severity in SEVERITIES]
    return torch.stack(right).double().mean(dim=0).cpu()
