"""The worst rotation and shift of a grid (Engstrom et al. 2019, arXiv 1712.02779, section 3: grid search)."""

import math
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

from harden.attacks import Model
from harden.errors import ConfigError


@dataclass(frozen=True)
class Spatial:
    """Rotations of up to `degrees` in so many `angles`, shifts of up to `share` of the side in `shifts` each way."""

    degrees: float = 30.0
    angles: int = 31
    share: float = 0.1
    shifts: int = 5

    def __post_init__(self) -> None:
        if self.angles < 1 or self.shifts < 1 or self.degrees < 0 or not 0 <= self.share < 1:
            raise ConfigError("a spatial grid needs angles and shifts >= 1, degrees >= 0 and share in [0, 1)")

    @property
    def label(self) -> str:
        """What tables call it."""
        return f"rotation {self.degrees:g} degrees, shift {self.share:.0%}"


def spatial(model: Model, x: Tensor, y: Tensor, grid: Spatial | None = None) -> tuple[Tensor, Tensor]:
    """Whether the model is right at every point of the grid, (n,) bool, and the first image that it is wrong on.

    x: (n, c, h, w), filled with zeros where the turned image has no pixels; y: (n,). The image itself is a point
    of the grid. Samples that are broken leave.
    """
    grid = grid or Spatial()
    robust, worst, alive = torch.ones(len(x), dtype=torch.bool, device=x.device), x.clone(), torch.arange(len(x))
    for angle, down, across in _points(grid):
        if not len(alive):
            break
        moved = _moved(x[alive], angle, down, across)
        with torch.no_grad():
            wrong = model(moved).argmax(dim=1) != y[alive]
        worst[alive[wrong.cpu()]] = moved[wrong]
        robust[alive[wrong.cpu()]] = False
        alive = alive[~wrong.cpu()]
    return robust, worst


def _points(grid: Spatial) -> list[tuple[float, float, float]]:
    """Angle in degrees and shifts as shares of the side; the farthest first, which break most."""
    angles = torch.linspace(-grid.degrees, grid.degrees, grid.angles).tolist()
    shifts = torch.linspace(-grid.share, grid.share, grid.shifts).tolist()
    points = [*product(angles, shifts, shifts), (0.0, 0.0, 0.0)]
    return sorted(points, key=lambda point: -sum(abs(part) for part in point))


def _moved(x: Tensor, angle: float, down: float, across: float) -> Tensor:
    turn = math.radians(angle)
    height, width = x.shape[2:]
    tilt = height / width
    rows = [
        [math.cos(turn), -math.sin(turn) * tilt, -2 * across],
        [math.sin(turn) / tilt, math.cos(turn), -2 * down],
    ]
    matrix = torch.tensor(rows, dtype=x.dtype, device=x.device).expand(len(x), 2, 3)
    place = F.affine_grid(matrix, list(x.shape), align_corners=False)
    return F.grid_sample(x, place, align_corners=False)
