"""The published vectors: whoever implements docs/watermark.md must get these numbers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from harden.watermarking import WatermarkKey
from harden.watermarking.claim import Body, keys_of
from harden.watermarking.digest import digest_of
from harden.watermarking.key import Keystream
from harden.watermarking.layout import layout_from
from harden.watermarking.mark import Mark, pieces
from harden.watermarking.merkle import root_of
from harden.watermarking.verify import verify

VECTORS = Path(__file__).with_name("vectors.json")


def tensors() -> dict[str, torch.Tensor]:
    """Weights that a formula gives, for other implementations: ((7 j) mod 31 - 15) / 8, row by row."""
    numbers = (torch.arange(24 * 32) * 7 % 31 - 15).float() / 8
    return {"net.2.weight": numbers.reshape(24, 32), "net.4.weight": numbers[: 16 * 24].reshape(16, 6, 2, 2)}


def computed(secret: str, body: dict[str, Any], layout: list[dict[str, Any]]) -> dict[str, Any]:
    """What follows from the secret, the body and the layout."""
    claimed, laid = Body(**body), layout_from(layout)
    keys = keys_of(claimed, WatermarkKey(bytes.fromhex(secret)))
    mark = Mark(laid, claimed.payload, dict(enumerate(keys.leaf)), keys.slots, claimed.leaves)
    found = [list(pieces(mark, layer)) for layer in laid.layers]
    return {
        "claim_id": claimed.claim_id,
        "layout_digest": laid.digest,
        "leaf_0": keys.leaf[0].hex(),
        "slots": keys.slots.hex(),
        "trigger": keys.trigger.hex(),
        "root": root_of(keys.leaf).hex(),
        "stream": Keystream(keys.slots, "net.2.weight").read(32).tobytes().hex(),
        "digest": digest_of(tensors()),
        "first_slots": [some[0].slots[:16].tolist() for some in found],
        "first_pushes": [[int(one) for one in some[0].push[:16]] for some in found],
        "z": round(verify(tensors(), mark).blind.z, 4),
    }


def test_the_vectors_hold() -> None:
    told = json.loads(VECTORS.read_text())
    found = computed(told["secret"], told["body"], told["layout"])
    assert found.pop("z") == pytest.approx(told["result"].pop("z"), abs=1e-3)
    assert found == told["result"]
