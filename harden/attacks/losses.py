"""What attacks climb: one number per sample, from logits (n, classes) and labels (n,)."""

from enum import Enum

import torch
from torch import Tensor
from torch.nn import functional as F


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


def kl_divergence(logits: Tensor, reference: Tensor) -> Tensor:
    """KL(softmax(reference) || softmax(logits)) per sample, (n,)."""
    log_p, log_q = reference.float().log_softmax(1), logits.float().log_softmax(1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=1)
