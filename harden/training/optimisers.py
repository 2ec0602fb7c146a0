"""Optimisers, with weight decay on matrices and filters only."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from harden.errors import ConfigError


@dataclass(frozen=True)
class Optimiser(ABC):
    """The knobs of an optimiser; `lr` is the schedule's peak."""

    lr: float = 1e-3
    weight_decay: float = 5e-4

    def __post_init__(self) -> None:
        if not (0 < self.lr < math.inf and 0 <= self.weight_decay < math.inf):
            raise ConfigError(
                f"optim.lr must be > 0 and optim.weight_decay >= 0, got {self.lr:g} and {self.weight_decay:g}"
            )

    @abstractmethod
    def over(self, model: nn.Module) -> torch.optim.Optimizer:
        """The torch optimiser over the model's parameters."""


@dataclass(frozen=True)
class AdamW(Optimiser):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv 1711.05101)."""

    lr: float = 3e-3
    beta1: float = 0.9
    beta2: float = 0.999

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_shares(beta1=self.beta1, beta2=self.beta2)

    def over(self, model: nn.Module) -> torch.optim.Optimizer:
        """torch's fused AdamW."""
        groups, betas = _groups(model, self.weight_decay), (self.beta1, self.beta2)
        return torch.optim.AdamW(groups, lr=self.lr, betas=betas, fused=True)


@dataclass(frozen=True)
class Sgd(Optimiser):
    """Stochastic gradient descent with Nesterov momentum."""

    lr: float = 0.1
    momentum: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_shares(momentum=self.momentum)

    def over(self, model: nn.Module) -> torch.optim.Optimizer:
        """torch's fused SGD."""
        groups, nesterov = _groups(model, self.weight_decay), self.momentum > 0
        return torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, nesterov=nesterov, fused=True)


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Biases and normalisation gains are left out of the decay: shrinking them regularises nothing."""
    wanted = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in wanted if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in wanted if p.dim() <= 1], "weight_decay": 0.0},
    ]


def _check_shares(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ConfigError(f"optim.{name} must lie in [0, 1), got {value:g}")
