"""What attacks climb: one number per sample, from logits (n, classes) and labels (n,)."""

from enum import Enum

import torch
from torch import Tensor
from torch.nn import functional as F

TINY = 1e-12
"""Keeps ratios of logits finite where all are equal."""


class Loss(Enum):
    """The loss an attack climbs."""

    ce = "ce"
    margin = "margin"

    def __call__(self, logits: Tensor, y: Tensor) -> Tensor:
        """The loss per sample, (n,) float32."""
        return {Loss.ce: cross_entropy, Loss.margin: margin}[self](logits, y)


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """-log softmax(logits)[y], (n,); computed in float32 also under autocast."""
    return F.cross_entropy(logits.float(), y, reduction="none")


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """max over j != y of z_j - z_y, (n,): positive exactly where the label is not the prediction.

    Its gradient does not vanish where softmax saturates (Carlini and Wagner 2017, arXiv 1608.04644, f6).
    """
    logits = logits.float()
    own = logits.gather(1, y[:, None]).squeeze(1)
    others = logits.scatter(1, y[:, None], -torch.inf)
    return others.amax(dim=1) - own


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """The difference-of-logits ratio, (n,): the margin over the gap between first and third logit.

    Neither a shift nor a scale of the logits changes it. At least 3 classes (Croce and Hein 2020, arXiv
    2003.01690, equation 6).
    """
    logits = logits.float()
    ranked = logits.sort(dim=1, descending=True).values
    return margin(logits, y) / (ranked[:, 0] - ranked[:, 2] + TINY)


def targeted_dlr(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """How far `target` is ahead of the label, over the gap between the first logit and the mean of third and fourth.

    (n,); at least 4 classes (Croce and Hein 2020, equation 7).
    """
    logits = logits.float()
    ranked = logits.sort(dim=1, descending=True).values
    ahead = (logits.gather(1, target[:, None]) - logits.gather(1, y[:, None])).squeeze(1)
    return ahead / (ranked[:, 0] - 0.5 * (ranked[:, 2] + ranked[:, 3]) + TINY)


def kl_divergence(logits: Tensor, reference: Tensor) -> Tensor:
    """KL(softmax(reference) || softmax(logits)) per sample, (n,)."""
    log_p, log_q = reference.float().log_softmax(1), logits.float().log_softmax(1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=1)
