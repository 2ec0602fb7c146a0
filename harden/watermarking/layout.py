"""Which weights carry a mark: a list of layers with their shapes, and what belongs to each. It is part of the claim.

Eligible are the weights of convolutions and linear layers but for the first, which is sensitive, and the last, which
thieves replace. No network is needed: names and shapes tell. Where they tell too little, such as which norm stands
behind a layer of a residual block, a layer has none, and only the sign flips of that layer go unnoticed.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from math import prod
from typing import Any

from torch import Tensor

from harden.errors import WatermarkError
from harden.files import canonical_json

Weights = Mapping[str, Tensor]
"""Tensors by name, on the CPU."""

LEAST = 256
"""Entries below which a tensor is left alone."""

WIDEST_IMAGE = 4  # channels; a convolution of so few inputs reads pixels
ATTENTION = re.compile(r"attn|attention|in_proj|q_proj|query|pos_embed")


@dataclass(frozen=True)
class Layer:
    """A tensor that carries a part of the mark, (out, in, *kernel).

    Layers with equal axis ids share channels. `positions`: columns an input channel, where a flattened image of
    channels is read, else 1. `norm`: the scale, (out,), of the norm right behind; `bias`: its bias; "" for none.
    """

    name: str
    shape: tuple[int, ...]
    out_axis: str
    in_axis: str
    positions: int = 1
    norm: str = ""
    bias: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))

    @property
    def count(self) -> int:
        """How many weights."""
        return prod(self.shape)


@dataclass(frozen=True)
class Layout:
    """The layers that carry a mark, in the order in which they are told."""

    layers: tuple[Layer, ...]

    @property
    def count(self) -> int:
        """N, the number of weights that carry the mark."""
        return sum(layer.count for layer in self.layers)

    @property
    def digest(self) -> str:
        """SHA3-256 of the canonical JSON, in hex."""
        return hashlib.sha3_256(canonical_json(self.plain())).hexdigest()

    def plain(self) -> list[dict[str, Any]]:
        """The layers as JSON values."""
        return [asdict(layer) | {"shape": list(layer.shape)} for layer in self.layers]

    def encode(self) -> bytes:
        """The canonical JSON of the layers."""
        return canonical_json(self.plain())

    @staticmethod
    def decode(data: bytes) -> "Layout":
        """What `encode` wrote; ValueError for other bytes."""
        return layout_from(json.loads(data))


def layout_from(plain: Any) -> Layout:
    """The layout whose `plain` it is; ValueError for anything else."""
    try:
        layers = tuple(Layer(**{**entry, "shape": tuple(entry["shape"])}) for entry in plain)
        sound = bool(layers) and all(map(_is_sound, layers)) and len({one.name for one in layers}) == len(layers)
    except (TypeError, KeyError) as error:
        raise ValueError("not a layout") from error
    if not sound:
        raise ValueError("not a layout")
    return Layout(layers)


def _is_sound(layer: Layer) -> bool:
    texts = (layer.name, layer.out_axis, layer.in_axis, layer.norm, layer.bias)
    sizes = (*layer.shape, layer.positions)
    counts = all(type(size) is int and 1 <= size < 2**48 for size in sizes)
    return counts and len(layer.shape) >= 2 and all(isinstance(text, str) for text in texts)


def layout_of(weights: Weights, *, skip: Collection[str] = ()) -> Layout:
    """The layers of `weights` that can carry a mark; `skip` are names of tensors to be left alone too.

    Raises WatermarkError where there is none, or where the network has attention, whose symmetries this version
    does not know.
    """
    if heads := [name for name in weights if ATTENTION.search(name)]:
        raise WatermarkError(
            f"tensor {heads[0]!r} belongs to a transformer, and marks of this version are for convolutions and "
            "linear layers",
            "attention can be rotated without a change of the function, which would hide the mark",
        )
    found = [_layer(weights, name) for name in _matrices(weights)]
    between = _without_ends(found)
    chained = list(_chained(between))
    layers = tuple(one for one in chained if one.count >= LEAST and one.name not in skip)
    if not layers:
        raise WatermarkError(
            f"there is no layer to be marked: {len(found)} convolutions and linear layers, of which the first and the "
            f"last are left alone, and so are those below {LEAST} weights",
            "a mark needs a network with a layer between its first and its last",
        )
    return Layout(layers)


def _matrices(weights: Weights) -> list[str]:
    """The names of convolutions' and linear layers' weights, in the order that people would count."""
    names = (name for name, tensor in weights.items() if tensor.is_floating_point() and 2 <= tensor.dim() <= 5)
    return sorted((name for name in names if name.split(".")[-1] == "weight"), key=_natural)


def _natural(name: str) -> list[tuple[int, int, str]]:
    """So that net.10 stands behind net.2."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part]


def _layer(weights: Weights, name: str) -> Layer:
    shape = tuple(weights[name].shape)
    bias = name.removesuffix("weight") + "bias"
    return Layer(
        name,
        shape,
        out_axis=f"{name}:out",
        in_axis=f"{name}:in",
        norm=_norm_behind(weights, name, shape[0]),
        bias=bias if bias in weights and tuple(weights[bias].shape) == (shape[0],) else "",
    )


def _norm_behind(weights: Weights, name: str, channels: int) -> str:
    """The scale of the norm behind: net.1 behind net.0, bn2 or norm2 behind conv2 of networks that norm afterwards."""
    *parents, own, _ = [*name.split(".")] if "." in name else ["", name, ""]
    guesses = [str(int(own) + 1)] if own.isdigit() else []
    if number := re.fullmatch(r"conv(\d*)", own):
        guesses.append(f"bn{number[1]}")
    for guess in guesses:
        prefix = ".".join([*parents, guess])
        scale = f"{prefix}.weight"
        if f"{prefix}.running_var" in weights and scale in weights and tuple(weights[scale].shape) == (channels,):
            return scale
    return ""


def _without_ends(layers: list[Layer]) -> list[Layer]:
    """All but the first and the last: the one that reads pixels, and the one behind which there is nothing."""
    if len(layers) < 3:
        return []
    readers = [one for one in layers if len(one.shape) > 2 and one.shape[1] <= WIDEST_IMAGE < one.shape[0]]
    linear = [one for one in layers if len(one.shape) == 2]
    first = readers[0] if readers else layers[0]
    last = linear[-1] if linear else layers[-1]
    return [one for one in layers if one not in (first, last)]


def _chained(layers: list[Layer]) -> Iterator[Layer]:
    """The layers with the axes of a chain: what one puts out is what the next reads, where the numbers allow it."""
    before: Layer | None = None
    for layer in layers:
        if before and _follows(before, layer):
            layer = replace(layer, in_axis=before.out_axis, positions=layer.shape[1] // before.shape[0])
        yield layer
        before = layer


def _follows(before: Layer, layer: Layer) -> bool:
    inward, outward = layer.shape[1], before.shape[0]
    flattens = len(layer.shape) == 2 and len(before.shape) > 2
    return inward == outward or (flattens and inward % outward == 0)
