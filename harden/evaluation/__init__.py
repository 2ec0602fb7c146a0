"""What an attack really achieved: the judge, intervals, the loss surface."""

from harden.evaluation.intervals import Accuracy, wilson
from harden.evaluation.judge import Outcome, exact, joined, judge, judging, right, verdict
from harden.evaluation.news import Begin, Judged
from harden.evaluation.surface import Surface, loss_surface

__all__ = [
    "Accuracy",
    "Begin",
    "Judged",
    "Outcome",
    "Surface",
    "exact",
    "joined",
    "judge",
    "judging",
    "loss_surface",
    "right",
    "verdict",
    "wilson",
]
