"""What stands beside the attacks of an evaluation: the curve, bounds, other threats, other models, sanity.

Each stage adds columns, a value a sample, and what tells of them; the numbers follow from the columns alone, so
that they can be computed again.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harden.attacks import Apgd, ApgdCe, ApgdT, Attack, FabT, Fmn, Loss, MinimumNorm, Pgd
from harden.certification import Method, certified, smoothed
from harden.certification.layers import chain
from harden.data import Split
from harden.errors import ConfigError, DataError
from harden.evaluation import Begin, Judged, curve
from harden.evaluation.campaign import Campaign, Findings
from harden.evaluation.inference import at_batch
from harden.evaluation.journal import Journal, joined
from harden.evaluation.nearest import KEY, nearest
from harden.evaluation.request import Certify, EvaluateRequest
from harden.evaluation.sanity import CHECKS, Battery, Facts, Subject, battery, is_reliable
from harden.evaluation.suite import Suite
from harden.evaluation.transfer import Matrix
from harden.evaluation.unseen import CORRUPTIONS, SEVERITIES, Spatial, corrupt, spatial
from harden.loading import Opened, opened
from harden.models import digest_of_weights
from harden.seeds import Stream
from harden.threat import Norm, ThreatModel

CHECKED_AT = (0.5, 1.5)
"""Where the curve is checked beside eps itself, as shares of eps; and on how many images."""

CHECKED_ON = 250

SEARCHERS: dict[Norm, MinimumNorm] = {Norm.linf: Fmn(), Norm.l2: FabT(), Norm.l1: Fmn(steps=500)}
"""The search behind the curve: of those tried on MNIST and Fashion-MNIST models the one that came nearest."""

RADII = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
"""The l2 radii that smoothing reports, in units of sigma."""

CHECKER = ApgdT(steps=50, targets=3)


@dataclass
class Desk:
    """What the stages work on, and where they put what they find."""

    request: EvaluateRequest
    subject: Opened
    threat: ThreatModel
    index: Tensor
    suite: Suite
    findings: Findings
    journal: Journal
    rng: Stream
    stop: Callable[[], bool]
    columns: dict[str, Tensor] = field(default_factory=dict)
    images: dict[str, Tensor] = field(default_factory=dict)
    transfer: tuple[str, float] | None = None

    @property
    def split(self) -> Split:
        """The test images."""
        return self.subject.test

    @property
    def size(self) -> int:
        """The batch size."""
        return self.request.batch_size

    def spread(self, ids: Tensor, values: Tensor, empty: Any) -> Tensor:
        """`values` of the samples `ids` as a column, `empty` for the others."""
        column = torch.full((len(self.findings.ids),), empty, dtype=values.dtype)
        column[torch.searchsorted(self.findings.ids, ids)] = values
        return column

    def batches(self, ids: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Ids, images and labels, a batch after the other."""
        for few in torch.split(ids.to(self.index.device), self.size):
            batch = self.split.batch(few)
            yield few, batch.x, batch.y

    def standing(
        self, name: str, attacks: Mapping[str, Attack], threat: ThreatModel, ids: Tensor, model: Any = None
    ) -> Iterator[Begin | Judged]:
        """A campaign beside the main one; its flags become the column `name`: -1 not looked at, 1 robust, 0 broken."""
        campaign = Campaign(
            model or self.subject.model,
            self.split,
            ids.to(self.index.device),
            Suite(name, {f"{name}.{key}": attack for key, attack in attacks.items()}),
            threat,
            rng=self.rng.child(name),
            batch_size=self.size,
            journal=self.journal,
            stop=self.stop,
        )
        yield from campaign
        if campaign.findings is not None:
            self.columns[name] = self.spread(campaign.findings.ids, campaign.findings.robust.to(torch.int8), -1)


def security_curve(desk: Desk) -> Iterator[Begin | Judged | dict[str, Any]]:
    """One minimum-norm run over what is right when clean, and campaigns at other radii to check it."""
    threat, right = desk.threat, desk.findings.ids[desk.findings.clean]
    attack = SEARCHERS[threat.norm]
    if threat.radius == 0:
        return
    yield Begin(KEY, f"{attack.label} for the curve", len(right))
    parts = []
    for part in nearest(
        desk.subject.model,
        desk.split,
        right.to(desk.index.device),
        attack,
        threat,
        rng=desk.rng,
        batch_size=desk.size,
        journal=desk.journal,
        stop=desk.stop,
    ):
        parts.append(part)
        yield Judged(len(part.ids))
    found = joined(parts, desk.split.batch(desk.index[:1]).x)
    desk.columns["curve.distance"] = desk.spread(found.ids, found.distance, torch.nan)
    desk.images |= {"curve.ids": found.ids[found.broken], "curve.x_adv": found.x_adv}
    most = whole(threat, desk.split.x[0].numel())
    checks = [{"eps": threat.eps, "radius": threat.radius, "attack": desk.suite.name, "column": "robust"}]
    for share in CHECKED_AT:
        if share * threat.radius <= most:
            ball, name = replace(threat, eps=f"{share * threat.radius:.6g}"), f"curve.check{share:g}"
            yield from desk.standing(name, {"apgd_t": CHECKER}, ball, desk.findings.ids[:CHECKED_ON])
            checks.append({"eps": ball.eps, "radius": ball.radius, "attack": CHECKER.label, "column": name})
    radii = curve.radii(threat.radius, most)
    points = [{"eps": f"{radius:.4g}", "radius": radius} for radius in radii]
    yield {"curve": {"attack": attack.label, "points": points, "checks": checks}}


