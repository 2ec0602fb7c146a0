"""The lower bound beside the attacks' upper one: interval bounds, CROWN-IBP, votes under noise."""

import torch
from torch import nn

from harden.certification import Method, certified, smoothed
from harden.certification.layers import chain
from harden.errors import ConfigError
from harden.evaluation import Begin, Judged
from harden.evaluation.inference import at_batch
from harden.evaluation.request import Certify
from harden.stages.desk import Desk, News
from harden.threat import Norm, ThreatModel

BOUNDS = {Method.ibp: "IBP", Method.crown_ibp: "CROWN-IBP"}
"""What tables call the methods."""

AT_ONCE = 50
"""Images whose bounds are computed at once: a sample takes as much as its classes in passes."""

VOTES_AT_ONCE = 1000

RADII = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
"""The l2 radii that smoothing reports, in units of sigma."""


def lower_bound(desk: Desk) -> News:
    """Certified accuracy: by interval bounds or CROWN-IBP in linf, by smoothing in l2."""
    kind, threat = desk.asked.certify, desk.threat
    if kind is Certify.auto:
        kind = Certify.crown_ibp if threat.norm is Norm.linf and _has_bounds(desk.subject.model) else Certify.none
    if kind in (Certify.ibp, Certify.crown_ibp):
        yield from _bounded(desk, Method[kind.value])
    elif kind is Certify.smooth:
        yield from _voted(desk)


def check_certify(kind: Certify, threat: ThreatModel) -> None:
    """Raises ConfigError for a bound that does not speak of the threat's norm."""
    wanted = {Certify.ibp: Norm.linf, Certify.crown_ibp: Norm.linf, Certify.smooth: Norm.l2}.get(kind, threat.norm)
    if threat.norm is not wanted:
        raise ConfigError(
            f"certify={kind.value} speaks of {wanted.value}, the threat is in {threat.norm.value}",
            f"say threat={wanted.value} threat.eps=..., or leave certify out",
        )


def _bounded(desk: Desk, method: Method) -> News:
    name = BOUNDS[method]
    yield Begin("certify", f"{name} bounds", len(desk.index))
    flags = []
    for number, few in enumerate(torch.split(desk.index, AT_ONCE)):
        batch = desk.split.batch(few)
        kept = desk.journal.kept(
            "certify",
            number,
            lambda batch=batch: {  # type: ignore[misc]
                "held": certified(desk.subject.model, batch.x, batch.y, desk.threat, method=method).cpu()
            },
        )
        flags.append(kept["held"])
        yield Judged(len(few))
    desk.columns["certified"] = torch.cat(flags)
    yield {"certified": {"method": name, "threat": desk.threat.label}}


def _voted(desk: Desk) -> News:
    knobs = desk.asked.smoothing
    ids = desk.index[: knobs.images]
    yield Begin("smooth", "votes under noise", len(ids))
    predicted, radius = [], []
    for number, few, x, _ in desk.batches(ids):

        def vote(few: torch.Tensor = few, x: torch.Tensor = x) -> dict[str, torch.Tensor]:
            out = smoothed(
                at_batch(desk.subject.model, VOTES_AT_ONCE),
                x,
                sigma=knobs.sigma,
                n0=knobs.n0,
                n=knobs.n,
                alpha=knobs.alpha,
                rng=desk.rng.child("smooth").at(few),
            )
            return {"predicted": out.predicted.cpu(), "radius": out.radius.cpu()}

        kept = desk.journal.kept("smooth", number, vote)
        predicted.append(kept["predicted"])
        radius.append(kept["radius"])
        yield Judged(len(few))
    desk.columns["smoothed.predicted"] = desk.spread(ids.cpu(), torch.cat(predicted), -1)
    desk.columns["smoothed.radius"] = desk.spread(ids.cpu(), torch.cat(radius), torch.nan)
    points = [{"radius": share * knobs.sigma} for share in RADII]
    yield {"smoothed": {"sigma": knobs.sigma, "n": knobs.n, "alpha": knobs.alpha, "points": points}}


def _has_bounds(model: nn.Module) -> bool:
    try:
        chain(model)
    except ConfigError:
        return False
    return True
