"""What the model was not trained against: rotations, shifts, common corruptions."""

from harden.evaluation.unseen.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from harden.evaluation.unseen.spatial import Spatial, spatial

__all__ = ["CORRUPTIONS", "SEVERITIES", "Spatial", "corrupt", "spatial"]
