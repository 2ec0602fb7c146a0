"""The seal stage: the evaluated weights, sealed and signed as the next epoch of the programme, with a manifest.

What is sealed is what was evaluated: the digest of the plain file stands in the manifest's evidence and in the record.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harden.environment import environment
from harden.errors import HardenError, Untrusted
from harden.files import sha256_of
from harden.rounds.bench import SEAL, TRAIN, Bench
from harden.rounds.stage import Done, read_entry
from harden.rounds.training import TRAINING
from harden.sealing import Facts, Identity, Recipient, Signer, Trust, inspect, open_sealed, seal_file, verify
from harden.sealing.provenance import (
    Evidence,
    Manifest,
    check_against,
    manifest_path,
    read_manifest,
    write_manifest,
)
from harden.sealing.trust import OneSigner

SEALED = "model.sealed"


@dataclass(frozen=True)
class Keys:
    """Who signs, and who can open. identity: opens the file again to see that it holds what was evaluated, if given."""

    signer: Signer
    to: tuple[Recipient, ...]
    identity: Identity | None = None

    @property
    def trust(self) -> Trust:
        """Trust in the signer alone."""
        return OneSigner(self.signer.key)


def seal(bench: Bench, keys: Keys, folder: Path, facts: Mapping[str, str]) -> Done:
    """The sealed file and its manifest. `facts`: digests by name that are public and bound, such as the plan's."""
    weights, output = bench.weights(bench.plan.round), folder / SEALED
    parent = _parent(bench, keys)
    head = Facts(
        model_id=model_id(bench.plan.programme),
        epoch=len(bench.chain) + 1,
        parent=parent.h if parent else "",
        metadata={"round": bench.plan.round, **facts},
    )
    seal_file(weights, output, to=list(keys.to), facts=head, signer=keys.signer, overwrite=True)
    write_manifest(output, _evidence(bench), keys.signer, parent=parent, overwrite=True)
    if wrong := trouble(output, keys, sha256_of(weights)):
        raise Untrusted(f"{output}: {wrong}", "the machine or its libraries are at fault: do not publish the file")
    result = {
        "model_id": head.model_id,
        "epoch": head.epoch,
        "weights_sha256": sha256_of(weights),
        "signer": keys.signer.key.id,
        "suite": keys.signer.key.suite.name,
        "recipients": len(keys.to),
    }
    return Done(result, frozenset({SEALED, manifest_path(output).name}))


def trouble(sealed: Path, keys: Keys, wanted: str) -> str:
    """ "" where file and manifest verify and hold the weights of this digest; else what is wrong, in a sentence."""
    try:
        verify(sealed, keys.trust)
        manifest = read_manifest(manifest_path(sealed), keys.trust)
        check_against(manifest, inspect(sealed))
        if keys.identity is not None:
            with open_sealed(sealed, keys.identity, trust=keys.trust) as tensors:
                return "" if _digest(tensors.pieces()) == wanted else "holds other weights than those evaluated"
    except HardenError as error:
        return error.message
    return "" if manifest.evidence.weights in ("", wanted) else "its manifest names other weights"


def model_id(programme: str) -> str:
    """The programme's name as sealed files spell it."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", programme)[:64]


def _digest(pieces: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _parent(bench: Bench, keys: Keys) -> Manifest | None:
    """The manifest of the round before, believed: it must still be the one that the record names."""
    if not bench.chain:
        return None
    home = bench.rounds / bench.chain[-1].quarter.name
    read_entry(home, SEAL)
    return read_manifest(manifest_path(home / SEAL / SEALED), keys.trust)


def _evidence(bench: Bench) -> Evidence:
    """How the model came about; without the digest of the plain weights, by which strangers could know them."""
    code = environment().get("commit", "")
    return Evidence(
        data={bench.data.name: bench.data.digest},
        code=code,
        configuration=sha256_of(bench.home / "plan" / "plan.json"),
        recipe=bench.recipe.digest,
        summary=sha256_of(bench.home / TRAIN / TRAINING),
    )
