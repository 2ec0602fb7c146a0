"""An evaluation computed again from its archived images."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from harden.data import Split
from harden.evaluation.campaign import Findings, Tried
from harden.evaluation.intervals import wilson
from harden.threat import ThreatModel

TIMED = frozenset({"seconds", "forward", "backward", "excess"})
"""What was counted while the attacks ran and cannot be counted again."""

SLACK = 1e-6
"""By what share of eps an image may lie outside the ball: a few roundings of float32."""


@dataclass(frozen=True)
class Check:
    """One number: what the evaluation says, what was found, whether the two agree."""

    name: str
    said: Any
    found: Any

    @property
    def holds(self) -> bool:
        """Whether both are equal, numbers to 1e-9."""
        if isinstance(self.said, float | int) and isinstance(self.found, float | int):
            return abs(self.said - self.found) <= 1e-9
        return bool(self.said == self.found)


def rejudged(
    logits: Callable[[Tensor], Tensor], split: Split, findings: Findings, threat: ThreatModel, *, batch_size: int
) -> Findings:
    """The findings as the model's answers of today, `logits`, make them.

    A sample counts as broken where its image lies in ball and box and is misclassified now.
    """
    predicted = torch.cat([logits(split.batch(few).x).argmax(1).cpu() for few in torch.split(findings.ids, batch_size)])
    y = torch.cat([split.batch(few).y.cpu() for few in torch.split(findings.ids, batch_size)])
    robust, tried = predicted == y, []
    for one in findings.tried:
        still, distance = _again(logits, split, one, threat, batch_size)
        was = one.part.broken
        part = replace(one.part, broken=was.clone(), distance=one.part.distance.clone(), x_adv=one.part.x_adv[still])
        part.broken[was], part.distance[was] = still, distance
        robust &= ~torch.isin(findings.ids, part.ids[part.broken])
        tried.append(replace(one, part=part, after=wilson(int(robust.sum()), len(robust))))
    return replace(findings, y=y, predicted=predicted, tried=tuple(tried))


def nearest_again(
    logits: Callable[[Tensor], Tensor],
    split: Split,
    columns: Mapping[str, Tensor],
    images: Mapping[str, Tensor],
    threat: ThreatModel,
    batch_size: int,
) -> Tensor:
    """The column `curve.distance` from the archived images: NaN where one does not break the model any more."""
    ids, x_adv = images["curve.ids"], images["curve.x_adv"]
    distance = torch.full((len(columns["ids"]),), torch.nan, dtype=torch.float64)
    for few, some in zip(torch.split(ids, batch_size), torch.split(x_adv, batch_size), strict=True):
        if len(few):
            batch = split.batch(few)
            x = some.to(batch.x)
            broken = _in_box(x, threat) & (logits(x).argmax(dim=1) != batch.y)
            found = torch.where(broken, threat.distance(x, batch.x), torch.nan)
            distance[torch.searchsorted(columns["ids"], few)] = found.cpu()
    return distance


def compared(said: Any, found: Any, name: str = "") -> Iterator[Check]:
    """A check for every number and name in `found`, under its dotted path; what was only timed is left out."""
    if isinstance(found, Mapping):
        timed = TIMED if name.startswith(("attacks", "worst_case")) else frozenset()
        for key in (key for key in found if key not in timed):
            below = said.get(key) if isinstance(said, Mapping) else None
            yield from compared(below, found[key], f"{name}.{key}" if name else str(key))
    elif isinstance(found, list):
        same = isinstance(said, list) and len(said) == len(found)
        yield Check(f"{name}.count", len(said) if isinstance(said, list) else None, len(found))
        for i, one in enumerate(found):
            yield from compared(said[i] if same else None, one, f"{name}.{_called(one, i)}")
    else:
        yield Check(name, said, found)


def _again(logits: Any, split: Split, one: Tried, threat: ThreatModel, batch_size: int) -> tuple[Tensor, Tensor]:
    """Whether each archived image of an attack still breaks the model, and how far from the clean one it lies."""
    broken, distances = [torch.empty(0, dtype=torch.bool)], [torch.empty(0, dtype=torch.float64)]
    ids = one.part.ids[one.part.broken]
    for few, x_adv in zip(torch.split(ids, batch_size), torch.split(one.part.x_adv, batch_size), strict=True):
        if len(few):
            batch = split.batch(few)
            x = x_adv.to(batch.x)
            held = inside(x, batch.x, threat)
            distances.append(threat.distance(x, batch.x).cpu())
            x = torch.where(torch.isfinite(x), x, batch.x)
            broken.append((held & (logits(x).argmax(dim=1) != batch.y)).cpu())
    flags, distance = torch.cat(broken), torch.cat(distances)
    return flags, torch.where(flags, distance, torch.nan)


def inside(x_adv: Tensor, x: Tensor, threat: ThreatModel) -> Tensor:
    """Whether each archived image is finite and lies in ball and box, (n,) bool."""
    near = threat.distance(x_adv, x) <= threat.radius * (1 + SLACK) + 1e-7  # NaN is not
    return near & _in_box(x_adv, threat)


def _in_box(x: Tensor, threat: ThreatModel) -> Tensor:
    pixels = x.flatten(1)
    return (pixels >= threat.low).all(dim=1) & (pixels <= threat.high).all(dim=1)


def _called(one: Any, number: int) -> str:
    return str(one["name"]) if isinstance(one, Mapping) and "name" in one else str(number)
