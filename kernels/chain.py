"""What a chain of layers holds for each sample, so that a change of few pixels can be followed through it."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from harden.kernels import cpu, ripples
from harden.kernels.arguments import patches_fit
from harden.kernels.layers import Layer


class Chain:
    """`layers`, the first of which takes the pixels, and what those that bend held for each of `count` samples."""

    def __init__(self, layers: Sequence[Layer], count: int) -> None:
        self.layers, rows, at, begins = layers, [], 0, 0
        for one in layers:
            channels, height, width = one.taken
            deep, high, wide = one.given
            size = one.packed().numel()
            place = (*one.kernel, *one.stride, *one.pad, begins, at if one.bends else -1)
            rows.append((int(one.kind), height, width, channels, high, wide, deep, *place))
            begins, at = begins + size, at + one.bends * channels * height * width
        self.program = np.array(rows, dtype=np.int64)
        self.weights = torch.cat([*(one.packed() for one in layers), torch.zeros(1)]).numpy()
        self.widest = max(one[0] * one[1] * one[2] for layer in layers for one in (layer.taken, layer.given))
        self.values, self.moved = np.empty((count, at), np.float32), np.empty((count, at), np.float32)
        self.windows = np.zeros((count, len(layers), 4), np.int64)
        self.logits = torch.empty(count, layers[-1].given[0])
        self.answer = self.logits

    def hold(self, number: int, value: Tensor) -> None:
        """Notes what layer `number` takes, (count, *taken) or flat."""
        at, taken = int(self.program[number, ripples.VALUE]), self.layers[number].taken
        if at >= 0:
            channels, height, width = taken
            place = self.values[:, at : at + channels * height * width].reshape(-1, height, width, channels)
            place[:] = value.reshape(-1, *taken).permute(0, 2, 3, 1).numpy()

    def follow(self, point: Tensor, old: Tensor, corner: Tensor, changed: Tensor) -> Tensor:
        """The logits at `point`, which `paste` has just written, where `changed`; elsewhere those that are known."""
        patches_fit(point, corner, old, old.shape[2])
        self.answer = torch.empty_like(self.logits)
        given = (cpu.numpy_of(one) for one in (point, old, corner, changed))
        known = self.program, self.weights, self.widest, self.values, self.moved, self.windows
        cpu.run(ripples.follow, *given, *known, *map(cpu.numpy_of, (self.logits, self.answer)), size=self.values.size)
        return self.answer

    def settle(self, kept: Tensor) -> None:
        """Makes what `follow` found what is known, for the samples that are `kept`; they are among those changed."""
        known = self.program, self.values, self.moved, self.windows
        logits = map(cpu.numpy_of, (self.logits, self.answer))
        cpu.run(ripples.settle, cpu.numpy_of(kept), *known, *logits, size=self.values.size)

    def take(self, rows: Tensor) -> None:
        """Goes on with the samples at the positions `rows` alone."""
        stay = cpu.numpy_of(rows)
        self.values, self.moved, self.windows = self.values[stay], self.moved[stay], self.windows[stay]
        self.logits, self.answer = self.logits[rows], self.answer[rows]
