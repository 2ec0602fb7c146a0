"""The compare stage: earlier models under this round's suite and images, and who falls for whose attacks."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from harden.evaluation import Begin, wilson
from harden.evaluation.campaign import Campaign
from harden.evaluation.evidence import IMAGES, SAMPLES
from harden.evaluation.inference import at_batch
from harden.evaluation.journal import Journal
from harden.evaluation.paired import paired
from harden.evaluation.suite import suite_of
from harden.files import write_json
from harden.rounds.bench import COMPARE, EVALUATE, Bench
from harden.rounds.stage import Done
from harden.seeds import stream

COMPARISON = "comparison.json"
MOST = 6
"""Earlier rounds that are measured again: the first, the champion, and the newest."""


def compare(bench: Bench, folder: Path) -> Done:
    """Flags of every model by sample, paired comparisons with this one, and the transfer matrix."""
    index, labels, clean, robust = _own(bench)
    rows = [_row(bench.plan.round, clean, robust)]
    told: dict[str, Any] = {"images": len(index), "labels": labels.tolist(), "suite": bench.plan.suite, "pairs": {}}
    for name in chosen(bench):
        other_clean, other = _under_this_suite(bench, folder, name, index)
        rows.append(_row(name, other_clean, other))
        told["pairs"][name] = _pair(robust, other)
    told["models"] = sorted(rows, key=lambda row: str(row["round"]))
    told["transfer"] = _transfer(bench)
    write_json(folder / COMPARISON, told)
    champion = bench.champion.quarter.name if bench.champion else None
    small = [{key: row[key] for key in ("round", "clean", "worst")} for row in told["models"]]
    return Done({"models": small, "pairs": told["pairs"], "champion": champion})


def chosen(bench: Bench) -> list[str]:
    """The earlier rounds that are compared with."""
    names = [record.quarter.name for record in bench.chain]
    wanted = {*names[:1], *names[-(MOST - 2) :]} | ({bench.champion.quarter.name} if bench.champion else set())
    return [name for name in names if name in wanted]


def flags_of(text: str) -> Tensor:
    """Flags from their spelling as zeros and ones, (n,) bool."""
    return torch.tensor([one == "1" for one in text])


def _own(bench: Bench) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ids, labels and flags of this round's model, from its evaluation."""
    with np.load(bench.home / EVALUATE / SAMPLES, allow_pickle=False) as file:
        return tuple(torch.from_numpy(file[name]) for name in ("ids", "y", "clean", "robust"))  # type: ignore[return-value]


def _under_this_suite(bench: Bench, folder: Path, name: str, index: Tensor) -> tuple[Tensor, Tensor]:
    suite = suite_of(bench.plan.suite, bench.threat.norm)
    bench.watch(Begin(COMPARE, f"attack the model of {name}", len(index) * len(suite.attacks)))
    campaign = Campaign(
        bench.model(name),
        bench.data.test.on(bench.device),
        index.to(bench.device),
        suite,
        bench.threat,
        rng=stream(bench.recipe.seed, "judge"),
        batch_size=bench.recipe.judge.batch_size,
        journal=Journal(folder / ".parts" / name, name),
        stop=bench.stop,
    )
    for _ in campaign:
        bench.check()
    if campaign.findings is None:
        raise RuntimeError("the campaign ended without findings")
    return campaign.findings.clean, campaign.findings.robust


def _row(name: str, clean: Tensor, robust: Tensor) -> dict[str, Any]:
    return {
        "round": name,
        "clean": asdict(wilson(int(clean.sum()), len(clean))),
        "worst": asdict(wilson(int(robust.sum()), len(robust))),
        "clean_flags": _spelled(clean),
        "robust_flags": _spelled(robust),
    }


def _spelled(flags: Tensor) -> str:
    return "".join("1" if flag else "0" for flag in flags.tolist())


def _pair(robust: Tensor, other: Tensor) -> dict[str, Any]:
    """This model against an earlier one: images won and lost, McNemar's p, the difference with its interval."""
    found = paired(robust, other)
    difference = {"value": found.difference, "low": found.low, "high": found.high}
    return {"gained": found.only_first, "lost": found.only_second, "p": found.p, "difference": difference}


def _transfer(bench: Bench) -> dict[str, Any]:
    """Accuracy of each model (column) on the test images that broke each round's model (row)."""
    names = [*chosen(bench), bench.plan.round]
    size = bench.recipe.judge.batch_size
    answers = {name: at_batch(bench.model(name), size) for name in names}
    split = bench.data.test.on(bench.device)
    rows = []
    for name in names:
        ids, x_adv = _archived(bench, name)
        y = split.y.cpu()[ids]
        held = {other: _withstood(logits, x_adv.to(bench.device), y) for other, logits in answers.items()}
        rows.append({"round": name, "images": len(ids), "accuracy": held if len(ids) else {}})
    return {"models": names, "rows": rows}


def _archived(bench: Bench, name: str) -> tuple[Tensor, Tensor]:
    """The test images that broke the model of a round: ids and what the attacks made of them."""
    images = load_file(bench.rounds / name / EVALUATE / IMAGES)
    keys = sorted(key.removesuffix(".ids") for key in images if key.endswith(".ids") and not key.startswith("curve"))
    return torch.cat([images[f"{key}.ids"] for key in keys]), torch.cat([images[f"{key}.x_adv"] for key in keys])


def _withstood(logits: Callable[[Tensor], Tensor], x_adv: Tensor, y: Tensor) -> dict[str, float]:
    return asdict(wilson(int((logits(x_adv).argmax(dim=1).cpu() == y).sum()), len(y))) if len(y) else {}
