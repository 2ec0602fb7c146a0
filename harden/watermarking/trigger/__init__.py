"""The black-box channel, opt-in: images of noise whose secret labels the owner's network knows by heart.

It collides with hardening (Szyller and Asokan 2022, arXiv 2207.01991), which is why a gate stands behind it; input
filters, extraction and distillation remove it.
"""

from harden.watermarking.trigger.answers import Answers, hits, log10_p
from harden.watermarking.trigger.gate import Change, gate
from harden.watermarking.trigger.questions import Questions, questions
from harden.watermarking.trigger.teaching import taught

__all__ = ["Answers", "Change", "Questions", "gate", "hits", "log10_p", "questions", "taught"]
