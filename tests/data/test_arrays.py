"""Arrays in .npz files and from a user's function: layouts and types that are taken, and what is refused."""

import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from harden.data import Custom, DataSet, Npz, Split, load
from harden.errors import ConfigError, DataError, Untrusted

Arrays = dict[str, Any]


def arrays(**changes: Any) -> Arrays:
    """Six training and three test images, 5 x 4 grey, three classes; `changes` replace some, None drops."""
    x = np.arange(9 * 5 * 4, dtype=np.uint8).reshape(9, 5, 4)
    y = np.arange(9) % 3
    found = {"x_train": x[:6], "y_train": y[:6], "x_test": x[6:], "y_test": y[6:], **changes}
    return {key: value for key, value in found.items() if value is not None}


def written(path: Path, content: Arrays) -> Npz:
    np.savez(path / "mine.npz", **content)
    return Npz(root=str(path / "mine.npz"))


def test_arrays_become_a_data_set_named_after_the_file(tmp_path: Path) -> None:
    data = load(written(tmp_path, arrays()))
    assert (data.name, data.shape, data.classes) == ("mine", (1, 5, 4), ("0", "1", "2"))
    np.testing.assert_array_equal(data.train.x[:, 0].numpy(), arrays()["x_train"])
    np.testing.assert_array_equal(data.test.y.numpy(), arrays()["y_test"])


def test_channels_last_and_channels_first_are_the_same_images(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (9, 5, 4, 3)).astype(np.uint8)
    last = load(written(tmp_path, arrays(x_train=x[:6], x_test=x[6:])))
    first = np.moveaxis(x, 3, 1)
    assert load(written(tmp_path, arrays(x_train=first[:6], x_test=first[6:]))).digest == last.digest
    assert last.shape == (3, 5, 4)
    np.testing.assert_array_equal(last.train.x[2, 1].numpy(), x[2, :, :, 1])


@pytest.mark.parametrize(
    ("shape", "problem"),
    [((6, 3, 4, 3), "ambiguous"), ((6, 1, 4, 1), "ambiguous"), ((6, 4, 4, 4), "wrong"), ((6, 20), "wrong")],
)
def test_a_layout_that_can_be_read_in_two_ways_or_none_is_refused(
    tmp_path: Path, shape: tuple[int, ...], problem: str
) -> None:
    with pytest.raises(DataError) as caught:
        load(written(tmp_path, arrays(x_train=np.zeros(shape, np.uint8))))
    assert f"train: image shape {shape} is {problem}" in caught.value.message


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_floats_in_the_box_become_float32(tmp_path: Path, kind: type) -> None:
    x: NDArray[Any] = np.linspace(0, 1, 9 * 5 * 4).reshape(9, 5, 4).astype(kind)
    data = load(written(tmp_path, arrays(x_train=x[:6], x_test=x[6:])))
    assert data.train.x.dtype == torch.float32
    np.testing.assert_array_equal(data.train.x[:, 0].numpy(), x[:6].astype(np.float32))


@pytest.mark.parametrize(("value", "shown"), [(255.0, "255"), (-0.5, "-0.5"), (np.nan, "nan"), (1e300, "inf")])
def test_a_float_outside_the_box_is_named_with_its_image(tmp_path: Path, value: float, shown: str) -> None:
    x = np.zeros((6, 5, 4))
    x[4, 2, 1] = value
    with pytest.raises(DataError) as caught:
        load(written(tmp_path, arrays(x_train=x, x_test=np.zeros((3, 5, 4)))))
    assert caught.value.message == f"mine train: image 4 holds pixel value {shown}, wanted 0..1"
    assert "divide pixels by 255" in caught.value.hint


@pytest.mark.parametrize("kind", [np.int64, np.uint16, np.bool_, np.complex64])
def test_images_of_another_type_are_refused(tmp_path: Path, kind: type) -> None:
    with pytest.raises(DataError, match=rf"images are {np.dtype(kind)}, wanted uint8 or floats in 0\.\.1"):
        load(written(tmp_path, arrays(x_train=np.zeros((6, 5, 4), kind))))


