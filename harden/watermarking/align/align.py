"""A suspect's layers in the order, orientation and shape of the sidecar's."""

import torch
from torch import Tensor

from harden.watermarking.align.matching import Matcher, axes_of
from harden.watermarking.align.merging import Kept, Neurons, cleaned
from harden.watermarking.align.tables import Side, placed, split, table
from harden.watermarking.layout import Layer, Layout, Weights

NORM_EPS = 1e-5  # torch's default; no file says it


def align(suspect: Weights, sidecar: Weights, layout: Layout) -> dict[str, Tensor]:
    """The layout's tensors of `suspect`, float32, such that they look most like `sidecar`, the unmarked network.

    Beside each layer stands the scale of the norm behind it, moved and turned alike: its sign belongs to the mark.
    Channels are permuted and turned around, merged where a suspect is wider, and zero where it is narrower; scales
    are left to the balanced form. Layers that either lacks, or whose rank or positions differ, are left out.
    """
    layers = [layer for layer in layout.layers if _comparable(layer, suspect, sidecar)]
    if not layers:
        return {}
    known = Layout(tuple(layers))
    raw = {layer.name: suspect[layer.name].float() for layer in layers}
    raw |= {one.norm: suspect[one.norm].float() for one in layers if _has_norm(one, suspect)}
    raw = _narrowed(raw, suspect, sidecar, known)
    matcher = Matcher(
        {layer.name: table(sidecar[layer.name].float(), layer) for layer in layers},
        {layer.name: table(raw[layer.name], layer) for layer in layers},
        axes_of(known),
    )
    places = matcher.match()
    out = {}
    for layer in layers:
        values = split(raw[layer.name], layer)
        for dim in (0, 1):
            values = placed(values, dim, places[Side(layer.name, dim)])
        out[layer.name] = values.reshape(sidecar[layer.name].shape)
        if layer.norm in raw:
            rows = places[Side(layer.name, 0)]
            out[layer.norm] = raw[layer.norm][rows.order.clamp_min(0)] * rows.sign
    return out


def _has_norm(layer: Layer, suspect: Weights) -> bool:
    found = suspect.get(layer.norm) if layer.norm else None
    return found is not None and found.shape == suspect[layer.name].shape[:1]


def _comparable(layer: Layer, suspect: Weights, sidecar: Weights) -> bool:
    if layer.name not in suspect or layer.name not in sidecar:
        return False
    mine, theirs = suspect[layer.name].shape, sidecar[layer.name].shape
    return len(mine) == len(theirs) and mine[2:] == theirs[2:] and mine[1] % layer.positions == 0


def _narrowed(raw: dict[str, Tensor], suspect: Weights, sidecar: Weights, layout: Layout) -> dict[str, Tensor]:
    """The layers without the neurons that were added, axis by axis."""
    by_name = {layer.name: layer for layer in layout.layers}
    out = dict(raw)
    for sides in axes_of(layout).values():
        widths = {(_width(out, by_name, side), _width(sidecar, by_name, side)) for side in sides}
        if len(widths) != 1 or (width := widths.pop())[0] <= width[1]:
            continue
        kept = cleaned(_neurons(sides, out, suspect, by_name), width[1])
        _apply(out, kept, sides, by_name)
    return out


def _width(weights: Weights, layers: dict[str, Layer], side: Side) -> int:
    layer, shape = layers[side.layer], weights[side.layer].shape
    return shape[0] if side.dim == 0 else shape[1] // layer.positions


def _neurons(sides: list[Side], raw: Weights, suspect: Weights, layers: dict[str, Layer]) -> Neurons:
    """All that is known of the channels of one axis."""
    writers = [side.layer for side in sides if side.dim == 0]
    width = _width(raw, layers, sides[0])
    rows = [raw[name].flatten(1) for name in writers]
    if not writers:
        readers = [side.layer for side in sides]
        writers = _outside_writer(suspect, readers, width, layers)
        rows = [suspect[name].float().flatten(1) for name in writers]
    norms = [layers[name].norm if name in layers else "" for name in writers]
    effective = [_effective(*each, suspect) for each in zip(rows, writers, norms, strict=True)]
    outward = {
        side.layer: split(raw[side.layer], layers[side.layer]).transpose(0, 1).flatten(1)
        for side in sides
        if side.dim == 1
    }
    return Neurons(torch.cat(effective, dim=1) if effective else None, outward)


def _effective(rows: Tensor, name: str, norm: str, suspect: Weights) -> Tensor:
    """Kernels and bias of a layer's neurons, as they act behind its norm, (channels, columns + 1)."""
    bias = _vector(suspect, name.removesuffix("weight") + "bias", len(rows), 0.0)
    if norm.removesuffix("weight") + "running_var" in suspect:
        stem = norm.removesuffix("weight")
        factor = _vector(suspect, norm, len(rows), 1.0)
        factor = factor / (_vector(suspect, f"{stem}running_var", len(rows), 1.0) + NORM_EPS).sqrt()
        mean = _vector(suspect, f"{stem}running_mean", len(rows), 0.0)
        rows, bias = rows * factor[:, None], (bias - mean) * factor + _vector(suspect, f"{stem}bias", len(rows), 0.0)
    return torch.cat([rows, bias[:, None]], dim=1)


def _vector(suspect: Weights, name: str, width: int, otherwise: float) -> Tensor:
    found = suspect.get(name)
    return torch.full((width,), otherwise) if found is None or found.shape != (width,) else found.float()


def _outside_writer(suspect: Weights, readers: list[str], width: int, layers: dict[str, Layer]) -> list[str]:
    """The layer right before the first reader that has as many rows as that has inputs, such as the first of all."""
    names = [
        name
        for name, tensor in suspect.items()
        if tensor.is_floating_point() and tensor.dim() >= 2 and len(tensor) == width and name not in layers
    ]
    order = list(suspect)
    before = [name for name in names if order.index(name) < min(order.index(reader) for reader in readers)]
    return (before or names)[-1:]


def _apply(out: dict[str, Tensor], kept: Kept, sides: list[Side], layers: dict[str, Layer]) -> None:
    for side in sides:
        values, layer = out[side.layer], layers[side.layer]
        if side.dim == 0:
            out[side.layer] = values[kept.index]
            if layer.norm in out:
                out[layer.norm] = out[layer.norm][kept.index]
        else:
            table = split(values, layer)
            rows = kept.outward[side.layer].to(values.dtype).reshape(len(kept.index), len(values), table.shape[2])
            out[side.layer] = rows.transpose(0, 1).reshape(len(values), -1, *values.shape[2:])
