"""A split gives batches; a data set refuses what cannot be used and knows its content by digest."""

import hashlib
import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from harden.data import DataSet, Digits, Split, load
from harden.errors import ConfigError, DataError


def split(x: Any, y: Any) -> Split:
    return Split(torch.as_tensor(x), torch.as_tensor(y))


def small(
    name: str = "small",
    *,
    train: Split | None = None,
    test: Split | None = None,
    classes: tuple[str, ...] = ("no", "yes"),
    source: str = "memory",
) -> DataSet:
    x = torch.arange(2 * 2 * 2 * 2, dtype=torch.uint8).view(2, 2, 2, 2)
    whole = split(x, [0, 1])
    first, second = (whole if part is None else part for part in (train, test))
    return DataSet(name, classes, first, second, source)


def test_a_batch_holds_pixels_divided_by_255_with_labels_and_ids() -> None:
    data = split(np.array([0, 51, 255], np.uint8).reshape(3, 1, 1, 1), [2, 0, 1])
    batch = data.batch(torch.tensor([2, 1]))
    torch.testing.assert_close(batch.x.flatten(), torch.tensor([1.0, 0.2]), rtol=0, atol=0)
    assert batch.x.dtype == torch.float32
    assert batch.y.tolist() == [1, 0]
    assert batch.index.tolist() == [2, 1]


def test_every_grey_level_becomes_the_float32_nearest_to_its_fraction() -> None:
    levels = np.arange(256, dtype=np.uint8)
    batch = split(levels.reshape(256, 1, 1, 1), np.zeros(256, np.int64)).batch(torch.arange(256))
    wanted = (levels / 255).astype(np.float32)  # float64 division, rounded once
    np.testing.assert_array_equal(batch.x.flatten().numpy(), wanted)


