"""Training a classifier, ordinarily or against an attack, with watchdogs and exact resume.

`Training` is one model being trained, `Job` the whole task with its comparison; both are iterated over and
yield reports. A `Recipe` holds all that determines the result.
"""

from harden.training.device import Compute, Precision
from harden.training.job import Job, Measured
from harden.training.loop import Training
from harden.training.objectives import Clean, Madry, Objective, Trades
from harden.training.optimisers import AdamW, Sgd
from harden.training.recipe import Judging, Recipe
from harden.training.reports import EpochStats, Event, Report, StepStats
from harden.training.request import TrainRequest
from harden.training.schedule import Schedule, Shape
from harden.training.watchdog import Watchdog

__all__ = [
    "AdamW",
    "Clean",
    "Compute",
    "EpochStats",
    "Event",
    "Job",
    "Judging",
    "Madry",
    "Measured",
    "Objective",
    "Precision",
    "Recipe",
    "Report",
    "Schedule",
    "Sgd",
    "Shape",
    "StepStats",
    "Trades",
    "TrainRequest",
    "Training",
    "Watchdog",
]
