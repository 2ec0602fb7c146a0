"""What an evaluation shows of itself: its page, the images that took the least, the judge's second looks."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from harden.evaluation.campaign import Findings
from harden.evaluation.recheck import rechecks
from harden.loading import Opened
from harden.reporting import Example, render
from harden.stages import Desk
from harden.threat import ThreatModel

SHOWN = 12


def page_of(
    told: Mapping[str, Any], findings: Findings, attacked_as: Tensor, subject: Opened, threat: ThreatModel
) -> str:
    """The report. Equal evidence gives equal bytes."""
    return render(
        told,
        radius=threat.radius,
        examples=easiest(findings, attacked_as, subject),
        next_step="python -m harden.evaluate action=verify evidence=<this folder>",
    )


def rechecked(desk: Desk) -> list[dict[str, Any]]:
    """The rechecks as `evaluation.json` has them."""
    found = rechecks(desk.model, desk.split, desk.findings, batch_size=desk.size)
    return [{"name": one.name, "accuracy": vars(one.accuracy), "flips": one.flips} for one in found]


def easiest(findings: Findings, attacked_as: Tensor, subject: Opened) -> list[Example]:
    """Up to `SHOWN` samples with the smallest perturbations, each with the image of the attack that found it."""
    best: dict[int, tuple[float, Tensor, str]] = {}
    for one in findings.tried:
        broken = one.part.broken
        for sample, distance, x_adv in zip(
            one.part.ids[broken].tolist(), one.part.distance[broken].tolist(), one.part.x_adv, strict=True
        ):
            if sample not in best or distance < best[sample][0]:
                best[sample] = (distance, x_adv, one.label)
    chosen = sorted(best, key=lambda sample: (best[sample][0], sample))[:SHOWN]
    return [_example(sample, *best[sample], findings, attacked_as, subject) for sample in chosen]


def _example(
    sample: int, distance: float, x_adv: Tensor, attack: str, findings: Findings, attacked_as: Tensor, subject: Opened
) -> Example:
    batch = subject.data.test.batch(torch.tensor([sample]))
    classes, place = subject.data.classes, int(torch.searchsorted(findings.ids, sample))
    return Example(
        batch.x[0].cpu().numpy(),
        x_adv.numpy(),
        classes[int(batch.y)],
        classes[int(attacked_as[place])],
        f"image {sample}, {attack}, distance {distance:.3g}",
    )
