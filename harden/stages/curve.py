"""Accuracy against eps: one minimum-norm run, checked by attacks at other radii."""

from dataclasses import replace

from harden.attacks import ApgdT, FabT, Fmn, MinimumNorm
from harden.evaluation import Begin, curve
from harden.evaluation.campaign import whole
from harden.evaluation.nearest import KEY
from harden.stages.desk import Desk, News
from harden.threat import Norm

CHECKED_AT = (0.5, 1.5)
"""Where the curve is checked beside eps itself, as shares of eps; and on how many images."""

CHECKED_ON = 250

SEARCHERS: dict[Norm, MinimumNorm] = {Norm.linf: Fmn(), Norm.l2: FabT(), Norm.l1: Fmn(steps=500)}
"""The search behind the curve: of those tried on MNIST and Fashion-MNIST models the one that came nearest."""

CHECKER = ApgdT(steps=50, targets=3)


def security_curve(desk: Desk) -> News:
    """One minimum-norm run over what is right when clean, and campaigns at other radii to check it."""
    threat, right = desk.threat, desk.findings.ids[desk.findings.clean]
    attack = SEARCHERS[threat.norm]
    if threat.radius == 0:
        return
    yield Begin(KEY, f"{attack.label} for the curve", len(right))
    yield from desk.closest(attack, right)
    most = whole(threat, desk.split.x[0].numel())
    checks = [{"eps": threat.eps, "radius": threat.radius, "attack": desk.label, "column": "robust"}]
    for share in CHECKED_AT:
        if share * threat.radius <= most:
            ball, name = replace(threat, eps=f"{share * threat.radius:.6g}"), f"curve.check{share:g}"
            yield from desk.standing(name, {"apgd_t": CHECKER}, ball, desk.findings.ids[:CHECKED_ON])
            checks.append({"eps": ball.eps, "radius": ball.radius, "attack": CHECKER.label, "column": name})
    radii = curve.radii(threat.radius, most)
    points = [{"eps": f"{radius:.4g}", "radius": radius} for radius in radii]
    yield {"curve": {"attack": attack.label, "points": points, "checks": checks}}