def lower_bound(desk: Desk) -> Iterator[Begin | Judged | dict[str, Any]]:
    """Certified accuracy: by interval bounds or CROWN-IBP in linf, by smoothing in l2."""
    kind, threat = desk.request.certify, desk.threat
    if kind is Certify.auto:
        kind = Certify.crown_ibp if threat.norm is Norm.linf and _has_bounds(desk.subject.model) else Certify.none
    if kind in (Certify.ibp, Certify.crown_ibp):
        yield from _bounded(desk, Method[kind.value])
    elif kind is Certify.smooth:
        yield from _voted(desk)


def unseen_threats(desk: Desk) -> Iterator[Begin | Judged | dict[str, Any]]:
    """Other norms, rotations and shifts, fifteen corruptions in five severities."""
    rows = []
    for threat in other_norms(desk.threat, desk.split.x[0].numel()):
        attacks = {"apgd_ce": ApgdCe(steps=50), "apgd_t": CHECKER}
        yield from desk.standing(f"unseen.{threat.norm.value}", attacks, threat, desk.findings.ids)
        rows.append({"name": threat.norm.value, "label": f"{threat.label} (APGD-CE, APGD-T)", "kind": "norm"})
        desk.columns[f"unseen.{threat.norm.value}"] = desk.columns[f"unseen.{threat.norm.value}"] == 1
    grid, model = Spatial(), at_batch(desk.subject.model, desk.size)
    yield Begin("spatial", grid.label, len(desk.index))
    flags = []
    for _, x, y in desk.batches(desk.index):
        flags.append(spatial(model, x, y, grid)[0].cpu())
        yield Judged(len(y))
    desk.columns["unseen.spatial"] = torch.cat(flags)
    rows.append({"name": "spatial", "label": grid.label, "kind": "spatial"})
    yield Begin("corruptions", "common corruptions", len(desk.index))
    shares: dict[str, list[Tensor]] = {name: [] for name in CORRUPTIONS}
    for ids, x, y in desk.batches(desk.index):
        for name in CORRUPTIONS:
            shares[name].append(_right_share(model, name, x, y, desk.rng.child("corruption").at(ids)))
        yield Judged(len(y))
    for name in CORRUPTIONS:
        desk.columns[f"unseen.{name}"] = torch.cat(shares[name])
        rows.append({"name": name, "label": name.replace("_", " "), "kind": "corruption"})
    yield {"unseen": rows}


def compared(desk: Desk) -> Iterator[Begin | Judged | dict[str, Any]]:
    """The other weights under the same suite, on the same images."""
    other = _another(desk, str(desk.request.against))
    yield from desk.standing("against", desk.suite.attacks, desk.threat, desk.findings.ids, other.model)
    desk.columns["against.robust"] = desk.columns.pop("against") == 1
    yield {"against": {"file": Path(str(desk.request.against)).name, "sha256": other.sha256}}


def transferred(desk: Desk) -> Iterator[Begin | Judged | dict[str, Any]]:
    """The matrix over this model and the others that were named."""
    models: dict[str, Any] = {_short(desk.subject.path): desk.subject.model}
    for path in desk.request.transfer:
        other = _another(desk, path)
        models[_unused(_short(Path(path)), models)] = other.model
    attack = Pgd(steps=50, loss=Loss.margin)
    matrix = Matrix(
        models, desk.split, desk.index, attack, desk.threat, rng=desk.rng.child("transfer"), batch_size=desk.size
    )
    yield Begin("transfer", "transfer matrix", len(desk.index) * len(models))
    yield from matrix
    if matrix.result is not None:
        rows = [[vars(one) for one in row] for row in matrix.result.accuracy]
        told = {
            "models": list(models),
            "attack": attack.label,
            "accuracy": rows,
            "finding": list(matrix.result.finding),
        }
        desk.transfer = matrix.result.ahead(0)
        yield {"transfer": told}


