"""The files that prove an evaluation: flags per sample, and the images that broke the model.

`per_sample.npz` holds plain arrays, one row a sample: ids, y, predicted, clean, robust; for each attack
`<key>.flag` (-1 not attacked, 0 withstood, 1 broken) and `<key>.distance` (NaN where not broken).
`x_adv.safetensors` holds `<key>.ids` and `<key>.x_adv` of the samples that the attack broke.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from harden.errors import Untrusted
from harden.evaluation.campaign import Findings, Tried
from harden.evaluation.intervals import Accuracy
from harden.evaluation.journal import Part
from harden.files import canonical_json, sha256_of, write_bytes

FORMAT = "harden-evaluation/1"
EVALUATION, SAMPLES, IMAGES, REPORT = "evaluation.json", "per_sample.npz", "x_adv.safetensors", "report.html"
BOUND = "harden.evaluation"
"""The key under which the images' file says what it is evidence of."""


def write(
    folder: Path,
    findings: Findings,
    more: Mapping[str, Tensor],
    images: Mapping[str, Tensor],
    told: Mapping[str, Any],
) -> dict[str, str]:
    """Writes both files; the SHA-256 of each by name. `more`: further columns, (n,); `images`: further tensors.

    What `told` says was attacked, and how, goes into the images' file too.
    """
    columns = columns_of(findings) | {name: value.cpu() for name, value in more.items()}
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {name: value.numpy() for name, value in columns.items()}
    np.savez_compressed(buffer, **arrays)
    write_bytes(folder / SAMPLES, buffer.getvalue())
    tensors = _images(findings) | {name: value.contiguous() for name, value in images.items()}
    write_bytes(folder / IMAGES, bytes(save(tensors, metadata={BOUND: bound(told)})))
    return {name: sha256_of(folder / name) for name in (SAMPLES, IMAGES)}


def bound(told: Mapping[str, Any]) -> str:
    """Weights, data, threat, suite, seed and batch size in one spelling: what the images are evidence of."""
    parts = {"threat": told["threat"], "seed": told["seed"], "batch_size": told["batch_size"]}
    parts["asked"] = told["asked"]
    parts |= {"suite": {key: told["suite"][key] for key in ("name", "knobs", "cascade")}}
    parts |= {"weights": told["weights"]["sha256"], "data": told["data"]["digest"]}
    return canonical_json(parts).decode()


def bound_in(folder: Path) -> str:
    """What the images' file says that it is evidence of; "" where it says nothing."""
    with safe_open(folder / IMAGES, framework="pt") as file:
        return str((file.metadata() or {}).get(BOUND, ""))


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Tensor]]:
    """`evaluation.json`, the columns and the images of an evaluation, once their digests have been found right.

    Raises Untrusted where a file is missing, damaged or not the one that the evaluation speaks of.
    """
    told = _told(folder / EVALUATION)
    digests = told.get("digests")
    for name in (SAMPLES, IMAGES):
        wanted = digests.get(name) if isinstance(digests, dict) else None
        found = sha256_of(folder / name) if (folder / name).is_file() else "none: there is no such file"
        if found != wanted:
            raise Untrusted(
                f"{folder / name}: its digest is {found}, {EVALUATION} says {wanted}",
                "the evidence was changed or damaged: evaluate again",
            )
    try:
        with np.load(folder / SAMPLES, allow_pickle=False) as file:
            columns = {name: torch.from_numpy(file[name]) for name in file.files}
        return told, columns, load_file(folder / IMAGES)
    except (OSError, ValueError, TypeError, zipfile.BadZipFile, SafetensorError) as error:
        raise Untrusted(f"{folder}: the evidence cannot be read: {error}", "evaluate again") from error


def findings_of(told: Mapping[str, Any], columns: Mapping[str, Tensor], images: Mapping[str, Tensor]) -> Findings:
    """The findings that `write` was given, but for what only `evaluation.json` tells. KeyError where parts lack."""
    tried = tuple(_tried(one, columns, images) for one in told["attacks"])
    return Findings(columns["ids"], columns["y"], columns["predicted"], tried)


def columns_of(findings: Findings) -> dict[str, Tensor]:
    """What the findings say of each sample, by the names in `per_sample.npz`."""
    columns = {
        "ids": findings.ids,
        "y": findings.y,
        "predicted": findings.predicted,
        "clean": findings.clean,
        "robust": findings.robust,
    }
    for one in findings.tried:
        at = torch.searchsorted(findings.ids, one.part.ids)
        flag = torch.full((len(findings.ids),), -1, dtype=torch.int8)
        distance = torch.full((len(findings.ids),), torch.nan, dtype=torch.float64)
        flag[at], distance[at] = one.part.broken.to(torch.int8), one.part.distance
        columns |= {f"{one.key}.flag": flag, f"{one.key}.distance": distance}
    return columns


def _images(findings: Findings) -> dict[str, Tensor]:
    images = {}
    for one in findings.tried:
        images[f"{one.key}.ids"] = one.part.ids[one.part.broken].contiguous()
        images[f"{one.key}.x_adv"] = one.part.x_adv.contiguous()
    return images


def _tried(one: Mapping[str, Any], columns: Mapping[str, Tensor], images: Mapping[str, Tensor]) -> Tried:
    key = one["name"]
    flag = columns[f"{key}.flag"]
    attacked = flag >= 0
    if len(images[f"{key}.x_adv"]) != int((flag == 1).sum()):
        raise Untrusted(f"{IMAGES}: holds another number of images than {key} broke", "evaluate again")
    part = Part(
        columns["ids"][attacked],
        flag[attacked] == 1,
        columns[f"{key}.distance"][attacked],
        images[f"{key}.x_adv"],
        one["forward"],
        one["backward"],
        0.0,
        one["seconds"],
    )
    return Tried(key, one["label"], part, Accuracy(**one["accuracy"]))


def _told(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise Untrusted(
            f"{path}: there is no such file", "evidence=DIR names the folder of a finished evaluation"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise Untrusted(f"{path}: cannot be read: {error}", "evaluate again") from error
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise Untrusted(
            f"{path}: is no evaluation of format {FORMAT}", "evaluate again, or use the harden that wrote it"
        )
    return told
