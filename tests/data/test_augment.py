"""Moved and mirrored images against an independent loop over slices."""

import pytest
import torch
from torch import Tensor

from harden.data import Batch, augment
from harden.seeds import stream

Move = tuple[int, int, bool]  # pixels down, pixels right, mirrored


def batch(n: int, channels: int = 3, height: int = 6, width: int = 7) -> Batch:
    x = torch.rand(n, channels, height, width, generator=torch.Generator().manual_seed(1))
    return Batch(x, torch.arange(n) % 3, torch.arange(n) + 100)


def variants(image: Tensor, shift: int, flip: bool) -> dict[Move, Tensor]:
    """Every outcome that is allowed, by loops and slices."""
    height, width = image.shape[1:]
    found = {}
    for mirrored in (False, True) if flip else (False,):
        source = image.flip(2) if mirrored else image
        padded = torch.nn.functional.pad(source, (shift, shift, shift, shift))
        for down in range(-shift, shift + 1):
            for right in range(-shift, shift + 1):
                top, left = shift - down, shift - right
                found[down, right, mirrored] = padded[:, top : top + height, left : left + width]
    return found


def outcome(image: Tensor, moved: Tensor, shift: int, flip: bool) -> Move:
    """Which variant `moved` is."""
    matches = [key for key, value in variants(image, shift, flip).items() if torch.equal(value, moved)]
    assert len(matches) == 1
    return matches[0]


@pytest.mark.parametrize(("shift", "flip"), [(2, False), (0, True), (2, True), (5, True)])
def test_every_image_is_a_zero_padded_shift_or_mirror_of_itself(shift: int, flip: bool) -> None:
    before = batch(40)
    after = augment(before, shift=shift, flip=flip, rng=stream(0, "augment"))
    for image, moved in zip(before.x, after.x, strict=True):
        outcome(image, moved, shift, flip)
    assert torch.equal(after.y, before.y)
    assert torch.equal(after.index, before.index)


def test_all_shifts_and_mirrors_come_about_equally_often() -> None:
    before = batch(1800, channels=1, height=4, width=4)
    after = augment(before, shift=1, flip=True, rng=stream(3, "augment"))
    counts = dict.fromkeys(variants(before.x[0], 1, True), 0)
    for image, moved in zip(before.x, after.x, strict=True):
        counts[outcome(image, moved, 1, True)] += 1
    # 18 outcomes, 100 expected of each: chi-square with 17 degrees of freedom exceeds 42.3 at odds of 6e-4
    assert sum((count - 100) ** 2 / 100 for count in counts.values()) < 42.3


def test_nothing_asked_returns_the_batch_itself() -> None:
    before = batch(3)
    assert augment(before, shift=0, flip=False, rng=stream(0)) is before


def test_the_input_is_not_changed() -> None:
    before = batch(8)
    kept = before.x.clone()
    augment(before, shift=2, flip=True, rng=stream(0))
    assert torch.equal(before.x, kept)


def test_a_sample_is_moved_alike_in_any_batch() -> None:
    whole, rng = batch(32), stream(7, "augment", 4)
    together = augment(whole, shift=2, flip=True, rng=rng).x
    order = torch.randperm(32, generator=torch.Generator().manual_seed(2))
    for part in order.view(8, 4):
        alone = Batch(whole.x[part], whole.y[part], whole.index[part])
        assert torch.equal(augment(alone, shift=2, flip=True, rng=rng).x, together[part])


def test_another_epoch_moves_samples_otherwise() -> None:
    before = batch(32)
    one, other = (augment(before, shift=2, flip=True, rng=stream(0, "augment", e)).x for e in (1, 2))
    assert not torch.equal(one, other)


def test_an_empty_batch_stays_empty() -> None:
    assert augment(batch(0), shift=2, flip=True, rng=stream(0)).x.shape == (0, 3, 6, 7)
