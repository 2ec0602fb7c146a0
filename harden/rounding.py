"""A round, as the door runs it: keys, chain, plan, data; the stages one after the other; the record."""

import logging
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from harden import chronicle
from harden.branding import brand
from harden.chronicling import told
from harden.console import watching
from harden.data import Digits
from harden.environment import environment
from harden.errors import ConfigError, HardenError, Interrupted
from harden.evaluation import evidence
from harden.evaluation.request import EvaluateRequest
from harden.examination import Examination
from harden.files import alone, sha256_of, write_json
from harden.ledger import Store, Tracking
from harden.marking import EmbedRequest, Scoring
from harden.planning import planned, recipe_of
from harden.reviewer import SIGNATURE
from harden.reviewer import write as write_review
from harden.reviewing import FILES, review
from harden.rounds import record as records
from harden.rounds.banking import bank
from harden.rounds.bench import (
    BANK,
    COMPARE,
    EVALUATE,
    GATES,
    MARK,
    NEXT,
    PLAN,
    REVIEW,
    SEAL,
    TRAIN,
    VALIDATE,
    WEIGHTS,
    Bench,
)
from harden.rounds.budget import forecast
from harden.rounds.comparing import compare
from harden.rounds.deciding import gates, propose
from harden.rounds.keys import FOLDER, chain_in, keys
from harden.rounds.record import digest_of
from harden.rounds.request import RoundRequest
from harden.rounds.sealing import model_id, seal
from harden.rounds.stage import Done, Entry, Work, perform
from harden.rounds.training import beside, train
from harden.rounds.validating import validate
from harden.sealing.trust import OneSigner
from harden.training.folder import SUMMARY
from harden.training.network import fresh_model
from harden.unlocking import Desk

logger = logging.getLogger(__name__)

BY_NAME = (Digits,)
"""Data that weights name well enough to be found again without being told where they lie."""

PAST = 7
"""Earlier rounds that a round's own review tells of."""

TIMED = frozenset({evidence.EVALUATION, evidence.REPORT, "plan.json"})


@contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Inside, no other round is run in `home`. Raises HardenError where one is."""
    (home / FOLDER).mkdir(parents=True, exist_ok=True)
    with alone(home / FOLDER, "another round is being run here"):
        yield


class RoundSession:
    """A request whose plan, data, keys and store have been found to fit; nothing is written before that."""

    def __init__(self, request: RoundRequest, overrides: Sequence[str]) -> None:
        self.request, self.rounds = request, Path(request.home)
        self.store = Store.at(request.tracking.uri, self.rounds)
        self.chain = chain_in(self.rounds)
        self.wanted, self.data = planned(request, overrides, self.chain)
        self.plan = self.wanted.plan
        self.recipe = recipe_of(self.plan, "the plan", home=self.rounds)
        threads = request.compute.threads_for(self.recipe.schedule.batch_size * math.prod(self.data.shape))
        if threads:
            torch.set_num_threads(threads)
        self.minutes = self._forecast()
        self.entries: dict[str, Entry] = {}

    def run(self, stop: Callable[[], bool]) -> dict[str, Any]:
        """Runs what is not done yet; the record. Raises Interrupted when `stop` said so."""
        with only_one(self.rounds):
            if self.chain != chain_in(self.rounds):
                raise HardenError(
                    f"{self.rounds}: another round was finished meanwhile", "the same command looks again"
                )
            desk = Desk(self.request)
            self.keys = keys(self.rounds, desk.signer(self.request.signer), self.request.to, desk.provider)
            with watching() as watch:
                self.bench = Bench(
                    self.rounds, self.plan, self.recipe, self.data, tuple(self.chain), self.request.compute, watch, stop
                )
                try:
                    return self._run()
                except (Interrupted, KeyboardInterrupt) as error:
                    raise Interrupted(
                        f"stopped; what was done is kept in {self.bench.home}",
                        "the same command goes on where it stopped",
                    ) from error

    def _run(self) -> dict[str, Any]:
        bench = self.bench
        self._do(PLAN, {"plan": digest_of(self.plan.plain())}, self._plan)
        before = {"previous": self.chain[-1].sha256} if self.chain else {}
        data = {"data": self.data.digest}
        self._do(TRAIN, self._of(PLAN) | before | data, partial(train, bench))
        self._do(MARK, self._of(TRAIN) | {"owner": "named" if self.request.owner else "none"}, self._mark)
        weights = {"weights": sha256_of(bench.weights(self.plan.round))}
        self._do(VALIDATE, weights | data | self._of(PLAN) | before, partial(validate, bench))
        self._do(EVALUATE, weights | data | self._of(PLAN), self._evaluate)
        self._do(COMPARE, self._of(EVALUATE) | before, partial(compare, bench))
        self._do(BANK, self._of(VALIDATE, EVALUATE) | before, partial(bank, bench))
        facts = {"plan": digest_of(self.plan.plain())}
        self._do(
            SEAL,
            weights | self._of(PLAN) | before | {"signer": self.keys.signer.key.id},
            partial(seal, bench, self.keys, facts=facts),
        )
        # not the sealed file's own digest, which fresh keys make another each time: the gate verifies the file itself
        judged = self._of(EVALUATE, COMPARE, BANK, MARK, SEAL)
        self._do(GATES, judged, partial(gates, bench, self.entries, self.keys))
        self._do(NEXT, self._of(TRAIN, VALIDATE, BANK, GATES), partial(propose, bench, self.entries))
        return self._finish()

    def _do(self, name: str, inputs: dict[str, str], work: Work) -> None:
        self.bench.check()
        known = (self.bench.home / name).exists()
        entry = self.entries[name] = perform(self.bench.home, name, inputs, work)
        logger.info("%-9s %s", name, "done before" if known else f"{entry.seconds:.1f} s")

    def _of(self, *names: str) -> dict[str, str]:
        """What stages made, as inputs of another one."""
        return {name: digest_of(self.entries[name].record()) for name in names}

    # -- stages that need more than a room ---------------------------------------------------------------

    def _plan(self, folder: Path) -> Done:
        write_json(folder / "plan.json", self.plan.plain())
        write_json(folder / "proposed.json", self.wanted.proposed.plain())
        write_json(folder / "edits.json", {"edits": list(self.wanted.edits), "why": self.wanted.why})
        return Done({"edits": len(self.wanted.edits), "why": self.wanted.why})

    def _mark(self, folder: Path) -> Done:
        """The owner's mark in the trained weights, read back from the bytes as stored; without a key it is skipped."""
        if not self.request.owner:
            skipped = "no owner key was given: owner=FILE marks the weights"
            write_json(folder / "mark.json", {"skipped": skipped})
            return Done({"skipped": skipped})
        inner = folder / "mark"
        shutil.rmtree(inner, ignore_errors=True)  # of a sitting that was killed: each claim is drawn afresh
        made = brand(self._embedding(inner))
        for path in inner.iterdir():
            path.rename(folder / path.name)
        inner.rmdir()
        told = {"log10_p": made.verdict.log10_p, "claim": made.claim.id, "bits": made.plan.bits}
        write_json(folder / "mark.json", told)
        marked, selected = sha256_of(folder / WEIGHTS), self.entries[TRAIN].result["selected"]
        write_json(folder / SUMMARY, beside(self.bench, marked, selected))
        return Done(told)

    def _embedding(self, output: Path) -> EmbedRequest:
        """What is asked of the watermark; accuracy is the evaluation's matter."""
        return EmbedRequest(
            weights=str(self.bench.home / TRAIN / WEIGHTS),
            owner=self.request.owner,
            output=str(output),
            round=self.plan.round,
            model_id=model_id(self.plan.programme),
            score=Scoring(images=0),
            passphrase_fd=self.request.passphrase_fd,
            sealing=self.request.sealing,
            tracking=Tracking(uri="none"),
        )

    def _evaluate(self, folder: Path) -> Done:
        request = EvaluateRequest(
            weights=str(self.bench.weights(self.plan.round)),
            suite=self.plan.suite,
            data=None if type(self.recipe.data) in BY_NAME else self.recipe.data,
            model=self.bench.custom,
            images=self.plan.images,
            batch_size=self.recipe.judge.batch_size,
            seed=self.recipe.seed,
            output=str(folder),
            device=self.request.compute.device,
            sanity=True,
            tracking=Tracking(uri="none"),
        )
        if (folder / evidence.EVALUATION).is_file():
            told = evidence.read(folder)[0]
        else:
            told, _ = Examination(request).run(self.bench.stop)
        write_json(folder / "figures.json", timeless(told))
        return Done(figures_of(told), TIMED)

    # -- the end ------------------------------------------------------------------------------------------

    def _finish(self) -> dict[str, Any]:
        verdict = self.entries[GATES].result
        place = chronicle.Place(self.request.tracking.uri, self.rounds, self.plan.programme, self.plan.round)
        tags = {"harden.promoted": str(verdict["promoted"]).lower(), "harden.number": str(len(self.chain) + 1)}
        tags |= {"harden.previous": self.chain[-1].quarter.name} if self.chain else {}
        run = chronicle.publish(self.store, place, self.bench.home, self.entries, environment() | tags)
        self._do(REVIEW, self._of(GATES, NEXT), self._review)
        self.store.keep(run, self.bench.home / REVIEW, REVIEW)
        chronicle.register(self.store, place, run, self.bench.home, promoted=verdict["promoted"])
        said = self._record(run)
        ready = records.prepare(self.bench.home, said, self.keys.signer)
        self.store.keep(run, ready)
        records.settle(self.bench.home)  # the last act: from now on the round exists
        return said

    def _review(self, folder: Path) -> Done:
        """The review, from what the store holds of this round and of those before it."""
        names = [record.quarter.name for record in self.chain][-PAST:]
        trust = OneSigner(self.keys.signer.key)
        made = review(told(self.store, [*names, self.plan.round], programme=self.plan.programme, trust=trust))
        write_review(made, folder, self.keys.signer)
        return Done(timed=frozenset({*FILES, SIGNATURE}))

    def _record(self, run: str) -> dict[str, Any]:
        last = self.chain[-1] if self.chain else None
        verdict, entries = self.entries[GATES].result, self.entries
        champion = self.plan.round if verdict["promoted"] else self.bench.champion and self.bench.champion.quarter.name
        times = {
            name: {"began": one.began, "seconds": one.seconds, "files": dict(one.timed)}
            for name, one in entries.items()
        }
        return {
            "format": records.FORMAT,
            "round": self.plan.round,
            "programme": self.plan.programme,
            "number": len(self.chain) + 1,
            "previous": last and {"round": last.quarter.name, "sha256": last.sha256},
            "stages": {name: entry.record() for name, entry in entries.items()},
            "verdict": {"promoted": verdict["promoted"], "champion": champion},
            records.CIRCUMSTANCES: {"stages": times, "environment": environment(), "run": run},
        }

    def _forecast(self) -> float:
        model = fresh_model(self.recipe, self.data).eval()
        minutes = forecast(self.plan, self.recipe, self.data, model, len(self.chain))
        if minutes > self.plan.minutes:
            raise ConfigError(
                f"the plan of {self.plan.round} breaks its budget: forecast {minutes:.1f} minutes, "
                f"minutes={self.plan.minutes:g}",
                "raise minutes, or plan less: fewer images, epochs, steps, or a cheaper suite",
            )
        return minutes


def timeless(told: Any) -> Any:
    """An evaluation without what a clock said."""
    if isinstance(told, dict):
        return {key: timeless(value) for key, value in told.items() if key not in ("seconds", "digests", "file")}
    return [timeless(one) for one in told] if isinstance(told, list) else told


def figures_of(told: dict[str, Any]) -> dict[str, Any]:
    """What a record says of an evaluation."""
    corruptions = [one["accuracy"]["value"] for one in told.get("unseen", ()) if one["kind"] == "corruption"]
    rows = told.get("sanity")
    return {
        "label": told["suite"]["label"],
        "clean": told["clean"],
        "worst": told["worst_case"]["accuracy"],
        "attacks": {one["name"]: one["accuracy"] for one in told["attacks"]},
        "reliable": told["reliable"],
        "failed": None
        if rows is None
        else [f"{one['number']} {one['name']}" for one in rows if one["verdict"] == "failed"],
        "corruption": sum(corruptions) / len(corruptions) if corruptions else None,
    }
