"""Training curves, adversarial examples and loss surfaces as files.

Every function draws what it is given and keeps no state; equal values give equal bytes under one version of
matplotlib. The suffix of the path chooses the format, `.svg` or `.png`; another raises ConfigError.
"""

from harden.pictures.history import curves
from harden.pictures.images import examples
from harden.pictures.plane import surface
from harden.pictures.quarters import rounds

__all__ = ["curves", "examples", "rounds", "surface"]
