"""What the tests of marks share: an owner, layers of Gaussian weights, and marks of claims over them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from harden.watermarking import Claim, Layout, Mark, Plan, WatermarkKey, claim_of, draw, layout_of, plan
from harden.watermarking.claim import Body

KEY = WatermarkKey(bytes(range(32)))


def signed(_message: bytes) -> bytes:
    """No signature at all."""
    return b"signed"


Made = tuple[dict[str, Tensor], Layout, Plan, Claim, Mark]


def gaussian(seed: int = 0, *, width: int = 64, inward: int = 32) -> dict[str, Tensor]:
    """A network of four layers of which two carry a mark, with rows and columns of very different sizes."""
    rng = torch.Generator().manual_seed(seed)
    shapes = {"a": (inward, 3, 3, 3), "b": (width, inward, 3, 3), "c": (2 * width, width * 4), "d": (10, 2 * width)}
    weights = {f"{name}.weight": torch.randn(shape, generator=rng) for name, shape in shapes.items()}
    weights["b.weight"] *= torch.rand(width, 1, 1, 1, generator=rng).exp() * 0.05
    weights["c.weight"] *= torch.rand(1, width * 4, generator=rng).exp() * 0.02
    return weights | {"b.bias": torch.randn(width, generator=rng)}


def body_of(layout: Layout, **fields: Any) -> Body:
    """A body with these fields; the nonce is `number`."""
    usual: dict[str, Any] = {
        **dict.fromkeys(("model_id", "sidecar_digest", "round", "recipient", "parent"), ""),
        "owner": "ab" * 32,
        "base_digest": "00" * 32,
        "layout_digest": layout.digest,
        "profile": "standard",
        "bits": 16,
        "leaves": 2,
        "created": 1_790_000_000,
        "nonce": "00" * 16,
    }
    return Body(**(usual | fields))


def mark_of(layout: Layout, nonce: int = 0, key: WatermarkKey = KEY, **fields: Any) -> Mark:
    """The mark of a claim that differs by its nonce."""
    body = body_of(layout, nonce=f"{nonce:032x}", **fields)
    return draw(key, claim_of(body, layout, key, public=b"public", sign=signed))


@pytest.fixture
def made() -> Callable[..., Made]:
    """Weights, their layout, a plan, a claim and its mark."""

    def make(seed: int = 0, **knobs: Any) -> Made:
        weights = gaussian(seed)
        layout = layout_of(weights)
        found = plan(layout.count, **knobs)
        body = body_of(layout, bits=found.bits, leaves=found.leaves)
        claim = claim_of(body, layout, KEY, public=b"public", sign=signed)
        return weights, layout, found, claim, draw(KEY, claim)

    return make


@pytest.fixture
def strangers() -> Callable[[Layout, int], list[Mark]]:
    """Marks of claims that have nothing to do with the weights."""
    return lambda layout, count: [
        mark_of(layout, number, WatermarkKey(np.random.default_rng(number).bytes(32))) for number in range(count)
    ]
