"""Names of other frameworks: a file of lines `old=new`, and layers that lie the other way around.

`dense/kernel=net.7.weight:10` also turns the tensor: `:10` swaps rows and columns, `:3201` makes (out, in, h, w)
of a convolution (h, w, in, out).
"""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from harden.errors import ConfigError, WeightsError
from harden.watermarking.wiring.channels import Weights

ORDER = re.compile(r"(?P<name>.*?):(?P<order>\d+)")


def read_names(path: Path) -> dict[str, str]:
    """The lines `old=new` of a file, as a mapping; raises ConfigError for another line."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"map: {path} cannot be read: {error}") from error
    return parse_names(text, where=str(path))


def parse_names(text: str, *, where: str) -> dict[str, str]:
    """`old=new`, one a line; empty lines and those that begin with # are left out."""
    names: dict[str, str] = {}
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        old, equals, new = (part.strip() for part in line.partition("="))
        if not (old and equals and new):
            raise ConfigError(f"map: {where}, line {number}: wanted old=new, got {line!r}")
        if old in names:
            raise ConfigError(f"map: {where}, line {number}: {old!r} is named twice")
        names[old] = new
    return names


def renamed(weights: Weights, names: Mapping[str, str], *, where: str) -> dict[str, Tensor]:
    """The tensors under their new names, turned where that is asked for; those without a new name keep theirs.

    Raises ConfigError for a name that the file lacks, for two tensors of one name, and for an order that does not fit.
    """
    if missing := [old for old in names if old not in weights]:
        raise ConfigError(f"map: {where} has no tensor {missing[0]!r}", f"it has {', '.join([*weights][:5])} ...")
    out: dict[str, Tensor] = {}
    for old, tensor in weights.items():
        new, order = _target(names.get(old, old), keep=old not in names)
        if new in out:
            raise ConfigError(f"map: two tensors of {where} would be called {new!r}")
        out[new] = _turned(tensor, order, old)
    return out


def _target(text: str, *, keep: bool) -> tuple[str, str]:
    found = None if keep else ORDER.fullmatch(text)
    return (found["name"], found["order"]) if found else (text, "")


def _turned(tensor: Tensor, order: str, old: str) -> Tensor:
    if not order:
        return tensor
    dims = [int(digit) for digit in order]
    if sorted(dims) != list(range(tensor.dim())):
        raise ConfigError(f"map: {old!r} has shape {tuple(tensor.shape)}, which {order!r} does not reorder")
    return tensor.permute(dims).contiguous()


def oriented(weights: Weights, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The tensors, matrices turned that have the wanted shape only the other way around.

    Square ones cannot be told apart so: say `:10` in the map. Raises WeightsError where `shapes` has names, and
    `weights` none of them.
    """
    if shapes and not shapes.keys() & weights.keys():
        raise WeightsError(
            f"no tensor is called as in the claim: it wants {', '.join([*shapes][:3])} ..., "
            f"the file has {', '.join([*weights][:3])} ...",
            "say map=FILE with lines old=new",
        )
    return {name: _oriented(tensor, shapes.get(name)) for name, tensor in weights.items()}


def _oriented(tensor: Tensor, shape: tuple[int, ...] | None) -> Tensor:
    turned = shape is not None and tensor.dim() == 2 == len(shape) and tuple(tensor.shape) == shape[::-1] != shape
    return tensor.T.contiguous() if turned else tensor
