"""Orders for all axes at once: each in turn is assigned anew while the others stand, until nobody moves.

Git Re-Basin's weight matching (Ainsworth et al. 2023, arXiv 2209.04836). Differs: it works on balanced weights, so
that scales do not matter; signs are free; a suspect may be wider or narrower; and it begins with quantiles, which
no order changes, so that a network whose axes were all permuted is found without its first and last layer.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from harden.watermarking.align.likeness import compact, guess, likeness
from harden.watermarking.align.tables import NOWHERE, Place, Side, Table
from harden.watermarking.layout import Layout

SWEEPS = 6
STANDING = 0.3
"""Mean cosine from which nobody seems to have been moved."""
SETTLED = 0.6
"""Mean cosine from which a new order is believed at once; the best order of a stranger's channels has up to 0.4."""

Places = dict[Side, Place]
Axes = dict[str, list[Side]]


def axes_of(layout: Layout) -> Axes:
    """The sides of layers that lie on each axis."""
    axes: Axes = defaultdict(list)
    for layer in layout.layers:
        axes[layer.out_axis].append(Side(layer.name, 0))
        axes[layer.in_axis].append(Side(layer.name, 1))
    return dict(axes)


@dataclass(frozen=True)
class Matcher:
    """What is compared: the tables of both networks, and which of their sides share an order."""

    reference: Mapping[str, Table]
    suspect: Mapping[str, Table]
    axes: Axes
    compacts: dict[Side, Tensor] = field(default_factory=dict)

    def match(self) -> Places:
        """The best places that were found, for every side."""
        standing = self._standing()
        if standing and self._score(standing) >= STANDING:
            return self._settle(standing)
        found: list[Places] = []
        for start in (self._guessed, self._unsigned):
            found.append(self._settle(start()))
            if self._score(found[-1]) >= SETTLED:
                return found[-1]
        return max([*found, self._settle(standing)] if standing else found, key=self._score)

    def _standing(self) -> Places:
        """Everybody where they are; nothing where widths differ."""
        sides = [side for sides in self.axes.values() for side in sides]
        if any(self._width(self.reference, side) != self._width(self.suspect, side) for side in sides):
            return {}
        return {side: Place.identity(self._width(self.reference, side)) for side in sides}

    def _guessed(self) -> Places:
        """A first order: axes with much to tell come first, and help those that follow."""
        places: Places = {}
        for axis in sorted(self.axes, key=self._tells, reverse=True):
            places |= self._assigned(self.axes[axis], places)
        return places

    def _unsigned(self) -> Places:
        """An order by sizes alone, for when signs were changed on both sides of layers; then the signs."""
        sizes = [{name: one.sizes() for name, one in tables.items()} for tables in (self.reference, self.suspect)]
        matcher = Matcher(sizes[0], sizes[1], self.axes)
        places = matcher._settle(matcher._guessed())
        for name, reference in self.reference.items():
            sides = Side(name, 0), Side(name, 1)
            ours = self.suspect[name]
            for side in sides:
                ours = ours.placed(side.dim, Place(places[side].order, torch.ones(len(places[side].order))))
            for side, sign in zip(sides, _signs((reference.values * ours.values).sum(dim=2)), strict=True):
                places[side] = Place(places[side].order, sign)
        return places

    def _tells(self, axis: str) -> int:
        """How many positions, which no order changes, the most telling side of an axis has."""
        return max(self.reference[side.layer].values.shape[2] for side in self.axes[axis])

    def _settle(self, places: Places) -> Places:
        """The places after sweeps until nobody moves; an axis is looked at when one that it meets has moved."""
        moved = set(places)
        for _ in range(SWEEPS):
            before, moved = moved, set()
            for sides in self.axes.values():
                if {_across(side) for side in sides} & (before | moved):
                    news = self._assigned(sides, places)
                    moved |= {side for side in sides if not _same(places[side], news[side])}
                    places = places | news
            if not moved:
                break
        return places

    def _assigned(self, sides: list[Side], places: Places) -> Places:
        """New places for the sides of one axis, by all that is known of the others."""
        tables = [self._compared(side, places) for side in sides]
        total = torch.stack([torch.maximum(same, opposite) for same, opposite in tables]).sum(dim=0)
        rows, columns = map(torch.from_numpy, linear_sum_assignment(total.double().numpy(), maximize=True))
        order = torch.full((total.shape[0],), NOWHERE)
        order[rows] = columns
        at = order.clamp_min(0)
        here = torch.arange(len(order))
        return {
            side: Place(order, torch.where(same[here, at] >= opposite[here, at], 1.0, -1.0))
            for side, (same, opposite) in zip(sides, tables, strict=True)
        }

    def _compared(self, side: Side, places: Places) -> tuple[Tensor, Tensor]:
        """Likeness of a side's channels as they are and negated."""
        suspect, other = self.suspect[side.layer], _across(side)
        if other not in places:
            return guess(self.reference[side.layer], suspect, side.dim)
        if side not in self.compacts:
            self.compacts[side] = compact(self.reference[side.layer].side(side.dim))
        same = likeness(self.compacts[side], compact(suspect.placed(other.dim, places[other]).side(side.dim)))
        return same, -same

    def _score(self, places: Places) -> float:
        """The mean cosine of channels with those that stand in their places."""
        found = []
        for side, place in places.items():
            same, _ = self._compared(side, places)
            here = torch.arange(len(place.order))
            found.append((same[here, place.order.clamp_min(0)] * place.sign)[place.order != NOWHERE])
        return float(torch.cat(found).mean())

    @staticmethod
    def _width(tables: Mapping[str, Table], side: Side) -> int:
        return tables[side.layer].values.shape[side.dim]


def _signs(products: Tensor) -> tuple[Tensor, Tensor]:
    """The signs of rows and of columns that make most of a table of products positive: its first singular vectors."""
    column = torch.linspace(1, 2, products.shape[1])
    row = products @ column
    for _ in range(30):
        column = products.T @ (row / row.norm().clamp_min(1e-12))
        row = products @ (column / column.norm().clamp_min(1e-12))
    return torch.where(row < 0, -1.0, 1.0), torch.where(column < 0, -1.0, 1.0)


def _across(side: Side) -> Side:
    return Side(side.layer, 1 - side.dim)


def _same(one: Place, other: Place) -> bool:
    return torch.equal(one.order, other.order) and torch.equal(one.sign, other.sign)
