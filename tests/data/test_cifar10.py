"""The original in all its packings, and copies that must not pass for it."""

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harden.data import Cifar10, Folder, archive, cifar10, folder, load
from harden.errors import DataError, Untrusted

SHARED = Path(__file__).parents[3] / "shared" / "data" / "cifar10-jpeg"


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARDEN_DATA", str(tmp_path / "cache"))


def records(count: int, first: int) -> bytes:
    """Records whose labels count up from `first` and whose planes are label + 1, label + 2, label + 3."""
    labels = (np.arange(count) + first) % 10
    planes = np.repeat(labels[:, None] + [1, 2, 3], 1024, axis=1)
    return np.concatenate([labels[:, None], planes], axis=1).astype(np.uint8).tobytes()


def batches(count: int = 3) -> dict[str, bytes]:
    return {name: records(count, 3 * at) for at, name in enumerate((*cifar10.TRAIN, *cifar10.TEST))}


def write(path: Path, files: dict[str, bytes]) -> None:
    path.mkdir(parents=True)
    for name, content in files.items():
        (path / name).write_bytes(content)


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def jpegs(side: int = 32, classes: tuple[str, ...] = cifar10.CLASSES) -> dict[str, bytes]:
    """One image a class and part, all of one grey level a class, under JPEG names."""
    files: dict[str, bytes] = {}
    for number, label in enumerate(classes):
        file = io.BytesIO()
        Image.new("RGB", (side, side), (20 * number,) * 3).save(file, "JPEG")
        files |= {f"{part}/{label}/0001.jpg": file.getvalue() for part in ("train", "test")}
    return files


@pytest.mark.parametrize("below", [".", "cifar-10", "cifar-10-batches-bin", "cifar-10/cifar-10-batches-bin"])
def test_loose_batches_are_found_and_read_plane_by_plane(tmp_path: Path, below: str) -> None:
    write(tmp_path / "here" / below, batches())
    data = load(Cifar10(root=str(tmp_path / "here"), verify=False))
    assert (data.name, data.shape) == ("CIFAR-10 (unverified)", (3, 32, 32))
    assert data.train.y.tolist() == [n % 10 for n in range(15)]
    assert data.test.y.tolist() == [5, 6, 7]
    assert data.test.x[2, :, 0, 0].tolist() == [8, 9, 10]
    assert bool((data.test.x[2, 1] == 9).all())
    assert data.classes[3] == "cat"


def test_the_archive_gives_what_the_loose_batches_give(tmp_path: Path) -> None:
    write(tmp_path / "loose", batches())
    named = {f"cifar-10-batches-bin/{name}": content for name, content in batches().items()}
    write_tar(tmp_path / "packed" / cifar10.ARCHIVE, named)
    loose, packed = (load(Cifar10(root=str(tmp_path / at), verify=False)) for at in ("loose", "packed"))
    assert loose.digest == packed.digest


def test_batches_with_the_published_digests_carry_the_plain_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in batches().items()}
    monkeypatch.setattr(cifar10, "SHA256", digests)
    monkeypatch.setattr(cifar10, "COUNT", 3)
    write(tmp_path / "here", batches())
    assert load(Cifar10(root=str(tmp_path / "here"))).name == "CIFAR-10"


def test_other_batches_are_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar10, "COUNT", 3)
    write(tmp_path / "here", batches())
    with pytest.raises(Untrusted, match=r"data_batch_1\.bin: content has sha256 \w{64}, wanted cee91656"):
        load(Cifar10(root=str(tmp_path / "here")))


@pytest.mark.parametrize(("verify", "wanted"), [(True, 30_730_000), (False, 9219)])
def test_a_truncated_batch_is_refused_with_both_sizes(tmp_path: Path, verify: bool, wanted: int) -> None:
    files = batches()
    files["data_batch_2.bin"] = files["data_batch_2.bin"][:-1]
    files["data_batch_1.bin"] = files["data_batch_1.bin"] if not verify else files["data_batch_2.bin"]
    write(tmp_path / "here", files)
    with pytest.raises(DataError, match=rf"\.bin is truncated, got 9218 bytes, wanted {wanted}"):
        load(Cifar10(root=str(tmp_path / "here"), verify=verify))


