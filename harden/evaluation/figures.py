"""The numbers of an evaluation as plain data, computed from flags per sample and from nothing else.

`harden.evaluate` prints them, `action=verify` computes them again from the archived images and compares.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from harden.evaluation import curve
from harden.evaluation.campaign import Findings, Tried
from harden.evaluation.classes import by_class
from harden.evaluation.intervals import wilson
from harden.evaluation.paired import paired


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
    """`core`, and what follows from the further `columns` for those parts that `told` names."""
    more: dict[str, Any] = {"classes": _classes(findings, columns, told["data"]["classes"])}
    if "curve" in told:
        more["curve"] = told["curve"] | _curve(findings, columns, told["curve"])
    if "unseen" in told:
        more["unseen"] = [one | {"accuracy": share(columns[f"unseen.{one['name']}"])} for one in told["unseen"]]
    if "certified" in told:
        held = columns["certified"]
        both = int((held & ~findings.robust).sum())
        more["certified"] = told["certified"] | {"accuracy": share(held), "both": both}
    if "smoothed" in told:
        more["smoothed"] = told["smoothed"] | smoothed(columns, [one["radius"] for one in told["smoothed"]["points"]])
    if "draws" in told:
        more["draws"] = told["draws"] | _draws([columns[name] for name in told["draws"]["columns"]])
    if "against" in told:
        more["against"] = told["against"] | _against(findings, columns, told["against"]["attacks"])
    return core(findings) | more


def _classes(findings: Findings, columns: Mapping[str, Tensor], names: Sequence[str]) -> list[dict[str, Any]]:
    rows = by_class(names, findings.y, findings.clean, findings.robust, columns["attacked_as"])
    return [asdict(row) for row in rows]


def _curve(findings: Findings, columns: Mapping[str, Tensor], told: Mapping[str, Any]) -> dict[str, Any]:
    """Points from the nearest image that any attack found; checks of the one run alone against other attacks."""
    alone = curve.distances(findings.clean, columns["curve.distance"])
    suite = [columns[f"{one.key}.distance"] for one in findings.tried]
    beyond = [
        torch.where(columns[check["column"]] == 0, check["radius"], torch.nan).double()
        for check in told["checks"]
        if check["column"] in columns
    ]
    nearest = curve.distances(findings.clean, columns["curve.distance"], *suite, *beyond)
    radii = [point["radius"] for point in told["points"]]
    points = [
        point | {"accuracy": asdict(accuracy)}
        for point, accuracy in zip(told["points"], curve.curve(radii, nearest), strict=True)
    ]
    return {
        "points": points,
        "median": curve.median(nearest),
        "checks": [check | _check(check, alone, findings, columns) for check in told["checks"]],
    }


def _check(
    check: Mapping[str, Any], alone: Tensor, findings: Findings, columns: Mapping[str, Tensor]
) -> dict[str, Any]:
    flag = columns[check["column"]] if check["column"] in columns else findings.robust.to(torch.int8)
    looked = flag >= 0
    found = curve.cross_checked(check["radius"], alone[looked], flag[looked] == 1)
    return {
        "curve": asdict(found.curve),
        "accuracy": asdict(found.other),
        "gap": round(found.gap, 9),
        "finding": found.finding,
    }


def _draws(robust: Sequence[Tensor]) -> dict[str, Any]:
    """Each draw's accuracy, their spread, and what is left standing by all of them."""
    values = [float(one.double().mean()) for one in robust]
    return {
        "accuracies": [share(one) for one in robust],
        "lowest": min(values),
        "mean": sum(values) / len(values),
        "highest": max(values),
        "all": share(torch.stack(list(robust)).all(dim=0)),
    }


def _against(findings: Findings, columns: Mapping[str, Tensor], attacks: Sequence[str]) -> dict[str, Any]:
    """This model beside the other one, both under `attacks`."""
    other = columns["against.robust"]
    found = paired(replace(findings, tried=tuple(one for one in findings.tried if one.key in attacks)).robust, other)
    return {
        "worst_case": share(other),
        "only_this": found.only_first,
        "only_other": found.only_second,
        "p": found.p,
        "difference": {"value": found.difference, "low": found.low, "high": found.high},
    }


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
        "excess": one.part.excess,
        "median_distance": _median(one.part.distance),
    }


def _median(distance: Tensor) -> float | None:
    known = distance[~distance.isnan()]
    return float(torch.quantile(known, 0.5)) if len(known) else None
