"""Channels and the tensors that make and read them, as values."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

Weights = Mapping[str, Tensor]
STATISTICS = ("weight", "bias", "running_mean", "running_var")  # what a batch norm keeps per channel


@dataclass(frozen=True)
class Port:
    """Where channels meet a tensor: along `dim` of `name`, each channel `positions` times in a row."""

    name: str
    dim: int
    positions: int = 1


@dataclass(frozen=True)
class Norm:
    """A batch norm by the start of its tensors' names, and the number that it adds to a variance."""

    prefix: str
    eps: float

    def names(self, weights: Weights) -> list[str]:
        """Its tensors that `weights` hold."""
        return [name for one in STATISTICS if (name := f"{self.prefix}.{one}") in weights]


@dataclass(frozen=True)
class Span:
    """A stretch of an axis between layers, along which every channel has one scale.

    writers: weights and biases that make it, `behind` the norms that make it, `norms` those that read it, readers:
    weights that read it. `homogeneous`: only functions with f(s x) = s f(x), s > 0, lie on it; `odd`: f(-x) = -f(x).
    """

    writers: tuple[Port, ...]
    behind: tuple[Norm, ...]
    norms: tuple[Norm, ...]
    readers: tuple[Port, ...]
    homogeneous: bool
    odd: bool


@dataclass(frozen=True)
class Axis:
    """The channels that some tensors share. Those of the input and of the logits are `fixed`: they have a meaning."""

    name: str
    spans: tuple[Span, ...]
    fixed: bool

    @property
    def writers(self) -> tuple[Port, ...]:
        """Where its channels are made: dim 0 of weights and biases."""
        return tuple(port for span in self.spans for port in span.writers)

    @property
    def readers(self) -> tuple[Port, ...]:
        """Where its channels are read: dim 1 of weights."""
        return tuple(port for span in self.spans for port in span.readers)

    @property
    def norms(self) -> tuple[Norm, ...]:
        """The norms that its channels pass."""
        return tuple(norm for span in self.spans for norm in span.norms)

    def width(self, weights: Weights) -> int:
        """How many channels it has in `weights`."""
        return len(weights[self.writers[0].name])

    def makers(self, weights: Weights) -> tuple[Port, ...]:
        """All that determines a channel before it is read: the writers, and the norms' tensors."""
        kept = [Port(name, 0) for norm in self.norms for name in norm.names(weights)]
        return (*self.writers, *kept)


@dataclass(frozen=True)
class Wiring:
    """All axes of a network, in the order of the data."""

    axes: tuple[Axis, ...]

    @property
    def hidden(self) -> tuple[Axis, ...]:
        """The axes whose channels have no meaning outside of the network."""
        return tuple(axis for axis in self.axes if not axis.fixed)
