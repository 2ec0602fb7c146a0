"""Training curves, adversarial examples, loss surfaces and the evidence for a mark as files.

Every function draws what it is given and keeps no state; equal values give equal bytes under one version of
matplotlib. The suffix of the path chooses the format, `.svg` or `.png`; another raises ConfigError.
"""

from harden.pictures.correlation import correlation
from harden.pictures.history import curves
from harden.pictures.images import examples
from harden.pictures.plane import surface
from harden.pictures.quarters import rounds

__all__ = ["correlation", "curves", "examples", "rounds", "surface"]
