"""What an evaluation shows of itself: its page, the images that took the least, the judge's second looks."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from harden.evaluation.campaign import Findings
from harden.evaluation.inference import judging_logits
from harden.evaluation.nearest import KEY
from harden.evaluation.recheck import rechecks
from harden.loading import Opened
from harden.reporting import Example, render
from harden.stages import Desk
from harden.threat import ThreatModel

SHOWN = 12


def page_of(
    told: Mapping[str, Any], findings: Findings, images: Mapping[str, Tensor], subject: Opened, threat: ThreatModel
) -> str:
    """The report. Equal evidence gives equal bytes; `images`: what is archived beside the suite's own."""
    return render(
        told,
        radius=threat.radius,
        examples=easiest(findings, images, subject, threat, int(told["asked"]["eot"])),
        next_step="python -m harden.evaluate action=verify evidence=<this folder>",
    )


def rechecked(desk: Desk) -> list[dict[str, Any]]:
    """The rechecks as `evaluation.json` has them."""
    found = rechecks(desk.subject.model, desk.split, desk.findings, batch_size=desk.size, eot=desk.asked.eot)
    return [{"name": one.name, "accuracy": vars(one.accuracy), "flips": one.flips} for one in found]


def easiest(
    findings: Findings, images: Mapping[str, Tensor], subject: Opened, threat: ThreatModel, eot: int
) -> list[Example]:
    """Up to `SHOWN` samples with the smallest perturbations that the suite or the curve's search has found."""
    best: dict[int, tuple[float, Tensor, str]] = {}
    for ids, distances, some, attack in _archived(findings, images, subject, threat):
        for sample, distance, x_adv in zip(ids, distances, some, strict=True):
            if sample not in best or distance < best[sample][0]:
                best[sample] = (distance, x_adv, attack)
    chosen = sorted(best, key=lambda sample: (best[sample][0], sample))[:SHOWN]
    if not chosen:
        return []
    logits = judging_logits(subject.model, SHOWN, eot)
    said = logits(torch.stack([best[sample][1] for sample in chosen]).to(subject.device)).argmax(dim=1).tolist()
    return [_example(sample, *best[sample], answer, subject) for sample, answer in zip(chosen, said, strict=True)]


def _archived(
    findings: Findings, images: Mapping[str, Tensor], subject: Opened, threat: ThreatModel
) -> Iterator[tuple[list[int], list[float], Tensor, str]]:
    """Samples, distances and images, attack by attack."""
    for one in findings.tried:
        broken = one.part.broken
        yield one.part.ids[broken].tolist(), one.part.distance[broken].tolist(), one.part.x_adv, one.label
    if f"{KEY}.ids" in images:
        ids, x_adv = images[f"{KEY}.ids"], images[f"{KEY}.x_adv"]
        clean = subject.data.test.batch(ids).x.cpu()
        yield ids.tolist(), threat.distance(x_adv, clean).tolist(), x_adv, "the curve's search"


def _example(sample: int, distance: float, x_adv: Tensor, attack: str, answer: int, subject: Opened) -> Example:
    batch, classes = subject.data.test.batch(torch.tensor([sample])), subject.data.classes
    caption = f"image {sample}, {attack}, distance {distance:.3g}"
    return Example(batch.x[0].cpu().numpy(), x_adv.numpy(), classes[int(batch.y)], classes[answer], caption)
