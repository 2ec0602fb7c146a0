"""The bank stage: the bank of the round before against the new model, then what this round found is added."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from harden.evaluation.evidence import IMAGES as TEST_IMAGES
from harden.evaluation.inference import at_batch
from harden.evaluation.paired import mcnemar
from harden.files import write_json
from harden.rounds import bank as banks
from harden.rounds.bank import PARTS, Bank
from harden.rounds.bench import BANK, EVALUATE, VALIDATE, Bench
from harden.rounds.stage import Done
from harden.rounds.validating import IMAGES

REPLAY = "replay.json"


def bank(bench: Bench, folder: Path) -> Done:
    """The grown bank, and which of its entries the new model fell for."""
    old = (
        banks.read(bench.rounds / bench.chain[-1].quarter.name / BANK) if bench.chain else banks.empty(bench.data.shape)
    )
    told: dict[str, Any] = {"entries": len(old), "rounds": {}}
    if len(old):
        told |= _replayed(bench, old)
    new = _found(bench)
    grown = banks.added(old, new)
    told |= {"found": len(new), "kept": len(grown) - len(old), "size": len(grown)}
    told["usable"] = len(grown.of_part("training"))
    told["parts"] = {name: len(grown.of_part(name)) for name in PARTS}
    banks.write(grown, folder)
    write_json(folder / REPLAY, told)
    return Done(told)


def _replayed(bench: Bench, old: Bank) -> dict[str, Any]:
    size = bench.recipe.judge.batch_size
    now = banks.still_breaks(old, at_batch(bench.model(bench.plan.round), size), bench.data, batch_size=size)
    told: dict[str, Any] = {"breaking": int(now.sum())}
    for record in bench.chain:
        here = old.round == record.number
        if here.any():
            told.setdefault("rounds", {})[record.quarter.name] = {
                "entries": int(here.sum()),
                "breaking": int(now[here].sum()),
            }
    if bench.champion is not None:
        before = banks.still_breaks(
            old, at_batch(bench.model(bench.champion.quarter.name), size), bench.data, batch_size=size
        )
        lost, gained = banks.regressions(before, now)
        told |= {"champion": bench.champion.quarter.name, "champion_breaking": int(before.sum())}
        told |= {"lost": lost, "gained": gained, "p": mcnemar(lost, gained)}
        told["regressions"] = _listed(old, now & ~before)
    return told


def _listed(old: Bank, lost: torch.Tensor) -> list[dict[str, Any]]:
    """The first regressions by source, for the review."""
    places = lost.nonzero().squeeze(1)[:20].tolist()
    return [
        {"part": PARTS[int(old.part[at])], "id": int(old.ids[at]), "label": int(old.y[at]), "round": int(old.round[at])}
        for at in places
    ]


def _found(bench: Bench) -> Bank:
    """What broke this round's model: on training, validation and test images."""
    probed = load_file(bench.home / VALIDATE / IMAGES)
    tested = load_file(bench.home / EVALUATE / TEST_IMAGES)
    number = len(bench.chain) + 1
    parts = [(probed[f"{name}.x_adv"], probed[f"{name}.ids"], code) for code, name in enumerate(PARTS[:2])]
    keys = sorted(name.removesuffix(".ids") for name in tested if name.endswith(".ids"))
    # images of the curve may lie outside the ball
    parts += [(tested[f"{key}.x_adv"], tested[f"{key}.ids"], 2) for key in keys if not key.startswith("curve")]
    x_adv, ids = torch.cat([x for x, _, _ in parts]), torch.cat([one for _, one, _ in parts])
    part = torch.cat([torch.full((len(one),), code) for _, one, code in parts])
    y = torch.zeros_like(ids)
    for split, here in ((bench.data.train, part < 2), (bench.data.test, part == 2)):
        y[here] = split.y.cpu()[ids[here]]
    return Bank(x_adv, y, ids, part, torch.full((len(ids),), number), {number: bench.threat})
