"""The wiring of a network, read off the graph that torch.fx traces.

Every value carries the axis of its channels and a span of it. Layers begin axes, norms begin spans, additions unite
them, and whatever is not known to keep channels apart is refused: a guess would be worse.
"""

import operator
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from harden.errors import ConfigError
from harden.watermarking.wiring.channels import Axis, Norm, Port, Span, Wiring

POSITIVE = (nn.ReLU, nn.LeakyReLU)  # f(s x) = s f(x) for s > 0
ODD = (nn.Tanh, nn.Hardtanh, nn.Softsign, nn.Tanhshrink)
EITHER = (nn.Identity, nn.Dropout, nn.Flatten, nn.AvgPool2d, nn.AdaptiveAvgPool2d)  # linear, channel by channel
POOLS = (nn.MaxPool2d, nn.AdaptiveMaxPool2d)
CURVED = (nn.SiLU, nn.GELU, nn.Softplus, nn.ELU, nn.Sigmoid, nn.Mish)
PLAIN: dict[Any, str] = {
    F.relu: "positive",
    torch.relu: "positive",
    "relu": "positive",
    torch.tanh: "odd",
    F.tanh: "odd",
    "tanh": "odd",
    torch.flatten: "either",
    "flatten": "either",
    F.avg_pool2d: "either",
    F.adaptive_avg_pool2d: "either",
    F.max_pool2d: "positive",
    F.silu: "curved",
    F.gelu: "curved",
    F.softplus: "curved",
}
SUMS = (operator.add, operator.iadd, torch.add, "add")


@dataclass
class _Part:
    """A span in the making."""

    writers: list[Port] = field(default_factory=list)
    behind: list[Norm] = field(default_factory=list)
    norms: list[Norm] = field(default_factory=list)
    readers: list[tuple[str, int]] = field(default_factory=list)  # tensor and how many columns it has
    homogeneous: bool = True
    odd: bool = True
    outside: bool = False


class _Union:
    """Classes of numbers, united one pair at a time."""

    def __init__(self) -> None:
        self.above: list[int] = []

    def new(self) -> int:
        self.above.append(len(self.above))
        return len(self.above) - 1

    def find(self, one: int) -> int:
        while self.above[one] != one:
            one = self.above[one]
        return one

    def unite(self, one: int, other: int) -> None:
        first, second = sorted((self.find(one), self.find(other)))
        self.above[second] = first


Value = tuple[int, int]
"""The axis and the span of what a node of the graph hands on."""


def wired(model: nn.Module) -> Wiring:
    """The wiring of `model`, with the names of its state dict; raises ConfigError where a layer cannot be followed."""
    try:
        graph = fx.Tracer().trace(model)
    except Exception as error:  # tracing runs the network's own code, which may fail in any way
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"the network's channels cannot be followed: {reason}", HINT) from error
    return _Walk(model, dict(model.named_modules())).over(graph)


HINT = "permutations and dummies are known for plain chains and residual networks of linear and convolution layers"


