"""Detectors that are trained on marked and unmarked networks, and the area under their curve on networks left out.

Three kinds: logistic regression and a random forest on statistics of each layer, as the weights are stored and in
balanced form; and a small network on sorted weights (after RIGA, Wang and Kerschbaum 2021, arXiv 1910.14268).
"""

import math
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harden.seeds import Stream
from harden.watermarking.balance import balanced
from harden.watermarking.wiring.channels import Weights

FOLDS = 10
SORTED = 128
"""Quantiles of each layer that the network on sorted weights sees."""
NEAR_ZERO = (0.05, 0.2)
"""The mass below these shares of the standard deviation."""


@dataclass(frozen=True)
class Detected:
    """A detector and the area under its curve over networks that it had not seen; `error` is Hanley and McNeil's."""

    detector: str
    auc: float
    error: float


def detect(
    unmarked: Sequence[Weights], marked: Sequence[Weights], names: Collection[str], *, rng: Stream
) -> list[Detected]:
    """How well each detector tells the two apart by the layers `names`, in 10-fold cross-validation.

    Where both come from the same networks, in the same order, a network and its marked twin are in one fold.
    Raises ValueError with fewer than 10 of either.
    """
    if min(len(unmarked), len(marked)) < FOLDS:
        raise ValueError(f"a detector needs {FOLDS} networks of either kind, got {len(unmarked)} and {len(marked)}")
    everything = [*unmarked, *marked]
    y = np.array([0] * len(unmarked) + [1] * len(marked))
    groups = np.array([*range(len(unmarked)), *range(len(marked))])
    tables = {
        "statistics": np.stack([statistics(one, names) for one in everything]),
        "sorted": np.stack([sorted_weights(one, names) for one in everything]),
    }
    out = []
    for name, (table, detector) in _detectors(rng).items():
        scores = _left_out(detector, tables[table], y, groups)
        area = auc(scores[y == 0], scores[y == 1])
        out.append(Detected(name, area, _error(area, len(unmarked), len(marked))))
    return out


def statistics(weights: Weights, names: Collection[str]) -> Any:
    """Log variance, kurtosis and mass near zero of each layer, as stored and balanced, (features,)."""
    forms = (form for name in names for form in (weights[name].float(), balanced(weights[name].float())))
    return np.array([number for form in forms for number in _moments(form)])


def _moments(form: Tensor) -> list[float]:
    flat = form.flatten().double()
    std = flat.std()
    scaled = (flat - flat.mean()) / std.clamp_min(1e-12)
    near = [float((scaled.abs() < limit).double().mean()) for limit in NEAR_ZERO]
    return [float(std.clamp_min(1e-12).log()), float(scaled.pow(4).mean()), float(scaled.abs().mean()), *near]


def sorted_weights(weights: Weights, names: Collection[str]) -> Any:
    """Quantiles of each layer's weights as stored, (features,)."""
    at = torch.linspace(0, 1, SORTED)
    pieces = []
    for name in names:
        flat = weights[name].flatten().float().sort().values
        pieces.append(flat[(at * (len(flat) - 1)).round().long()])
    return torch.cat(pieces).double().numpy()


def _detectors(rng: Stream) -> Mapping[str, tuple[str, Any]]:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    seed = rng.key % 2**31
    network = MLPClassifier((32,), alpha=1.0, solver="lbfgs", max_iter=100, random_state=seed)
    return {
        "logistic regression": ("statistics", make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000))),
        "random forest": ("statistics", RandomForestClassifier(100, random_state=seed)),
        "network on sorted weights": ("sorted", make_pipeline(StandardScaler(), network)),
    }


def _left_out(detector: Any, x: Any, y: Any, groups: Any) -> Any:
    """The score of every network by a detector that was fitted without its fold."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import GroupKFold, cross_val_predict

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # to stop early is what keeps the network from learning all
        scores = cross_val_predict(detector, x, y, groups=groups, cv=GroupKFold(FOLDS), method="predict_proba")
    return scores[:, 1]


def auc(unmarked: Any, marked: Any) -> float:
    """The chance that a marked network scores above an unmarked one, ties counting half (Mann and Whitney 1947)."""
    above = (marked[:, None] > unmarked[None, :]).mean()
    return float(above + 0.5 * (marked[:, None] == unmarked[None, :]).mean())


def _error(area: float, negatives: int, positives: int) -> float:
    """The standard error of an area under a curve (Hanley and McNeil 1982, Radiology 143)."""
    two_marked, two_unmarked = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (positives - 1) * (two_marked - area**2) + (negatives - 1) * (two_unmarked - area**2)
    return math.sqrt(max(spread, 0.0) / (negatives * positives))