def test_a_missing_batch_is_named(tmp_path: Path) -> None:
    files = batches()
    del files["data_batch_4.bin"]
    write(tmp_path / "here", files)
    with pytest.raises(DataError, match=r"no data_batch_4\.bin, wanted 6 files"):
        load(Cifar10(root=str(tmp_path / "here")))


def test_a_file_in_place_of_its_folder_is_told(tmp_path: Path) -> None:
    path = tmp_path / "here" / cifar10.ARCHIVE
    write_tar(path, batches())
    with pytest.raises(DataError, match=r"is a file, name its folder$") as caught:
        load(Cifar10(root=str(path)))
    assert caught.value.hint == f"data.root={path.parent}"


def test_other_files_beside_the_batches_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_BYTES", 10_000)
    write(tmp_path / "here", {**batches(), "movie.mp4": bytes(10_001)})
    assert len(load(Cifar10(root=str(tmp_path / "here"), verify=False)).train) == 15


def test_a_damaged_archive_is_a_one_line_error(tmp_path: Path) -> None:
    path = tmp_path / "here" / cifar10.ARCHIVE
    write_tar(path, batches(300))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataError, match="damaged archive"):
        load(Cifar10(root=str(tmp_path / "here"), verify=False))


def test_a_folder_of_jpeg_images_never_carries_the_originals_name(tmp_path: Path) -> None:
    for name, content in jpegs().items():
        (tmp_path / "here" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "here" / name).write_bytes(content)
    data = load(Cifar10(root=str(tmp_path / "here")))
    assert (data.name, len(data.train), data.classes) == ("CIFAR-10-JPEG", 10, cifar10.CLASSES)
    assert data.train.x[:, 0, 9, 9].tolist() == [20 * number for number in range(10)]


def test_an_archive_of_jpeg_images_is_checked_before_it_is_believed(tmp_path: Path) -> None:
    write_tar(tmp_path / "here" / cifar10.JPEG_ARCHIVE, jpegs(), "w:xz")
    with pytest.raises(Untrusted, match=f"wanted {folder.CIFAR10_JPEG_SHA256}"):
        load(Cifar10(root=str(tmp_path / "here")))
    assert load(Cifar10(root=str(tmp_path / "here"), verify=False)).name == "CIFAR-10-JPEG"


def test_the_originals_come_before_a_jpeg_copy(tmp_path: Path) -> None:
    write_tar(tmp_path / "here" / cifar10.JPEG_ARCHIVE, jpegs(), "w:xz")
    write(tmp_path / "here" / cifar10.UNPACKED, batches())
    assert load(Cifar10(root=str(tmp_path / "here"), verify=False)).name == "CIFAR-10 (unverified)"


@pytest.mark.parametrize("files", [jpegs(side=16), jpegs(classes=("airplane", "boat"))])
def test_images_of_something_else_are_no_copy(tmp_path: Path, files: dict[str, bytes]) -> None:
    write_tar(tmp_path / "here" / cifar10.JPEG_ARCHIVE, files, "w:xz")
    with pytest.raises(DataError, match="is no copy of CIFAR-10"):
        load(Cifar10(root=str(tmp_path / "here"), verify=False))


def test_the_known_jpeg_archive_carries_its_name_as_a_plain_folder_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "any-name.tar.xz"
    write_tar(path, jpegs(), "w:xz")
    assert load(Folder(root=str(path))).name == "any-name"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(folder, "CIFAR10_JPEG_SHA256", digest)
    assert load(Folder(root=str(path))).name == "CIFAR-10-JPEG"


@pytest.mark.slow
def test_the_public_jpeg_copy_is_read_and_cached() -> None:
    if not SHARED.is_dir():
        pytest.skip("no copies of the public data sets beside the repository")
    data = load(Cifar10(root=str(SHARED)))
    assert (data.name, data.shape) == ("CIFAR-10-JPEG", (3, 32, 32))
    assert torch.bincount(data.train.y).tolist() == [5000] * 10
    assert torch.bincount(data.test.y).tolist() == [1000] * 10
    # channel means of the original training images; the copy differs by rounding and compression
    np.testing.assert_allclose(data.mean, [0.4914, 0.4822, 0.4465], atol=5e-4)
    assert load(Folder(root=str(SHARED / cifar10.JPEG_ARCHIVE))).digest == data.digest
