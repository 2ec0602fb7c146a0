"""What a plan will cost, before it is run: passes counted, the time of a pass measured on the plan's own network."""

import math
import time

import torch

from harden.data import DataSet
from harden.models import Classifier
from harden.rounds.plan import Plan
from harden.training import Recipe

SUITE_PASSES = {"quick": 700, "standard": 9_700, "demanding": 17_000, "extended": 40_000}
"""Passes for an image that withstands the whole suite, counted on a robust model; others cost less."""

BESIDE = 1.6
"""What sanity checks, curve, probes and replay add to the attacks, as a factor."""


def forecast(plan: Plan, recipe: Recipe, data: DataSet, model: Classifier, earlier: int) -> float:
    """The minutes that a round by `plan` will take at most; `earlier`: how many earlier models are measured too."""
    seconds = _pass_seconds(model, recipe, data)
    steps = getattr(recipe.attack, "steps", 0 if recipe.attack is None else 1)
    training = recipe.schedule.epochs * len(data.train) * (2 * steps + 3)
    images = min(plan.images or len(data.test), len(data.test))
    testing = images * SUITE_PASSES[plan.suite] * (BESIDE + earlier)
    return seconds * (training + testing) / 60


def _pass_seconds(model: Classifier, recipe: Recipe, data: DataSet) -> float:
    """Seconds that one image takes through the network, in training's batches; the better of three tries."""
    size = min(recipe.schedule.batch_size, len(data.train))
    x = data.train.batch(torch.arange(size)).x
    best = math.inf
    with torch.no_grad():
        model(x)
        for _ in range(3):
            began = time.perf_counter()
            for _ in range(4):
                model(x)
            best = min(best, (time.perf_counter() - began) / 4)
    return best / size
