"""An evaluation, as the door runs it: weights, data, folder, campaign, what stands beside it, evidence, ledger."""

import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harden.archiving import archive
from harden.attacks import Attack
from harden.console import watching
from harden.data import shared_images
from harden.environment import environment
from harden.errors import ConfigError, Interrupted
from harden.evaluation import evidence, figures
from harden.evaluation import folder as place
from harden.evaluation.campaign import Campaign, Findings, check_radius
from harden.evaluation.journal import PARTS, Journal
from harden.evaluation.recheck import attacked_as
from harden.evaluation.request import EvaluateRequest
from harden.evaluation.sanity import Facts
from harden.evaluation.suite import SUITES, Suite, measuring, named, suite_of
from harden.files import alone, canonical_json, write_bytes, write_json
from harden.loading import Opened, opened
from harden.schema import GROUPS
from harden.seeds import stream
from harden.showcase import page_of, rechecked
from harden.spelling import spell
from harden.stages import Desk, check_certify, named_models, same_images, short, stages
from harden.threat import ThreatModel
from harden.training import results
from harden.training.results import threat_of

logger = logging.getLogger(__name__)


class Examination:
    """A request whose weights, data, threat and suite have been found to fit each other."""

    def __init__(self, request: EvaluateRequest) -> None:
        self.request = request
        self.opened: dict[str, Opened] = {}
        self.subject = opened(
            str(request.weights),
            device=request.device,
            batch_size=request.batch_size,
            data=request.data,
            custom=request.model,
        )
        self.threat: ThreatModel = request.threat or threat_of(self.subject.card)
        suite, sources = chosen_suite(request, self.threat), {}
        others = named_models(request.transfer, self._another, taken=[short(self.subject.path)])
        if suite.name == "extended":
            sources, suite = others, suite.borrowing(list(others))
        self.suite, self.sources = suite.averaged(request.eot), sources
        n = len(self.subject.data.test)
        self.index = torch.arange(min(request.images or n, n), device=self.subject.device)
        check_radius(self.threat, self.subject.data.test.x[0].numel())  # before a folder is made
        check_certify(request.certify, self.threat)
        self.asked = request.asked
        self.others = {
            "against": request.against and self._another(request.against).sha256,
            "transfer": [self._another(path).sha256 for path in request.transfer],
        }
        self.columns: dict[str, Tensor] = {}
        self.images: dict[str, Tensor] = {}

    @property
    def label(self) -> str:
        """What tables call the suite."""
        data = self.subject.data
        return self.suite.label(classes=len(data.classes), images=len(self.index), whole=len(data.test))

    @cached_property
    def plan(self) -> dict[str, Any]:
        """All that determines the result: two evaluations by one plan give the same flags."""
        subject, request = self.subject, self.request
        wish = {key: value for key, value in spell(request).items() if key in PLANNED}
        return {
            **wish,
            "weights": subject.sha256,
            "data": subject.data.digest,
            "threat": spell(self.threat),
            "suite": {key: spell(attack) for key, attack in self.suite.attacks.items()},
            "images": len(self.index),
            **self.others,
            "device": subject.device.type,
            "versions": versions(),
        }

    def run(self, stop: Callable[[], bool]) -> tuple[dict[str, Any], Path]:
        """Runs it; `evaluation.json` as a mapping, and its folder.

        Raises Interrupted, with the way to go on, when `stop` said so.
        """
        request = self.request
        folder = place.begun(
            self.subject.path, self.suite.name, self.plan, output=request.output, overwrite=request.overwrite
        )
        with alone(folder):
            journal = Journal(folder, self.digest)
            try:
                with watching() as watch:
                    told = self._examined(journal, stop, watch)
            except (Interrupted, KeyboardInterrupt) as error:
                raise Interrupted(
                    f"stopped; what was found is kept in {folder}", "the same command goes on where it stopped"
                ) from error
            self._name_files(told, folder)
            told["digests"] = evidence.write(folder, self.findings, self.columns, self.images, told)
            page = page_of(told, self.findings, self.images, self.subject, self.threat)
            write_bytes(folder / evidence.REPORT, page.encode())
            # the record keeps the numbers too; they stand in the folder itself only once all else is done
            write_json(folder / PARTS / evidence.EVALUATION, told)
            self.recorded = archive(self.request, self.subject, told, folder)
            (folder / PARTS / evidence.EVALUATION).replace(folder / evidence.EVALUATION)
            place.settle(folder)
        return told, folder

    @property
    def digest(self) -> str:
        """The plan's digest."""
        return hashlib.sha256(canonical_json(self.plan)).hexdigest()

    def _examined(self, journal: Journal, stop: Callable[[], bool], watch: Callable[[Any], None]) -> dict[str, Any]:
        findings = self.findings = self._attacked(journal, stop, watch)
        desk = Desk(
            self.asked,
            self.subject,
            self.threat,
            self.index,
            self.suite,
            self.label,
            findings,
            journal,
            stream(self.request.seed, "beside"),
            self._another,
            stop,
            self.sources,
        )
        told = self._facts() | {"reliable": True}
        facts = known(self.subject, as_trained=self.request.data is None) if self.asked.sanity else None
        for stage in stages(desk, facts):
            for news in stage:
                if isinstance(news, dict):
                    told |= news
                else:
                    watch(news)
                if stop():
                    raise Interrupted("stopped on request")
        desk.columns["attacked_as"] = attacked_as(desk.logits, self.subject.test, findings, desk.size)
        self.columns, self.images = desk.columns, desk.images
        told["rechecks"] = rechecked(desk)
        return told | figures.with_columns(findings, evidence.columns_of(findings) | desk.columns, told)

    def _another(self, path: str) -> Opened:
        """The other weights in a file, which is read once, before anything is attacked."""
        if path not in self.opened:
            request = self.request
            other = opened(path, device=request.device, batch_size=request.batch_size, data=request.data)
            self.opened[path] = same_images(other, self.subject)
        return self.opened[path]

    def _name_files(self, told: dict[str, Any], folder: Path) -> None:
        """Says where the weights lie, as seen from the folder."""
        told["weights"]["file"] = os.path.relpath(self.subject.path, folder)
        if "against" in told:
            told["against"]["file"] = os.path.relpath(str(self.request.against), folder)
        if "transfer" in told:
            told["transfer"]["files"] = [os.path.relpath(path, folder) for path in self.request.transfer]

    def _attacked(self, journal: Journal, stop: Callable[[], bool], watch: Callable[[Any], None]) -> Findings:
        campaign = Campaign(
            self.subject.model,
            self.subject.test,
            self.index,
            self.suite,
            self.threat,
            rng=stream(self.request.seed, "judge"),
            batch_size=self.request.batch_size,
            sources=self.sources,
            eot=self.request.eot,
            cascade=self.request.cascade,
            journal=journal,
            stop=stop,
        )
        for news in campaign:
            watch(news)
        if campaign.findings is None:
            raise RuntimeError("the campaign ended without findings")
        return campaign.findings

    def _facts(self) -> dict[str, Any]:
        subject, request = self.subject, self.request
        return {
            "format": evidence.FORMAT,
            "suite": {
                "name": self.suite.name,
                "label": self.label,
                "attacks": list(self.suite.attacks),
                "knobs": {key: spell(attack) for key, attack in self.suite.attacks.items()},
                "cascade": request.cascade,
            },
            "weights": {"file": subject.path.name, "sha256": subject.sha256, "model": subject.card.model},
            "data": {
                "name": subject.data.name,
                "digest": subject.data.digest,
                "part": "test",
                "n": len(self.index),
                "classes": list(subject.data.classes),
                "of": len(subject.data.test),
            },
            "threat": asdict(self.threat) | {"norm": self.threat.norm.value},
            "seed": request.seed,
            "asked": spell(self.asked) | self.others,
            "batch_size": request.batch_size,
            "device": subject.device.type,
            "precision": "float32",
            "versions": versions(),
        }


