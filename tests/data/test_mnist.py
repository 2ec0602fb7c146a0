"""MNIST and Fashion-MNIST: where their files are looked for, and what passes for them."""

import gzip
import hashlib
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from harden.data import FashionMnist, Mnist, load, mnist
from harden.data.choice import PublicChoice
from harden.errors import DataError, Untrusted

Pack = Callable[[bytes], bytes]

SHARED = Path(__file__).parents[3] / "shared" / "data"
NAMES = mnist.FILES


def idx(array: NDArray[Any]) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(np.uint8).tobytes()


def contents(train: int = 30, test: int = 20) -> list[bytes]:
    """The four files' content: tiny images whose every pixel is the sample's number."""
    files = []
    for count in (train, test):
        images = np.broadcast_to(np.arange(count)[:, None, None], (count, 5, 4))
        files += [idx(images), idx(np.arange(count) % 10)]
    return files


def write(
    folder: Path,
    files: list[bytes],
    *,
    pack: Pack = gzip.compress,
    ending: str = ".gz",
    names: Sequence[str] = NAMES,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in zip(names, files, strict=True):
        (folder / f"{name}{ending}").write_bytes(pack(content))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and no system package."""
    monkeypatch.setenv("HARDEN_DATA", str(tmp_path / "cache"))
    for facts in ("MNIST", "FASHION"):
        old = getattr(mnist, facts)
        monkeypatch.setattr(mnist, facts, replace(old, home=replace(old.home, system=())))
    return tmp_path / "cache"


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small files pass for the published ones."""
    digests = tuple(hashlib.sha256(content).hexdigest() for content in contents())
    monkeypatch.setattr(mnist, "MNIST", replace(mnist.MNIST, sha256=digests))


@pytest.mark.parametrize("below", [".", "mnist", "MNIST/raw"])
@pytest.mark.parametrize(("pack", "ending"), [(bytes, ""), (gzip.compress, ".gz")])
@pytest.mark.usefixtures("known")
def test_the_files_are_found_in_the_named_folder_or_below_it(
    tmp_path: Path, below: str, pack: Pack, ending: str
) -> None:
    write(tmp_path / "here" / below, contents(), pack=pack, ending=ending)
    data = load(Mnist(root=str(tmp_path / "here")))
    assert (data.name, data.shape, len(data.train), len(data.test)) == ("MNIST", (1, 5, 4), 30, 20)
    assert data.train.x[:, 0, 0, 0].tolist() == list(range(30))
    assert data.test.y.tolist() == [*range(10)] * 2
    assert Path(data.source) == tmp_path / "here" / below


@pytest.mark.usefixtures("known")
def test_the_home_folder_may_be_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "sets", contents())
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load(Mnist(root="~/sets"), progress=None).source == str(tmp_path / "sets")


@pytest.mark.usefixtures("known")
def test_the_spelling_with_a_dot_is_found_too(tmp_path: Path) -> None:
    names = [name.replace("-idx", ".idx") for name in NAMES]
    write(tmp_path, contents(), pack=bytes, ending="", names=names)
    assert len(load(Mnist(root=str(tmp_path))).train) == 30


@pytest.mark.usefixtures("known")
def test_without_a_root_the_cache_folder_is_read(cache: Path) -> None:
    write(cache / "mnist", contents())
    assert load(Mnist(download=False)).source == str(cache / "mnist")


@pytest.mark.usefixtures("known")
def test_a_systems_package_comes_before_the_cache(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "system", contents())
    write(cache / "mnist", contents())
    home = replace(mnist.MNIST.home, system=(tmp_path / "system",))
    monkeypatch.setattr(mnist, "MNIST", replace(mnist.MNIST, home=home))
    assert load(Mnist()).source == str(tmp_path / "system")


def test_files_that_are_not_the_published_ones_are_not_trusted(tmp_path: Path) -> None:
    write(tmp_path, contents())
    with pytest.raises(Untrusted) as caught:
        load(Mnist(root=str(tmp_path)))
    got = hashlib.sha256(contents()[0]).hexdigest()
    assert caught.value.exit_code == 4
    assert f"{NAMES[0]}.gz: content has sha256 {got}, wanted ba891046" in caught.value.message
    assert "data.verify=false" in caught.value.hint