class _Walk:
    """One pass over a graph in its own order."""

    def __init__(self, model: nn.Module, modules: dict[str, nn.Module]) -> None:
        self.modules, self.state = modules, set(model.state_dict())
        self.axes, self.spans = _Union(), _Union()
        self.parts: list[_Part] = []
        self.axis_of: list[int] = []
        self.values: dict[fx.Node, Value] = {}

    def over(self, graph: fx.Graph) -> Wiring:
        for node in graph.nodes:
            self._visit(node)
        return Wiring(tuple(self._axes()))

    def _visit(self, node: fx.Node) -> None:
        match node.op:
            case "placeholder":
                self.values[node] = self._begin(outside=True)
            case "output":
                self._mark(self._before(node)[0], outside=True)
            case "call_module":
                self._module(node, self.modules[str(node.target)], str(node.target))
            case "call_function" | "call_method":
                self._function(node)

    def _module(self, node: fx.Node, module: nn.Module, name: str) -> None:
        value = self._before(node)[0]
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            self.values[node] = self._layer(value, module, name)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            norm = Norm(name, module.eps)
            self.parts[value[1]].norms.append(norm)
            self.values[node] = (value[0], self._span(value[0], _Part(behind=[norm])))
        else:
            self._through(node, value, _kind(module), name)

    def _layer(self, value: Value, module: nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d, name: str) -> Value:
        if getattr(module, "groups", 1) != 1:
            raise ConfigError(f"layer {name}: channels in groups cannot be followed", HINT)
        self.parts[value[1]].readers.append((f"{name}.weight", module.weight.shape[1]))
        names = [one for one in (f"{name}.weight", f"{name}.bias") if one in self.state]
        return self._begin(writers=[Port(one, 0) for one in names])

    def _function(self, node: fx.Node) -> None:
        values = self._before(node)
        if node.target in SUMS and len(values) == 2:
            (axis, span), (other_axis, other_span) = values
            self.axes.unite(axis, other_axis)
            self.spans.unite(span, other_span)
            self.values[node] = (axis, span)
        elif len(values) == 1 and node.target in PLAIN:
            self._through(node, values[0], PLAIN[node.target], str(node.target))
        elif len(values) == 1 and self.parts[values[0][1]].outside:
            self.values[node] = values[0]  # normalisation of the pixels
        else:
            raise ConfigError(f"{node.target} ({node.name}): channels cannot be followed through it", HINT)

    def _through(self, node: fx.Node, value: Value, kind: str, name: str) -> None:
        if not kind:
            raise ConfigError(f"layer {name} ({node.name}): channels cannot be followed through it", HINT)
        if kind != "either":
            self._mark(value, homogeneous=kind == "positive", odd=kind == "odd")
        self.values[node] = value

    def _mark(self, value: Value, *, homogeneous: bool = True, odd: bool = True, outside: bool = False) -> None:
        part = self.parts[value[1]]
        part.homogeneous &= homogeneous
        part.odd &= odd
        part.outside |= outside

    def _before(self, node: fx.Node) -> list[Value]:
        return [self.values[one] for one in node.all_input_nodes if one in self.values]

    def _begin(self, *, writers: list[Port] | None = None, outside: bool = False) -> Value:
        axis = self.axes.new()
        return axis, self._span(axis, _Part(writers=writers or [], outside=outside))

    def _span(self, axis: int, part: _Part) -> int:
        self.parts.append(part)
        self.axis_of.append(axis)
        return self.spans.new()

    def _axes(self) -> Iterator[Axis]:
        members: dict[int, dict[int, list[_Part]]] = defaultdict(lambda: defaultdict(list))
        for number, part in enumerate(self.parts):
            members[self.axes.find(self.axis_of[number])][self.spans.find(number)].append(part)
        for axis, spans in sorted(members.items()):
            parts = [part for group in spans.values() for part in group]
            width = self._width(parts)
            done = tuple(_span_of(group, width) for group in spans.values())
            yield Axis(str(axis), done, any(part.outside for part in parts))

    def _width(self, parts: list[_Part]) -> int:
        """The channels of an axis; 0 for the pixels, which nothing makes."""
        names = [port.name for part in parts for port in part.writers if port.name.endswith(".weight")]
        layers = [self.modules[name.removesuffix(".weight")] for name in names]
        return len(layers[0].weight) if layers else 0  # type: ignore[arg-type]


def _span_of(group: list[_Part], width: int) -> Span:
    gather: Callable[[str], tuple[Any, ...]] = lambda name: tuple(x for part in group for x in getattr(part, name))  # noqa: E731
    readers = tuple(Port(name, 1, columns // width if width else 1) for name, columns in gather("readers"))
    homogeneous, odd = all(part.homogeneous for part in group), all(part.odd for part in group)
    return Span(gather("writers"), gather("behind"), gather("norms"), readers, homogeneous, odd)


def _kind(module: nn.Module) -> str:
    kinds = {"positive": POSITIVE + POOLS, "odd": ODD, "either": EITHER, "curved": CURVED}
    return next((kind for kind, types in kinds.items() if isinstance(module, types)), "")