def known(subject: Opened, *, as_trained: bool) -> Facts:
    """What the record beside the weights and the data tell of how the model came about.

    `as_trained`: whether the data are those that the weights name.
    """
    record = results.record_of(subject.path, subject.sha256) if as_trained else {}
    clean, data = record.get("clean_accuracy"), subject.data
    where, validation = results.chosen_on(record, data)
    return Facts(
        clean_accuracy=(clean["value"], clean["n"]) if clean else None,
        selected_on=where,
        overlap=shared_images(data),
        validation=validation and validation.on(subject.device),
    )


PLANNED = {"batch_size", "seed", "eot", "draws", "cascade", "sanity", "curve", "unseen", "certify", "smoothing"}
"""What of a request is in the plan as it was said."""


def chosen_suite(request: EvaluateRequest, threat: ThreatModel) -> Suite:
    """The suite that was asked for: by name, by a list of attacks, or the one attack. Raises ConfigError."""
    suite = _suite_named(request, threat)
    for attack in suite.attacks.values():
        attack.check(threat)
    return suite


def _suite_named(request: EvaluateRequest, threat: ThreatModel) -> Suite:
    if request.attack is not None:
        return named({_key_of(request.attack): measuring(request.attack)})
    if request.suite is None or isinstance(request.suite, str):
        return suite_of(request.suite or "standard", threat.norm)
    attacks = {}
    for name in request.suite:
        if name not in GROUPS["attack"]:
            raise ConfigError(
                f"suite names the attack '{name}'; there are: {', '.join(sorted(GROUPS['attack']))}",
                f"or say a whole suite: {', '.join(SUITES)}",
            )
        attacks[name] = measuring(GROUPS["attack"][name]())
    return named(attacks)


def versions() -> dict[str, str]:
    """What the numbers rest on: the code and the packages that compute."""
    facts = environment()
    return {name: facts[name] for name in ("harden", "python", "torch", "numpy", "numba") if name in facts}


def _key_of(attack: Attack) -> str:
    return next(name for name, kind in GROUPS["attack"].items() if type(attack) is kind)