def test_unverified_files_are_taken_under_a_name_that_says_so(tmp_path: Path) -> None:
    write(tmp_path, contents())
    assert load(Mnist(root=str(tmp_path), verify=False)).name == "MNIST (unverified)"
    fashion = load(FashionMnist(root=str(tmp_path), verify=False))
    assert fashion.name == "Fashion-MNIST (unverified)"
    assert fashion.classes[9] == "Ankle boot"


@pytest.mark.parametrize("verify", [True, False])
def test_a_truncated_file_is_called_truncated_even_where_digests_are_checked(tmp_path: Path, verify: bool) -> None:
    images, *others = contents()
    write(tmp_path, [images[:-3], *others])
    with pytest.raises(DataError, match="truncated, got 613 bytes, wanted 616"):
        load(Mnist(root=str(tmp_path), verify=verify))


def test_images_without_a_label_each_are_refused(tmp_path: Path) -> None:
    images, _, *others = contents()
    write(tmp_path, [images, idx(np.arange(29) % 10), *others])
    with pytest.raises(DataError, match="29 labels, wanted 30, one an image"):
        load(Mnist(root=str(tmp_path), verify=False))


def test_a_label_out_of_range_is_named_with_its_index(tmp_path: Path) -> None:
    images, labels, *others = contents()
    write(tmp_path, [images, labels[:-1] + b"\x0b", *others])
    with pytest.raises(DataError, match=r"label 11 at index 29, wanted 0\.\.9"):
        load(Mnist(root=str(tmp_path), verify=False))


def test_a_class_without_an_image_is_named(tmp_path: Path) -> None:
    images, _, *others = contents()
    write(tmp_path, [images, idx(np.zeros(30)), *others])
    with pytest.raises(DataError, match=r"train: class 1 \('1'\) has no image"):
        load(Mnist(root=str(tmp_path), verify=False))


def test_a_file_without_images_is_refused(tmp_path: Path) -> None:
    write(tmp_path, contents(train=0))
    with pytest.raises(DataError, match="train: no images"):
        load(Mnist(root=str(tmp_path), verify=False))


@pytest.mark.parametrize("make", [str, lambda path: f"{path}/nothing"])
def test_a_root_without_the_files_is_refused_without_a_download(
    tmp_path: Path, make: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARDEN_MIRROR", "http://127.0.0.1:9")  # would be told in the message if asked
    with pytest.raises(DataError) as caught:
        load(Mnist(root=make(tmp_path)))
    assert caught.value.message.startswith("data.root=")
    assert "127.0.0.1" not in caught.value.message


def test_a_single_missing_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, contents())
    (tmp_path / f"{NAMES[3]}.gz").unlink()
    with pytest.raises(DataError, match=f"wanted {NAMES[3]}.gz"):
        load(Mnist(root=str(tmp_path)))


@pytest.mark.parametrize(
    ("choice", "package"), [(Mnist, "copy its files into"), (FashionMnist, "dataset-fashion-mnist")]
)
def test_absent_files_get_one_message_with_three_ways_out(choice: type[PublicChoice], package: str) -> None:
    with pytest.raises(DataError) as caught:
        load(choice(download=False))
    assert "data.download is off" in caught.value.message
    for way in ("data.root=FOLDER", package, "run once with network", "HARDEN_DATA"):
        assert way in caught.value.hint
    assert "\n" not in caught.value.message + caught.value.hint


# Means and standard deviations as everywhere printed for the originals: 0.1307, 0.3081 and 0.2860, 0.3530.
@pytest.mark.parametrize(
    ("choice", "mean", "std", "first"),
    [(Mnist, 0.1307, 0.3081, [5, 0, 4, 1, 9]), (FashionMnist, 0.2860, 0.3530, [9, 0, 0, 3, 0])],
)
def test_the_published_files_give_the_published_figures(
    choice: type[PublicChoice], mean: float, std: float, first: list[int]
) -> None:
    if not SHARED.is_dir():
        pytest.skip("no copies of the public data sets beside the repository")
    data = load(choice(root=str(SHARED)))
    assert "(" not in data.name
    assert (data.shape, len(data.train), len(data.test)) == ((1, 28, 28), 60_000, 10_000)
    assert torch.bincount(data.test.y).tolist()[3] == (1010 if choice is Mnist else 1000)
    assert data.train.y[:5].tolist() == first
    np.testing.assert_allclose([*data.mean, *data.std], [mean, std], atol=6e-5)