def test_float_pixels_pass_into_a_batch_unchanged() -> None:
    x = torch.rand(4, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    batch = Split(x, torch.zeros(4, dtype=torch.int64)).batch(torch.tensor([3, 0]))
    torch.testing.assert_close(batch.x, x[[3, 0]], rtol=0, atol=0)


def test_taken_samples_are_a_split_whose_ids_count_from_zero() -> None:
    data = split(np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1), [0, 1, 2, 3])
    taken = data.take(torch.tensor([3, 1]))
    assert len(taken) == 2
    assert taken.y.tolist() == [3, 1]
    assert taken.batch(torch.tensor([0])).y.tolist() == [3]


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((2, 1, 2, 2), np.uint8), np.zeros(3, np.int64), "2 images but 3 labels"),
        (np.zeros((2, 2, 2), np.uint8), np.zeros(2, np.int64), "wanted (n, c, h, w)"),
        (np.zeros((2, 1, 2, 2), np.float64), np.zeros(2, np.int64), "of float64, wanted (n, c, h, w)"),
        (np.zeros((2, 1, 2, 2), np.uint8), np.zeros(2, np.int32), "labels are (2,) of int32"),
    ],
)
def test_tensors_that_make_no_split_are_refused(x: Any, y: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        split(x, y)
    assert message in caught.value.message


def test_a_label_out_of_range_is_named_with_its_index() -> None:
    train = split(np.zeros((3, 2, 2, 2), np.uint8), [0, 1, 7])
    with pytest.raises(DataError, match=r"^small train: label 7 at index 2, wanted 0\.\.1$"):
        small(train=train)


@pytest.mark.parametrize(("value", "shown"), [(1.5, "1.5"), (-0.25, "-0.25"), (math.nan, "nan"), (math.inf, "inf")])
def test_a_pixel_outside_the_box_is_named_with_its_image(value: float, shown: str) -> None:
    x = torch.full((3, 2, 2, 2), 0.5)
    x[1, 0, 1, 1] = value
    with pytest.raises(DataError) as caught:
        small(test=split(x, [0, 1, 0]))
    assert caught.value.message == f"small test: image 1 holds pixel value {shown}, wanted 0..1"
    assert "255" in caught.value.hint


def test_the_first_of_several_offending_images_is_named() -> None:
    x = torch.full((3, 2, 2, 2), 0.5)
    x[1], x[2] = 200.0, -3.0
    with pytest.raises(DataError, match="image 1 holds pixel value 200"):
        small(train=split(x, [0, 1, 0]))


def test_a_class_without_training_images_is_named() -> None:
    with pytest.raises(DataError, match=r"^small train: class 2 \('maybe'\) has no image$"):
        small(classes=("no", "yes", "maybe"))


def test_a_single_class_is_refused() -> None:
    whole = split(np.zeros((3, 2, 2, 2), np.uint8), [0, 0, 0])
    with pytest.raises(DataError, match=r"^small: a data set needs at least 2 classes, got 'no'$"):
        small(train=whole, test=whole, classes=("no",))


def test_an_empty_part_is_refused() -> None:
    empty = split(np.zeros((0, 2, 2, 2), np.uint8), np.zeros(0, np.int64))
    with pytest.raises(DataError, match=r"^small test: no images"):
        small(test=empty)


def test_test_images_of_another_shape_are_refused() -> None:
    with pytest.raises(DataError, match=r"test images are \(1, 2, 2\), wanted \(2, 2, 2\) as in training"):
        small(test=split(np.zeros((1, 1, 2, 2), np.uint8), [0]))


def test_the_digest_is_that_of_a_documented_byte_string() -> None:
    data = small()
    head = {
        "classes": ["no", "yes"],
        "tensors": [["torch.uint8", 2, 2, 2, 2], ["torch.int64", 2]] * 2,
    }
    part = bytes(range(16)) + (0).to_bytes(8, "little") + (1).to_bytes(8, "little")
    text = json.dumps(head, sort_keys=True, separators=(",", ":")).encode()
    assert data.digest == hashlib.sha256(text + part + part).hexdigest()


def test_the_digest_ignores_name_place_and_memory_layout() -> None:
    data = small()
    turned = split(data.train.x.transpose(2, 3).contiguous().transpose(2, 3), data.train.y)
    assert small("other", train=turned, source="elsewhere").digest == data.digest


def test_the_digest_notices_pixels_labels_types_parts_and_class_names() -> None:
    data = small()
    brighter = data.train.x.clone()
    brighter[0, 0, 0, 0] += 1
    others = [
        small(train=split(brighter, data.train.y)),
        small(test=split(brighter, data.test.y)),
        small(train=split(data.train.x, data.train.y.flip(0))),
        small(classes=("yes", "no")),
        small(train=split(torch.zeros(2, 2, 2, 2), [0, 1])),
        small(train=split(torch.zeros(2, 2, 2, 2, dtype=torch.uint8), [0, 1])),
    ]
    assert len({data.digest, *(other.digest for other in others)}) == 7


@pytest.mark.parametrize("as_float", [False, True])
def test_mean_and_std_are_those_of_numpy(as_float: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 2, 4, 4)).astype(np.uint8)
    x = torch.from_numpy(pixels / np.float32(255)) if as_float else torch.from_numpy(pixels)
    part = split(x, [0, 1] * 25)
    data = small(train=part, test=part)
    np.testing.assert_allclose(data.mean, (pixels / 255).mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(data.std, (pixels / 255).std((0, 2, 3)), rtol=1e-6)
    assert data.shape == (2, 4, 4)


def test_a_constant_channel_has_the_floor_as_std() -> None:
    data = small(train=split(np.full((2, 2, 2, 2), 7, np.uint8), [0, 1]))
    assert data.std == (1e-3, 1e-3)


def test_the_digits_are_those_of_scikit_learn_scaled_to_bytes() -> None:
    from sklearn.datasets import load_digits

    data, found = load(Digits()), load_digits()
    assert (data.name, data.shape, len(data.train), len(data.test)) == ("digits", (1, 8, 8), 1437, 360)
    assert data.classes == tuple("0123456789")
    x = torch.cat([data.train.x, data.test.x]).flatten(1).numpy()
    y = torch.cat([data.train.y, data.test.y]).numpy()
    wanted = np.rint(found.data * 255 / 16).astype(np.uint8)
    rows = sorted(zip(wanted.tolist(), found.target.tolist(), strict=True))
    assert sorted(zip(x.tolist(), y.tolist(), strict=True)) == rows


def test_the_digits_are_split_alike_for_ever() -> None:
    digest = "b5abbe2dc64bac1e81f810f3ce446c6fb6ec0da26394090dea7492d0852bd6b1"
    assert load(Digits(shift=1, flip=True)).digest == digest


def test_the_digits_test_part_holds_a_fifth_of_every_class() -> None:
    data = load(Digits())
    test, train = torch.bincount(data.test.y), torch.bincount(data.train.y)
    share = test / (test + train)
    torch.testing.assert_close(share, torch.full((10,), 360 / 1797), atol=0.006, rtol=0)


def test_a_negative_shift_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^data\.shift must be >= 0, got -1$"):
        Digits(shift=-1)


def test_a_shift_as_wide_as_the_image_is_refused() -> None:
    with pytest.raises(ConfigError, match="below the image side 8 of digits"):
        load(Digits(shift=8))
