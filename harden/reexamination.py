"""The evidence of an evaluation against the weights and the data of today."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from harden.attacks import Adaptive, Borrowed
from harden.errors import ConfigError, DataError, Untrusted, WeightsError
from harden.evaluation import evidence, figures
from harden.evaluation.campaign import Findings
from harden.evaluation.inference import judging_logits
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
from harden.spelling import read
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


MOST_AT_ONCE = 1 << 16
"""A batch, a number of passes or draws that evidence may name at most: it may come from anybody."""


def reexamined(request: VerifyRequest) -> Reexamined:
    """Every number of the evaluation computed again.

    Raises Untrusted where files are not those that the evaluation speaks of.
    """
    folder = Path(str(request.evidence))
    told, columns, images = evidence.read(folder)
    try:
        return _Case(request, folder, told, columns, images).closed()
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError, ConfigError) as error:
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
        self.size = _counted(told, "batch_size", MOST_AT_ONCE)
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
        self.suite = self._suite()
        self.asked = self._asked()
        self._check_images()

    def closed(self) -> Reexamined:
        """All of it, computed again and compared."""
        told, columns = self.told, self.columns
        logits = judging_logits(self.subject.model, self.size, self.asked.eot)
        archived = evidence.findings_of(told, columns, self.images)
        found = rejudged(logits, self.subject.test, self._labelled(archived), self.threat, batch_size=self.size)
        desk = self._desk(found)
        again: dict[str, Any] = {}
        facts = known(self.subject, as_trained=self.request.data is None) if self._attacks else None
        for stage in stages(desk, facts):
            for news in stage:
                again |= news if isinstance(news, dict) else {}
        desk.columns["attacked_as"] = attacked_as(logits, self.subject.test, found, self.size)
        again["rechecks"] = rechecked(desk)
        every = evidence.columns_of(found) | desk.columns
        again |= self._named(found, desk)
        again |= figures.with_columns(found, every, again)
        for name, key in (("against", "file"), ("transfer", "files")):  # where files lie is no result
            if name in again:
                again[name] = {**again[name], key: told[name][key]}
        checks = [*compared(told, again), *self._columns(every), *self._whole(again), self._page(archived)]
        return Reexamined(checks, told | again, tuple(self.request.skip))

    @property
    def _attacks(self) -> bool:
        return self.request.sanity and self.asked.sanity

    def _opened(self, path: Path) -> Opened:
        request = self.request
        return opened(path, device=request.device, batch_size=self.size, data=request.data, custom=request.model)

    def _another(self, path: str) -> Opened:
        return same_images(self._opened(Path(path)), self.subject)

    def _suite(self) -> Suite:
        """The attacks by the knobs that they were run with; as many as there are in the table."""
        told, names = self.told["suite"], [one["name"] for one in self.told["attacks"]]
        attacks = read(told["knobs"], ATTACKS_BY_NAME)
        if sorted(names) != sorted(attacks):
            raise ValueError("the attacks in the table are not those of the suite")
        return Suite(told["name"], {name: attacks[name] for name in names})

    def _check_images(self) -> None:
        """Raises ValueError where a tensor cannot be images of these data, or their ids."""
        for name, one in self.images.items():
            wanted = (torch.int64, 1) if name.endswith(".ids") else (torch.float32, 4)
            if (one.dtype, one.dim()) != wanted or (wanted[1] == 4 and tuple(one.shape[1:]) != self.subject.data.shape):
                raise ValueError(f"{name} is {tuple(one.shape)} of {one.dtype}")
        ids = self.columns["ids"]
        if ids.dim() != 1 or not 0 < len(ids) <= len(self.subject.data.test):
            raise ValueError(f"ids is {tuple(ids.shape)}")

    def _asked(self) -> Asked:
        """What the evaluation says stands beside its attacks, less what is to be skipped."""
        plain = read(self.told["asked"], {"Asked": Asked, "Smoothing": Smoothing})
        for name, most in (("eot", MOST_AT_ONCE), ("draws", MOST_AT_ONCE), ("batch_size", MOST_AT_ONCE)):
            _counted(self.told["asked"], name, most)
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
        return Archive(
            self.asked,
            self.subject,
            self.threat,
            found.ids.to(self.subject.device),
            self.suite,
            self._label(found),
            found,
            Journal(None, ""),
            stream(int(self.told["seed"]), "beside"),
            self._another,
            archived=self.images,
        )

    def _labelled(self, found: Findings) -> Findings:
        """The findings under the labels that the attacks have, not those that they were given."""
        tried = [replace(one, label=self.suite.attacks[one.key].label) for one in found.tried]
        return replace(found, tried=tuple(tried))

    def _label(self, found: Findings) -> str:
        """What the numbers may be called: "AA" only if the attacks are those of the standard set."""
        name, own = self.told["suite"]["name"], self.suite.own
        if name in SUITES and own != dict(suite_of(name, self.threat.norm).attacks):
            name = "+".join(own)
        data = self.subject.data
        return label_of(name, classes=len(data.classes), images=len(found.ids), whole=len(data.test))

    def _named(self, found: Findings, desk: Archive) -> dict[str, Any]:
        """What the evaluation calls things, as they are."""
        told, data, test = self.told, self.subject.data, len(self.subject.data.test)
        keys = list(self.suite.attacks)
        return {
            "suite": told["suite"] | {"label": desk.label, "attacks": keys, "cascade": self._cascade(found)},
            "reliable": is_reliable(told["sanity"] if self.asked.sanity else ()),
            "data": {"name": data.name, "part": "test", "n": len(found.ids), "of": test, "classes": list(data.classes)},
            "weights": {"model": self.subject.card.model},
        }

    def _cascade(self, found: Findings) -> bool:
        """What is said of it, unless the samples that each attack was let loose on say otherwise."""
        said, left = bool(self.told["suite"]["cascade"]), found.clean.clone()
        for one in found.tried:
            if not torch.equal(one.part.ids, found.ids[left]):
                return not said
            if said:
                left[torch.isin(found.ids, one.part.ids[one.part.broken])] = False
        return said

    def _columns(self, found: Mapping[str, torch.Tensor]) -> Iterator[Check]:
        """Every column, and that there are no others; the samples are the first ones."""
        skipped = [name for name in self.columns if name.split(".")[0] in self.request.skip]
        yield Check("per_sample", sorted(self.columns.keys() - skipped), sorted(found.keys() - skipped))
        yield Check("per_sample.ids", self.columns["ids"].tolist(), list(range(len(found["ids"]))))
        for name in sorted(self.columns.keys() & found.keys()):
            same = torch.allclose(self.columns[name].double(), found[name].double(), rtol=1e-6, equal_nan=True)
            yield Check(f"per_sample.{name}", same, True)

    def _page(self, archived: Findings) -> Check:
        """Whether the report is the page that the evaluation makes."""
        path = self.folder / evidence.REPORT
        try:
            page = page_of(self.told, archived, self.images, self.subject, self.threat)
            return Check("report", path.is_file() and path.read_bytes() == page.encode(), True)
        except (LookupError, TypeError, AttributeError, ValueError):
            return Check("report", "something that no page can be made of", True)

    def _whole(self, again: dict[str, Any]) -> Iterator[Check]:
        """Whether anything was left out or added, and whether the images are evidence of this."""
        sections = {*again, *(self.told.keys() & self.request.skip), *(["sanity"] if self.asked.sanity else [])}
        yield Check("sections", sorted(self.told.keys() - OF_THE_RUN), sorted(sections - OF_THE_RUN))
        if self.asked.sanity:
            rows = [(row["number"], row["name"]) for row in self.told["sanity"]]
            yield Check("sanity.rows", rows, [(number, name) for number, (name, _) in enumerate(CHECKS, start=1)])
        yield Check("x_adv.bound", evidence.bound(self.told), evidence.bound_in(self.folder))


def _counted(told: Mapping[str, Any], name: str, most: int) -> int:
    """A count from 1. Raises ValueError for anything else."""
    if type(told[name]) is not int or not 1 <= told[name] <= most:  # True is an int and no count
        raise ValueError(f"{name} is {told[name]!r}")
    return int(told[name])
