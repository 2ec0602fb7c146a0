"""The numbers of an evaluation as plain data, computed from flags per sample and from nothing else.

`harden.evaluate` prints them, `action=verify` computes them again from the archived images and compares.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from harden.evaluation.campaign import Findings, Tried
from harden.evaluation.intervals import wilson


def core(findings: Findings) -> dict[str, Any]:
    """Clean accuracy, each attack's and the worst case: accuracies as `{value, low, high, n}`."""
    return {
        "clean": asdict(findings.clean_accuracy),
        "attacks": [_attack(one) for one in findings.tried],
        "worst_case": {
            "accuracy": asdict(findings.worst_case),
            "forward": sum(one.part.forward for one in findings.tried),
            "backward": sum(one.part.backward for one in findings.tried),
            "seconds": round(sum(one.part.seconds for one in findings.tried), 3),
        },
    }


def share(flags: Tensor) -> dict[str, Any]:
    """The share of samples whose flag is set; or, where a sample has a share of its own in 0..1, their mean."""
    return asdict(wilson(float(flags.double().sum()), len(flags)))


def with_columns(findings: Findings, columns: Mapping[str, Tensor], told: Mapping[str, Any]) -> dict[str, Any]:
    """`core`, and what follows from the further `columns` for those parts that `told` has."""
    more: dict[str, Any] = {}
    if "unseen" in told:
        more["unseen"] = [one | {"accuracy": share(columns[f"unseen.{one['name']}"])} for one in told["unseen"]]
    if "certified" in told:
        certified = columns["certified"]
        both = int((certified & ~findings.robust).sum())
        more["certified"] = told["certified"] | {"accuracy": share(certified), "both": both}
    if "smoothed" in told:
        more["smoothed"] = told["smoothed"] | smoothed(columns, [one["radius"] for one in told["smoothed"]["points"]])
    return core(findings) | more


def smoothed(columns: Mapping[str, Tensor], radii: Sequence[float]) -> dict[str, Any]:
    """Certified accuracy of the smoothed classifier at each of `radii`; samples that were not voted on have NaN."""
    voted = ~columns["smoothed.radius"].isnan()
    radius, right = columns["smoothed.radius"][voted], (columns["smoothed.predicted"] == columns["y"])[voted]
    points = [{"radius": at, "accuracy": share(right & (radius >= at))} for at in radii]
    return {"points": points, "abstained": int((columns["smoothed.predicted"][voted] < 0).sum())}


def _attack(one: Tried) -> dict[str, Any]:
    return {
        "name": one.key,
        "label": one.label,
        "attacked": len(one.part.ids),
        "broken": int(one.part.broken.sum()),
        "accuracy": asdict(one.after),
        "forward": one.part.forward,
        "backward": one.part.backward,
        "seconds": round(one.part.seconds, 3),
        "median_distance": _median(one.part.distance),
    }


def _median(distance: Tensor) -> float | None:
    known = distance[~distance.isnan()]
    return float(torch.quantile(known, 0.5)) if len(known) else None
