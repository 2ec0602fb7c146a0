"""The steps that attempts are made of. A step is its parameters; called, it changes weights."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any, TypeVar

import torch
from torch import Tensor

from harden.seeds import Stream
from harden.watermarking.edits import blunt, dummies, formats, free, mixing
from harden.watermarking.edits.kernels import kernels_of
from harden.watermarking.edits.tuning import Tuning
from harden.watermarking.readers.names import oriented, renamed
from harden.watermarking.wiring.channels import Weights, Wiring

T = TypeVar("T")

Tune = Callable[[Weights, Tuning], Mapping[str, Tensor]]
"""Weights and a recipe -> the weights after it; from whoever holds the data."""
Overwrite = Callable[[Weights, int], Mapping[str, Tensor]]
"""Weights -> the weights with the mark of stranger number n on top."""


class NotHere(Exception):
    """A step needs what the attacker does not have; the message names it."""


@dataclass(frozen=True)
class Ground:
    """What the attacker has besides the weights; None and empty: has not.

    sibling: an unmarked network of the same architecture. copies: those of other recipients. shown: what a disclosed
    leaf added to the weights. sidecar: the layers before embedding, stolen.
    """

    wiring: Wiring | None = None
    tune: Tune | None = None
    overwrite: Overwrite | None = None
    sibling: Weights | None = None
    copies: Sequence[Weights] = field(default=())
    shown: Weights | None = None
    sidecar: Weights | None = None


@dataclass(frozen=True)
class Step(ABC):
    """One thing that is done to weights."""

    @abstractmethod
    def __call__(self, weights: Weights, ground: Ground, *, rng: Stream) -> dict[str, Tensor]:
        """The weights after it; raises NotHere where the ground lacks what it needs."""

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters as plain values."""
        return {name: value.value if isinstance(value, Enum) else value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Round(Step):
    """Stored as fp16 or bf16."""

    dtype: str

    def __call__(self, weights: Weights, ground: Ground, *, rng: Stream) -> dict[str, Tensor]:
        return formats.rounded(weights, {"fp16": torch.float16, "bf16": torch.bfloat16}[self.dtype])


@dataclass(frozen=True)
class Quantise(Step):
    """Stored as integers of a few bits, with a scale a channel."""

    bits: int

    def __call__(self, weights: Weights, ground: Ground, *, rng: Stream) -> dict[str, Tensor]:
        return formats.quantised(weights, self.bits)


@dataclass(frozen=True)
class Fold(Step):
    """Batch norms folded into the layers before them."""

    def __call__(self, weights: Weights, ground: Ground, *, rng: Stream) -> dict[str, Tensor]:
        return formats.folded(weights, wiring_of(ground))


@dataclass(frozen=True)
class Relabel(Step):
    """Another framework's names and transposed linear layers, read back through a map."""

    def __call__(self, weights: Weights, ground: Ground, *, rng: Stream) -> dict[str, Tensor]:
        linear = [name for name in kernels_of(weights) if weights[name].dim() == 2]
        theirs, back = formats.relabelled(weights, transpose=linear)
        ours = {old: f"{new}:10" if new in linear else new for old, new in back.items()}
        return oriented(renamed(theirs, ours, where="the copy"), {})


@dataclass(frozen=True)
class Prune(Step):
    """The smallest weights set to zero."""

    share: float
    by_layer: bool = False

    def __call__(self, weights: Weights, ground: Ground, *, rng: Stream) -> dict[str, Tensor]:
        return (blunt.pruned_by_layer if self.by_layer else blunt.pruned)(weights, self.share)


@dataclass(frozen=True)
class Noise(Step):
    """Gaussian noise, in standard deviations of each kernel."""

    deviations: float

    def __call__(self, weights: Weights, ground: Ground, *, rng: Stream) -> dict[str, Tensor]:
        return blunt.noisy(weights, self.deviations, rng=rng)


@dataclass(frozen=True)
class Shift(Step):
    """Weight shifting."""

    strength: float

    def __call__(self, weights: Weights, ground: Ground, *, rng: Stream) -> dict[str, Tensor]:
        return blunt.shifted(weights, self.strength, rng=rng)


@dataclass(frozen=True)
class Rescale(Step):
    """Every channel times a factor of its own."""

    low: float = 1e-3
    high: float = 1e3

    def __call__(self, weights: Weights, ground: Ground, *, rng: Stream) -> dict[str, Tensor]:
        return free.rescaled(weights, wiring_of(ground), rng=rng, low=self.low, high=self.high)


@dataclass(frozen=True)
class Permute(Step):
    """The channels in another order."""

    def __call__(self, weights: Weights, ground: Ground, *, rng: Stream) -> dict[str, Tensor]:
        return free.permuted(weights, wiring_of(ground), rng=rng)


@dataclass(frozen=True)
class Flip(Step):
    """Half of the channels with the other sign, where the network allows it."""

    def __call__(self, weights: Weights, ground: Ground, *, rng: Stream) -> dict[str, Tensor]:
        return free.flipped(weights, wiring_of(ground), rng=rng)


@dataclass(frozen=True)
class Dummies(Step):
    """Neurons that change nothing: zero, clique or split."""

    kind: str
    share: float = 0.3

    def __call__(self, weights: Weights, ground: Ground, *, rng: Stream) -> dict[str, Tensor]:
        add = {"zero": dummies.zeros, "clique": dummies.cliques, "split": dummies.splits}[self.kind]
        return add(weights, wiring_of(ground), self.share, rng=rng)


@dataclass(frozen=True)
class Overwritten(Step):
    """Marks of strangers on top, one after the other."""

    times: int

    def __call__(self, weights: Weights, ground: Ground, *, rng: Stream) -> dict[str, Tensor]:
        out, overwrite = weights, needed(ground.overwrite, "an embedder of other marks")
        for number in range(self.times):
            out = overwrite(out, number)
        return dict(out)


@dataclass(frozen=True)
class MixSibling(Step):
    """Averaged with an unmarked network of the same architecture."""

    own: float = 0.5

    def __call__(self, weights: Weights, ground: Ground, *, rng: Stream) -> dict[str, Tensor]:
        return mixing.averaged(weights, [needed(ground.sibling, "an unmarked sibling")], own=self.own)


@dataclass(frozen=True)
class Collude(Step):
    """Averaged with the copies of other recipients."""

    copies: int

    def __call__(self, weights: Weights, ground: Ground, *, rng: Stream) -> dict[str, Tensor]:
        if len(ground.copies) < self.copies - 1:
            raise NotHere(f"{self.copies - 1} copies of other recipients")
        return mixing.averaged(weights, ground.copies[: self.copies - 1])


@dataclass(frozen=True)
class Subtract(Step):
    """A disclosed leaf taken away."""

    def __call__(self, weights: Weights, ground: Ground, *, rng: Stream) -> dict[str, Tensor]:
        return mixing.less(weights, needed(ground.shown, "a disclosed leaf"))


@dataclass(frozen=True)
class Restore(Step):
    """The layers of a stolen sidecar put back."""

    def __call__(self, weights: Weights, ground: Ground, *, rng: Stream) -> dict[str, Tensor]:
        sidecar = needed(ground.sidecar, "the sidecar, which is secret")
        return {**weights, **{name: tensor.to(weights[name].dtype) for name, tensor in sidecar.items()}}


@dataclass(frozen=True)
class Tuned(Step):
    """Trained on."""

    recipe: Tuning

    def __call__(self, weights: Weights, ground: Ground, *, rng: Stream) -> dict[str, Tensor]:
        return dict(needed(ground.tune, "data to train on")(weights, self.recipe))

    @property
    def parameters(self) -> dict[str, Any]:
        """What differs from the recipe's defaults."""
        usual = asdict(Tuning(1, rate=1.0)) | {"rate": None, "epochs": None}
        mine = {name: getattr(value, "value", value) for name, value in asdict(self.recipe).items()}
        return {name: value for name, value in mine.items() if value != getattr(usual[name], "value", usual[name])}


def wiring_of(ground: Ground) -> Wiring:
    """How the network's channels hang together; NotHere where that is not known."""
    return needed(ground.wiring, "a network whose channels can be followed")


def needed(value: T | None, what: str) -> T:
    """The value, if the attacker has it; raises NotHere with its name."""
    if value is None:
        raise NotHere(what)
    return value
