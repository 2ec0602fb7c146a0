"""The model as the judge runs it: float32, eval mode, always the same number of images at once.

What a network answers can move in the last bit with the size of the batch, and a sample on the edge with it
(RobustBench issue 7, auto-attack issue 74). One size, recorded with the result, leaves no room for that.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from harden.attacks import Model, frozen
from harden.errors import WeightsError
from harden.evaluation.judge import exact
from harden.seeds import seeded, stream


class Steady(nn.Module):
    """`model`, which answers at random, averaged over `passes` passes that draw the same at every call.

    The mean of a vote is what such a model stands for (Athalye et al. 2018, arXiv 1707.07397, section 4), and with
    fixed draws it is a function again. What a row draws depends on its place in the batch, as it does in the
    model; of one image alone it is always the same. `draws` tells apart averages that draw otherwise.
    """

    def __init__(self, model: Model, passes: int, draws: int = 0) -> None:
        super().__init__()
        self.model, self.passes, self.draws = model, passes, draws

    def forward(self, x: Tensor) -> Tensor:
        """Mean logits, (n, classes)."""
        with seeded(stream(0, "steady", self.draws), x.device):
            return torch.stack([self.model(x) for _ in range(self.passes)]).mean(dim=0)


def judging_logits(model: Model, size: int, eot: int = 1, draws: int = 0) -> Callable[[Tensor], Tensor]:
    """What a judge asks: `at_batch`; of a model that answers at random, eot > 1, its mean, image by image.

    Image by image, so that what is said of one does not depend on which others are asked about with it.
    """
    return at_batch(model, size) if eot == 1 else at_batch(Steady(model, eot, draws), 1)


def at_batch(model: Model, size: int) -> Callable[[Tensor], Tensor]:
    """`model` run on exactly `size` images at once, however many are asked about; logits (n, classes) float32.

    The last batch is filled up with copies of its first image. Raises WeightsError where logits are not finite.
    """

    def logits(x: Tensor) -> Tensor:
        with exact(), frozen(model), torch.no_grad():
            parts = [model(_filled(part, size))[: len(part)].float() for part in torch.split(x, size)]
        out = torch.cat(parts)
        if not torch.isfinite(out).all():
            raise WeightsError("the model's logits are not finite", "the weights hold NaN or overflow on this data")
        return out

    return logits


def refuse_probabilities(logits: Tensor) -> None:
    """Raises WeightsError where every row of `logits`, (n, classes), is a probability distribution.

    An attack that takes a softmax of them once more sees gradients that have all but vanished.
    """
    sums = logits.double().sum(dim=1)
    logs = logits.double().exp().sum(dim=1)
    for kind, total, lowest in (("probabilities", sums, 0.0), ("log-probabilities", logs, -math.inf)):
        if logits.shape[1] > 1 and bool((logits >= lowest).all()) and bool(((total - 1).abs() < 1e-4).all()):
            raise WeightsError(
                f"the model returns {kind}, wanted logits", "leave the softmax out of the network: attacks need logits"
            )


def _filled(x: Tensor, size: int) -> Tensor:
    return x if len(x) == size else torch.cat([x, x[:1].expand(size - len(x), *x.shape[1:])])