def sanity_checks(desk: Desk, facts: Facts) -> Iterator[Begin | Judged | dict[str, Any]]:
    """The battery's rows, and whether the number can be relied on."""
    first = next(iter(desk.suite.attacks.values()))
    subject = Subject(
        desk.subject.model,
        desk.split,
        desk.index,
        desk.threat,
        desk.rng.child("sanity"),
        attack=first if isinstance(first, Apgd | Pgd) else None,
        batch_size=desk.size,
        eot=desk.request.eot,
        facts=replace(facts, transfer=desk.transfer),
        knobs=Battery(),
    )
    yield Begin("sanity", "sanity checks", len(CHECKS))
    rows = []
    for row in battery(subject):
        rows.append({**vars(row), "verdict": row.verdict.value})
        yield Judged(1)
    yield {"sanity": rows, "reliable": is_reliable(rows)}


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


def whole(threat: ThreatModel, pixels: int) -> float:
    """The radius from which on the ball holds the box."""
    side = threat.high - threat.low
    return float({Norm.linf: side, Norm.l2: side * pixels**0.5, Norm.l1: side * pixels}[threat.norm])


BOUNDS = {Method.ibp: "IBP", Method.crown_ibp: "CROWN-IBP"}
"""What tables call the methods."""


def certified_again(subject: Opened, ids: Tensor, named: str, threat: ThreatModel) -> Tensor:
    """Whether each sample is certified by the method of this name, (n,) bool; KeyError where there is none."""
    method = {name: method for method, name in BOUNDS.items()}[named]
    return torch.cat(list(_certificates(subject, ids.to(subject.device), threat, method)))


def _certificates(subject: Opened, index: Tensor, threat: ThreatModel, method: Method) -> Iterator[Tensor]:
    for few in torch.split(index, 50):  # the bounds of a sample take as much as its classes in passes
        batch = subject.test.batch(few)
        yield certified(subject.model, batch.x, batch.y, threat, method=method).cpu()


def _bounded(desk: Desk, method: Method) -> Iterator[Begin | Judged | dict[str, Any]]:
    name = BOUNDS[method]
    yield Begin("certify", f"{name} bounds", len(desk.index))
    flags = []
    for some in _certificates(desk.subject, desk.index, desk.threat, method):
        flags.append(some)
        yield Judged(len(some))
    desk.columns["certified"] = torch.cat(flags)
    yield {"certified": {"method": name, "threat": desk.threat.label}}


def _voted(desk: Desk) -> Iterator[Begin | Judged | dict[str, Any]]:
    knobs = desk.request.smoothing
    ids = desk.index[: knobs.images]
    yield Begin("smooth", "votes under noise", len(ids))
    predicted, radius = [], []
    for few, x, _ in desk.batches(ids):
        out = smoothed(
            at_batch(desk.subject.model, 1000),
            x,
            sigma=knobs.sigma,
            n0=knobs.n0,
            n=knobs.n,
            alpha=knobs.alpha,
            rng=desk.rng.child("smooth").at(few),
        )
        predicted.append(out.predicted)
        radius.append(out.radius)
        yield Judged(len(few))
    desk.columns["smoothed.predicted"] = desk.spread(ids.cpu(), torch.cat(predicted), -1)
    desk.columns["smoothed.radius"] = desk.spread(ids.cpu(), torch.cat(radius), torch.nan)
    points = [{"radius": share * knobs.sigma} for share in RADII]
    yield {"smoothed": {"sigma": knobs.sigma, "n": knobs.n, "alpha": knobs.alpha, "points": points}}


def _right_share(model: Callable[[Tensor], Tensor], name: str, x: Tensor, y: Tensor, rng: Stream) -> Tensor:
    """The share of severities at which each sample is right, (n,) float64."""
    right = [model(corrupt(x, name, severity, rng=rng)).argmax(dim=1) == y for severity in SEVERITIES]
    return torch.stack(right).double().mean(dim=0).cpu()


def _has_bounds(model: torch.nn.Module) -> bool:
    try:
        chain(model)
    except ConfigError:
        return False
    return True


def _another(desk: Desk, path: str) -> Opened:
    other = opened(path, device=desk.request.device, batch_size=desk.size, data=desk.request.data)
    if other.data.digest != desk.subject.data.digest:
        raise DataError(
            f"{path} belongs to other images than {desk.subject.path}: models are compared on the same ones",
            "name the data with data=...",
        )
    return other


def _short(path: Path) -> str:
    """What a model is called in a table: its run's folder and its role."""
    return f"{path.resolve().parent.name}/{path.stem}"


def _unused(name: str, taken: Mapping[str, Any]) -> str:
    number = 2
    unique = name
    while unique in taken:
        unique, number = f"{name} ({number})", number + 1
    return unique


def digest_of(path: str) -> str:
    """The digest of a file of weights that is compared with. Raises ConfigError where there is none."""
    if not Path(path).is_file():
        raise ConfigError(f"{path}: there is no such file", "name a weights file")
    return digest_of_weights(Path(path))
