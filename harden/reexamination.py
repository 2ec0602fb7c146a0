"""The evidence of an evaluation against the weights and the data of today."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from harden.attacks import Adaptive, Borrowed
from harden.errors import ConfigError, DataError, Untrusted, WeightsError
from harden.evaluation import evidence, figures
from harden.evaluation.campaign import Findings
from harden.evaluation.inference import at_batch, judged
from harden.evaluation.journal import Journal
from harden.evaluation.recheck import attacked_as
from harden.evaluation.request import Asked, Smoothing, VerifyRequest
from harden.evaluation.sanity import CHECKS, is_reliable
from harden.evaluation.suite import SUITES, Suite, label_of, suite_of
from harden.evaluation.verify import Check, compared, rejudged
from harden.examination import known
from harden.loading import Opened, opened
from harden.schema import GROUPS
from harden.seeds import stream
from harden.showcase import page_of, rechecked
from harden.spelling import read, spell
from harden.stages import Archive, digest_of, same_images, stages
from harden.threat import ThreatModel

ATTACKS_BY_NAME = {kind.__name__: kind for kind in (*GROUPS["attack"].values(), Adaptive, Borrowed)}

OF_THE_RUN = {"format", "versions", "device", "precision", "digests"}
OF_THE_RUN |= {"weights", "threat", "asked", "seed", "batch_size"}
"""What an evaluation tells of itself that is no result."""


@dataclass(frozen=True)
class Reexamined:
    """A check for every number; the evaluation with the numbers as they were found; what was not looked at."""

    checks: list[Check]
    told: dict[str, Any]
    skipped: tuple[str, ...]


def reexamined(request: VerifyRequest) -> Reexamined:
    """Every number of the evaluation computed again.

    Raises Untrusted where files are not those that the evaluation speaks of.
    """
    folder = Path(str(request.evidence))
    told, columns, images = evidence.read(folder)
    try:
        return _Case(request, folder, told, columns, images).closed()
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise Untrusted(
            f"{folder / evidence.EVALUATION}: does not fit its evidence: {error!r}", "evaluate again"
        ) from error


class _Case:
    """One verification: the evidence, and the weights and data that it is held against."""

    def __init__(
        self,
        request: VerifyRequest,
        folder: Path,
        told: dict[str, Any],
        columns: dict[str, torch.Tensor],
        images: dict[str, torch.Tensor],
    ) -> None:
        self.request, self.folder, self.told, self.columns, self.images = request, folder, told, columns, images
        self.size = int(told["batch_size"])
        self.subject = self._opened(Path(request.weights) if request.weights else folder / told["weights"]["file"])
        for name, have, wanted in (
            ("weights", self.subject.sha256, told["weights"]["sha256"]),
            ("data", self.subject.data.digest, told["data"]["digest"]),
        ):
            if have != wanted:
                raise Untrusted(
                    f"these are not the {name} that were evaluated: their digest is {have}, wanted {wanted}",
                    f"name the right {name}: {name}=...",
                )
        self.threat: ThreatModel = read({"is": "ThreatModel", **told["threat"]}, {"ThreatModel": ThreatModel})
        self.asked = self._asked()

    def closed(self) -> Reexamined:
        """All of it, computed again and compared."""
        told, columns = self.told, self.columns
        logits = at_batch(judged(self.subject.model, self.asked.eot), self.size)
        archived = evidence.findings_of(told, columns, self.images)
        found = rejudged(logits, self.subject.test, archived, self.threat, batch_size=self.size)
        desk = self._desk(found)
        again: dict[str, Any] = {}
        for stage in stages(desk, known(self.subject, as_trained=self.request.data is None) if self._attacks else None):
            for news in stage:
                again |= news if isinstance(news, dict) else {}
        desk.columns["attacked_as"] = attacked_as(logits, self.subject.test, found, self.size)
        again["rechecks"] = rechecked(desk)
        every = evidence.columns_of(found) | desk.columns
        again |= figures.with_columns(found, every, {"data": told["data"]} | again)
        again |= self._named(found, desk)
        for name, key in (("against", "file"), ("transfer", "files")):  # where files lie is no result
            if name in again:
                again[name] |= {key: told[name][key]}
        checks = [*compared(told, again), *self._flags(found), *self._whole(again)]
        whole = told | again
        page = page_of(told, archived, self.images, self.subject, self.threat)
        checks.append(Check("report", (self.folder / evidence.REPORT).read_text() == page, True))
        if self.asked.eot > 1:
            checks = list(at_random(checks))
        return Reexamined(checks, whole, tuple(self.request.skip))

    @property
    def _attacks(self) -> bool:
        return self.request.sanity and self.asked.sanity

    def _opened(self, path: Path) -> Opened:
        request = self.request
        return opened(path, device=request.device, batch_size=self.size, data=request.data, custom=request.model)

    def _another(self, path: str) -> Opened:
        return same_images(self._opened(Path(path)), self.subject)

    def _asked(self) -> Asked:
        """What the evaluation says stands beside its attacks, less what is to be skipped."""
        plain = read(self.told["asked"], {"Asked": Asked, "Smoothing": Smoothing})
        others = {"against": plain.against, "transfer": list(plain.transfer)}
        skipped: dict[str, Any] = {name: type(getattr(plain, name))() for name in self.request.skip}
        asked: Asked = replace(plain, **skipped)
        if asked.against:
            told = self.folder / self.told["against"]["file"]
            asked = replace(asked, against=self._found("against", str(self.request.against or told), others["against"]))
        if asked.transfer:
            files = self.request.transfer or [str(self.folder / one) for one in self.told["transfer"]["files"]]
            pairs = zip(files, others["transfer"], strict=True)
            asked = replace(asked, transfer=[self._found("transfer", path, digest) for path, digest in pairs])
        return asked

    def _found(self, name: str, path: str, wanted: str) -> str:
        """`path`, if the weights there are those that were looked at."""
        try:
            have = digest_of(path)
        except WeightsError as error:
            raise DataError(
                f"{path}: the other weights are not there", f"say {name}=..., or leave it out with skip=[{name}]"
            ) from error
        if have != wanted:
            raise Untrusted(
                f"{path}: these are not the other weights: their digest is {have}, wanted {wanted}",
                f"name the right ones: {name}=...",
            )
        return path

    def _desk(self, found: Findings) -> Archive:
        try:
            suite = Suite(self.told["suite"]["name"], read(self.told["suite"]["knobs"], ATTACKS_BY_NAME))
        except ConfigError as error:
            raise Untrusted(f"{self.folder / evidence.EVALUATION}: {error.message}", "evaluate again") from error
        return Archive(
            self.asked,
            self.subject,
            self.threat,
            found.ids.to(self.subject.device),
            suite,
            self._label(found),
            found,
            Journal(None, ""),
            stream(int(self.told["seed"]), "beside"),
            self._another,
            archived=self.images,
        )

    def _label(self, found: Findings) -> str:
        """What the numbers may be called: "AA" only if the attacks are those of the standard set."""
        suite, n = self.told["suite"], len(found.ids)
        name = suite["name"]
        own = {key: one for key, one in suite["knobs"].items() if one["is"] != Borrowed.__name__}
        if name in SUITES and own != spell(dict(suite_of(name, self.threat.norm).attacks)):
            name = "+".join(one.key for one in found.tried)
        return label_of(name, classes=len(self.told["data"]["classes"]), images=n, whole=len(self.subject.data.test))

    def _named(self, found: Findings, desk: Archive) -> dict[str, Any]:
        told, keys = self.told, [one.key for one in found.tried]
        named: dict[str, Any] = {
            "suite": told["suite"] | {"label": desk.label, "attacks": keys},
            "reliable": is_reliable(told["sanity"] if self.asked.sanity else ()),
            "data": told["data"] | {"n": len(found.ids), "of": len(self.subject.data.test)},
        }
        return named

    def _flags(self, found: Findings) -> Iterator[Check]:
        for name in ("clean", "robust", "y", "predicted"):
            yield Check(f"per_sample.{name}", self.columns[name].tolist(), getattr(found, name).tolist())

    def _whole(self, again: dict[str, Any]) -> Iterator[Check]:
        """Whether anything was left out or added, and whether the images are evidence of this."""
        sections = {*again, *(self.told.keys() & self.request.skip), *(["sanity"] if self.asked.sanity else [])}
        yield Check("sections", sorted(self.told.keys() - OF_THE_RUN), sorted(sections))
        if self.asked.sanity:
            numbers = [row["number"] for row in self.told["sanity"]]
            yield Check("sanity.rows", numbers, list(range(1, len(CHECKS) + 1)))
        yield Check("x_adv.bound", evidence.bound(self.told), evidence.bound_in(self.folder))


AT_RANDOM = 0.01
"""How far an accuracy of a model that answers at random may move from judge to judge."""


def at_random(checks: Iterable[Check]) -> Iterator[Check]:
    """Those checks that can hold for a model that answers at random: accuracies, to a point, and what is no number.

    Its draws depend on a sample's place in the batch, and broken samples alone are judged again.
    """
    for one in checks:
        if one.name.endswith(".value") and isinstance(one.found, float) and isinstance(one.said, float):
            yield Check(one.name, one.said, one.said if abs(one.said - one.found) <= AT_RANDOM else one.found)
        elif one.name.startswith(("suite", "sections", "x_adv", "sanity", "data")):
            yield one
