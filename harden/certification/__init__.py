"""Lower bounds of robust accuracy: interval bounds and CROWN-IBP for linf, randomised smoothing for l2."""

from harden.certification.margins import Method, certified, margins
from harden.certification.smoothing import ABSTAINED, Smoothed, smoothed

__all__ = ["ABSTAINED", "Method", "Smoothed", "certified", "margins", "smoothed"]