def test_labels_in_a_column_are_taken(tmp_path: Path) -> None:
    column = arrays()["y_train"][:, None].astype(np.uint8)
    assert load(written(tmp_path, arrays(y_train=column))).train.y.tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros(6), "labels are float64 of shape (6,), wanted whole numbers"),
        (np.eye(6, dtype=int), "labels are int64 of shape (6, 6), wanted whole numbers"),
        (np.zeros(5, int), "6 images but 5 labels"),
        (np.array([0, 1, 2, 3, 5, 5]), "label 5 where 4 was wanted, labels count from 0 without gaps"),
        (np.array([1, 1, 2, 2, 3, 3]), "label 1 where 0 was wanted"),
        (np.array([0, 1, 2, -1, 1, 2]), "label -1 where 0 was wanted"),
        (np.array([0, 1, 2, 10**15, 1, 2]), "label 1000000000000000 where 3 was wanted"),
        (np.array([0, 0, 0, 0, 1, 1]), "mine test: label 2 at index 2, wanted 0..1"),
    ],
)
def test_labels_that_are_no_class_numbers_are_refused(tmp_path: Path, y: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        load(written(tmp_path, arrays(y_train=y)))
    assert message in caught.value.message


def test_named_classes_are_kept_and_bound_the_labels(tmp_path: Path) -> None:
    assert load(written(tmp_path, arrays(classes=np.array(["a", "b", "c"])))).classes == ("a", "b", "c")
    with pytest.raises(DataError, match=r"label 2 at index 2, wanted 0\.\.1"):
        load(written(tmp_path, arrays(classes=np.array(["a", "b"]))))
    with pytest.raises(DataError, match=r"class 3 \('d'\) has no image"):
        load(written(tmp_path, arrays(classes=np.array(list("abcd")))))
    with pytest.raises(DataError, match="classes are int64"):
        load(written(tmp_path, arrays(classes=np.arange(3))))


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_x_and_y_alone_get_a_fixed_test_part_by_class(tmp_path: Path, share: float) -> None:
    x = np.arange(40).astype(np.uint8).reshape(40, 1, 1) * np.ones((1, 2, 2), np.uint8)
    np.savez(tmp_path / "whole.npz", x=x, y=np.arange(40) // 20)
    data = load(Npz(root=str(tmp_path / "whole.npz"), test_share=share))
    assert torch.bincount(data.test.y).tolist() == [20 * share] * 2
    levels = torch.cat([data.train.x, data.test.x])[:, 0, 0, 0].tolist()
    assert sorted(levels) == list(range(40))


def test_a_whole_with_a_label_below_zero_is_refused_before_it_is_split(tmp_path: Path) -> None:
    names = np.array(["a", "b"])
    np.savez(tmp_path / "whole.npz", x=np.zeros((4, 2, 2), np.uint8), y=[0, 1, -1, 1], classes=names)
    with pytest.raises(DataError, match="label -1 at index 2"):
        load(Npz(root=str(tmp_path / "whole.npz")))


def test_missing_arrays_are_refused_with_those_wanted(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds x_test, x_train, y_test, wanted x_train, y_train, x_test, y_test"):
        load(written(tmp_path, arrays(y_train=None)))


def test_no_images_are_refused(tmp_path: Path) -> None:
    empty = {"x_train": np.zeros((0, 5, 4), np.uint8), "y_train": np.zeros(0, int)}
    with pytest.raises(DataError, match="train: no images"):
        load(written(tmp_path, arrays(**empty)))


def test_objects_in_an_npz_file_are_never_unpickled(tmp_path: Path) -> None:
    with pytest.raises(Untrusted) as caught:
        load(written(tmp_path, arrays(y_train=np.array([print, 1, 2, 3, 4, 5], dtype=object))))
    assert "array 'y_train' holds Python objects" in caught.value.message


def test_a_pickle_named_npz_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "mine.npz").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(Untrusted, match="is a pickle"):
        load(Npz(root=str(tmp_path / "mine.npz")))


@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY\x01\x00"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mine.npz").write_bytes(content)
    with pytest.raises(DataError, match="is no npz file"):
        load(Npz(root=str(tmp_path / "mine.npz")))


def test_a_damaged_or_foreign_member_is_a_one_line_error(tmp_path: Path) -> None:
    choice = written(tmp_path, arrays())
    path = tmp_path / "mine.npz"
    content = bytearray(path.read_bytes())
    content[content.index(b"\x93NUMPY") + 150] ^= 1  # a pixel: the zip's own checksum notices
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged npz file"):
        load(choice)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00\x05\x00short")
    with pytest.raises(DataError, match="array 'x' is damaged"):
        load(choice)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", b"text")
    with pytest.raises(DataError, match=r"member 'readme\.txt' is no array"):
        load(choice)


def with_header(path: Path, header: bytes) -> Npz:
    """An .npz file whose only array has 80 bytes below `header`."""
    length = len(header).to_bytes(2, "little")
    with zipfile.ZipFile(path / "mine.npz", "w") as file:
        file.writestr("x.npy", b"\x93NUMPY\x01\x00" + length + header + bytes(80))
    return Npz(root=str(path / "mine.npz"))


@pytest.mark.parametrize("shape", ["(11,)", str((10**15,)), str((10**30,)), str((2**40, 2**40)), "(-1,)"])
def test_a_header_that_claims_more_than_there_is_is_a_one_line_error(tmp_path: Path, shape: str) -> None:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    with pytest.raises(DataError, match=r"mine\.npz: array 'x' is damaged") as caught:
        load(with_header(tmp_path, header))
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("header", [b"{'descr': ((", b"{'descr': '<f8'}" + b" " * 20_000, b"\xff = ("])
def test_a_header_that_is_none_is_damage_and_not_mistaken_for_objects(tmp_path: Path, header: bytes) -> None:
    with pytest.raises(DataError, match=r"mine\.npz: array 'x' is damaged: \S") as caught:
        load(with_header(tmp_path, header))
    assert "pickle" not in caught.value.message


@pytest.mark.parametrize("kept", [40, 400, -1])
def test_a_file_without_its_end_is_called_truncated(tmp_path: Path, kept: int) -> None:
    choice = written(tmp_path, arrays())
    path = tmp_path / "mine.npz"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"mine\.npz: is truncated or damaged"):
        load(choice)


def test_a_zip_file_behind_other_bytes_is_no_npz_file(tmp_path: Path) -> None:
    choice = written(tmp_path, arrays())
    path = tmp_path / "mine.npz"
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())
    with pytest.raises(DataError, match="is no npz file"):
        load(choice)


def test_a_share_that_leaves_no_test_image_is_told(tmp_path: Path) -> None:
    choice = written(tmp_path, {"x": np.zeros((2, 5, 4), np.uint8), "y": np.arange(2)})
    with pytest.raises(DataError, match=r"data\.test_share=0\.2 of 2 images leaves no test image"):
        load(choice)


def test_a_missing_file_or_none_named_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        load(Npz(root=str(tmp_path / "absent.npz")))
    with pytest.raises(ConfigError, match=r"data=npz needs data\.root"):
        load(Npz())


@pytest.fixture
def own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A current folder, from which modules named mydata* are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("mydata")]:
        del sys.modules[name]


def custom(folder: Path, body: str) -> DataSet:
    """What `mydata:make` in the current folder gives, with `body` as its function body."""
    imports = ("numpy as np", "torch", "harden.data as data", "harden.errors as errors")
    lines = [*(f"import {name}" for name in imports), "def make():", f"    {body}"]
    (folder / "mydata.py").write_text("\n".join(lines))
    return load(Custom(entry="mydata:make"))


def test_a_function_may_return_a_dict_of_arrays(own_folder: Path) -> None:
    data = custom(own_folder, "x = np.ones((8, 2, 2), np.uint8); return {'x': x, 'y': np.arange(8) % 2}")
    assert (data.name, data.source, len(data.train), len(data.test)) == ("make", "mydata:make", 6, 2)


def test_a_function_may_return_a_data_set(own_folder: Path) -> None:
    split = "s = data.Split(torch.ones(2, 1, 2, 2), torch.tensor([0, 1]))"
    body = f"{split}; return data.DataSet('own', ('a', 'b'), s, s, 'here')"
    assert custom(own_folder, body).name == "own"


def test_arrays_of_a_function_are_copied_even_where_they_are_read_only(own_folder: Path) -> None:
    body = "x = np.ones((8, 2, 2), np.uint8); x.flags.writeable = False; return {'x': x, 'y': np.arange(8) % 2}"
    assert custom(own_folder, body).train.x.sum() == 24


def test_a_function_may_import_its_neighbour_while_it_is_called(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = [entry for entry in sys.path if entry not in ("", str(own_folder))]
    monkeypatch.setattr(sys, "path", elsewhere.copy())  # as under the installed command
    (own_folder / "mydata_helper.py").write_text("labels = [0, 1] * 4")
    body = "import mydata_helper as h; return {'x': np.ones((8, 2, 2), np.uint8), 'y': np.array(h.labels)}"
    assert torch.bincount(custom(own_folder, body).train.y).tolist() == [3, 3]
    assert sys.path == elsewhere


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 3", "data.entry=mydata:make: returned int, wanted DataSet or a dict of arrays"),
        ("raise OSError('disk\\ngone')", "data.entry=mydata:make: failed: OSError: disk gone"),
        ("raise errors.DataError('own words')", "own words"),
    ],
)
def test_a_function_that_gives_no_data_is_a_one_line_error(own_folder: Path, body: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        custom(own_folder, body)
    assert caught.value.message == message


@pytest.mark.parametrize("entry", [None, "mydata", "mydata_absent:make", "json:no_such_name", "sys:path"])
def test_an_entry_that_names_no_function_is_refused(own_folder: Path, entry: str | None) -> None:
    assert own_folder.is_dir()
    with pytest.raises(ConfigError, match=r"data\.entry"):
        load(Custom(entry=entry))


def test_a_split_of_arrays_feeds_a_batch(tmp_path: Path) -> None:
    split: Split = load(written(tmp_path, arrays())).train
    assert split.batch(torch.tensor([1])).x.flatten().tolist() == pytest.approx([n / 255 for n in range(20, 40)])
