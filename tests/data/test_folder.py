"""Images in folders and archives: what is found, how it is decoded, what is refused, what is cached."""

import io
import logging
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from harden.data import DataSet, Folder, archive, images, load
from harden.errors import ConfigError, DataError

Files = dict[str, bytes]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARDEN_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache" / "decoded"


def image(level: int, *, size: tuple[int, int] = (4, 3), mode: str = "L", kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    colour = level if mode in ("L", "1", "P", "I;16") else (level, 10, 20, 128)[: len(mode)]
    Image.new(mode, size, colour).save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return file.getvalue()


def parted() -> Files:
    return {
        "train/cat/b.png": image(2),
        "train/cat/a.png": image(1),
        "train/dog/a.bmp": image(3, kind="BMP"),
        "test/dog/x.png": image(4),
    }


def as_folder(path: Path, files: Files) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def as_zip(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path.with_suffix(".zip"), "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path.with_suffix(".zip")


def as_tar(path: Path, files: Files) -> Path:
    with tarfile.open(path.with_suffix(".tar.gz"), "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path.with_suffix(".tar.gz")


def read(path: Path, size: int | None = None, test_share: float = 0.2) -> DataSet:
    return load(Folder(root=str(path), size=size, test_share=test_share))


@pytest.mark.parametrize("pack", [as_folder, as_zip, as_tar])
@pytest.mark.parametrize("prefix", ["", "pets/", "./all/pets/"])
def test_train_and_test_folders_are_read_in_order_of_names(
    tmp_path: Path, pack: Callable[[Path, Files], Path], prefix: str
) -> None:
    data = read(pack(tmp_path / "pets", {prefix + name: content for name, content in parted().items()}))
    assert (data.name, data.classes, data.shape) == ("pets", ("cat", "dog"), (1, 3, 4))
    assert data.train.x[:, 0, 2, 3].tolist() == [1, 2, 3]
    assert data.train.y.tolist() == [0, 0, 1]
    assert (data.test.x[0, 0, 0, 0].item(), data.test.y.tolist()) == (4, [1])


def test_a_name_keeps_its_dots_but_not_its_packing(tmp_path: Path) -> None:
    assert read(as_tar(tmp_path / "v1.2.pets.x", parted())).name == "v1.2.pets"
    assert read(as_folder(tmp_path / "v1.2", parted())).name == "v1.2"


def test_the_home_folder_may_be_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_folder(tmp_path / "pets", parted())
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read(Path("~/pets")).name == "pets"


def test_class_folders_alone_get_a_fixed_test_part_by_class(tmp_path: Path) -> None:
    files = {f"{label}/{n:02}.png": image(10 * n) for label in ("cat", "dog") for n in range(20)}
    one, other = (
        read(as_zip(tmp_path / "one", files), test_share=0.25),
        read(as_folder(tmp_path / "two", files), test_share=0.25),
    )
    assert sorted(one.test.y.tolist()) == [0] * 5 + [1] * 5
    assert len(one.train) == 30
    assert one.digest == other.digest


def test_colour_is_kept_and_grey_images_among_it_become_three_equal_channels(tmp_path: Path) -> None:
    files = {**parted(), "train/cat/c.png": image(9, mode="RGB")}
    data = read(as_folder(tmp_path / "pets", files))
    assert data.shape == (3, 3, 4)
    assert data.train.x[:, :, 0, 0].tolist() == [[1, 1, 1], [2, 2, 2], [9, 10, 20], [3, 3, 3]]


def test_transparency_is_dropped(tmp_path: Path) -> None:
    files = {name: image(7, mode="RGBA") for name in parted()}
    assert read(as_folder(tmp_path / "pets", files)).train.x[0, :, 0, 0].tolist() == [7, 10, 20]


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP", "JPEG", "GIF"])
def test_the_formats_are_decoded_to_the_pixels_that_were_written(tmp_path: Path, kind: str) -> None:
    files = {name.replace("png", kind.lower()): image(100, mode="RGB", kind=kind) for name in parted()}
    pixel = read(as_folder(tmp_path / "pets", files)).train.x[0, :, 1, 1].numpy()
    np.testing.assert_allclose(pixel, [100, 10, 20], atol=3 if kind == "JPEG" else 0)


def test_images_of_two_sizes_are_refused_with_a_way_out(tmp_path: Path) -> None:
    files = {**parted(), "train/dog/z.png": image(3, size=(5, 3))}
    with pytest.raises(DataError) as caught:
        read(as_zip(tmp_path / "pets", files))
    assert "train/dog/z.png is 5 x 3, but train/cat/b.png is 4 x 3" in caught.value.message
    assert "data.size=N" in caught.value.hint


def test_size_scales_the_shorter_side_and_cuts_the_middle(tmp_path: Path) -> None:
    wide = Image.fromarray(np.repeat(np.repeat([[10, 80, 90, 200]], 4, 0), 4, 1).astype(np.uint8))
    file = io.BytesIO()
    wide.save(file, "PNG")  # 16 wide, 4 high, four bands
    data = read(as_folder(tmp_path / "pets", {name: file.getvalue() for name in parted()}), size=4)
    assert data.shape == (1, 4, 4)
    assert data.train.x[0, 0, 2].tolist() == [80, 80, 90, 90]
    assert read(tmp_path / "pets", size=8).shape == (1, 8, 8)


@pytest.mark.parametrize("pack", [as_folder, as_zip, as_tar])
@pytest.mark.parametrize("content", [b"", b"no image", image(3)[:-24], image(3)[:20]])
def test_an_unreadable_image_is_named(tmp_path: Path, pack: Callable[[Path, Files], Path], content: bytes) -> None:
    with pytest.raises(DataError, match=r"pets.*: train/dog/bad\.png: unreadable image: \S") as caught:
        read(pack(tmp_path / "pets", {**parted(), "train/dog/bad.png": content}))
    assert "\n" not in caught.value.message


def test_more_than_eight_bits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"deep\.png: pixels of mode I;16, wanted 8 bits a channel"):
        read(as_folder(tmp_path / "pets", {"train/cat/deep.png": image(300, mode="I;16")}))


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("limit", [4, 9])  # 12 pixels: beyond twice the limit Pillow raises, else it warns
def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    path = as_folder(tmp_path / "pets", parted())
    with pytest.raises(DataError, match=f"too many pixels, wanted at most {limit}"):
        read(path)


def test_hidden_files_other_files_links_and_names_with_tricks_are_ignored(tmp_path: Path) -> None:
    tricks = (
        "../up/x.png",
        "/abs/cat/x.png",
        "train/../x/cat.png",
        "__MACOSX/train/cat/a.png",
        ".git/cat/a.png",
    )
    others = {"README.md": b"text", "train/cat/Thumbs.db": b"?", "train/cat/.a.png": b"?"}
    path = as_tar(tmp_path / "pets", {**dict.fromkeys(tricks, b"?"), **others, **parted()})
    linked = tmp_path / "linked.tar"
    with tarfile.open(path) as old, tarfile.open(linked, "w") as new:
        for info in old:
            new.addfile(info, old.extractfile(info))
        link = tarfile.TarInfo("train/cat/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        new.addfile(link)
    assert len(read(linked).train) == 3
    assert sorted(os.listdir(tmp_path)) == ["cache", "linked.tar", "pets.tar.gz"]


def test_class_folders_behind_links_count_and_a_loop_ends(tmp_path: Path) -> None:
    as_folder(tmp_path / "pool", {"dogs/a.png": image(3), "dogs/b.png": image(4)})
    path = as_folder(tmp_path / "pets", {"train/cat/a.png": image(1), "test/cat/a.png": image(2)})
    for part in ("train", "test"):
        (path / part / "dog").symlink_to(tmp_path / "pool/dogs")
    (tmp_path / "pool/dogs/back").symlink_to(tmp_path / "pool/dogs")
    (path / "train/cat/self").symlink_to(path)
    data = read(path)
    assert data.classes == ("cat", "dog")
    assert (data.train.x[:, 0, 0, 0].tolist(), data.test.x[:, 0, 0, 0].tolist()) == ([1, 3, 4], [2, 3, 4])


def test_files_of_other_kinds_are_counted_in_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    others = ("movie.mp4", "train/cat/b.TIF", "train/cat/c.tif", "train/dog/raw")
    silent = ("notes.txt", "train/cat/a.json", "train/labels.csv", "README.md", "train/cat/Thumbs.db", ".x.tif")
    path = as_folder(tmp_path / "pets", {**dict.fromkeys((*others, *silent), b"?"), **parted()})
    with caplog.at_level(logging.WARNING):
        assert len(read(path).train) == 3
    (message,) = caplog.messages
    told, _, counts = message.rpartition(": ")
    assert told == f"{path}: left out 4 files that are no images it can read"
    assert sorted(counts.split(", ")) == ["1 .mp4", "1 without ending", "2 .tif"]


@pytest.mark.parametrize("prefix", ["", "all/pets/"])
@pytest.mark.parametrize(
    ("names", "lost"),
    [
        (["cat/a.png", "dog/a.png", "emu/a.tif", "emu/about.txt"], "emu"),
        (["train/cat/a.png", "train/dog/a.png", "train/emu/a.tif", "test/cat/a.png"], "train/emu"),
        (["train/cat/a.png", "train/dog/a.png", "test/cat/a.tif"], "test/cat"),
    ],
)
def test_a_class_folder_without_one_readable_image_is_named(
    tmp_path: Path, prefix: str, names: list[str], lost: str
) -> None:
    with pytest.raises(DataError, match=rf"pets: {prefix}{lost} holds files, but no image that can be read$"):
        read(as_folder(tmp_path / "pets", {prefix + name: image(1) for name in names}))


@pytest.mark.parametrize("pack", [as_folder, as_zip, as_tar])
def test_only_a_file_that_is_wanted_may_be_too_big(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[Path, Files], Path]
) -> None:
    monkeypatch.setattr(archive, "MAX_BYTES", 2000)
    beside = {**parted(), "movie.mp4": bytes(2001)}
    assert len(read(pack(tmp_path / "pets", beside)).train) == 3
    with pytest.raises(DataError, match=r"train/cat/z\.png has 2001 bytes, wanted at most 2000"):
        read(pack(tmp_path / "pets", {**beside, "train/cat/z.png": bytes(2001)}))


def test_one_class_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="pets: a data set needs at least 2 classes, got 'cat'"):
        read(as_folder(tmp_path / "pets", {f"cat/{n}.png": image(n) for n in range(10)}))


@pytest.mark.parametrize(("share", "part"), [(0.2, "test"), (0.9, "training")])
def test_a_share_that_leaves_a_part_empty_is_told(tmp_path: Path, share: float, part: str) -> None:
    path = as_folder(tmp_path / "pets", {"cat/a.png": image(1), "dog/a.png": image(2)})
    with pytest.raises(DataError, match=rf"data\.test_share={share} of 2 images leaves no {part} image$") as caught:
        read(path, test_share=share)
    assert "data.test_share" in caught.value.hint
    assert "test/ folder" in caught.value.hint


@pytest.mark.parametrize("names", [["a.png"], ["train/cat/a.png", "val/cat/a.png"], ["cat/a.png", "dog/deep/a.png"]])
def test_another_layout_is_refused_with_the_one_wanted(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        read(as_folder(tmp_path / "pets", {name: image(1) for name in names}))
    assert "not laid out by class" in caught.value.message
    assert "train/<class>/<image>" in caught.value.hint


def test_a_class_that_is_only_tested_is_refused(tmp_path: Path) -> None:
    files = {**parted(), "test/emu/a.png": image(1)}
    with pytest.raises(DataError, match=r"class 2 \('emu'\) has no image"):
        read(as_folder(tmp_path / "pets", files))


def test_a_folder_without_images_or_a_missing_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images"):
        read(tmp_path / "empty")
    with pytest.raises(DataError, match="no such folder or archive"):
        read(tmp_path / "absent")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(DataError, match="neither a folder nor a tar or zip archive"):
        read(tmp_path / "text")


@pytest.mark.parametrize("pack", [as_zip, as_tar])
def test_a_damaged_archive_is_a_one_line_error(tmp_path: Path, pack: Callable[[Path, Files], Path]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 60)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    path = pack(tmp_path / "pets", dict.fromkeys(parted(), file.getvalue()))
    content = bytearray(path.read_bytes())
    content[1000:1100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(path)
    assert "\n" not in caught.value.message


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.size must be >= 1, got 0"):
        Folder(size=0)
    for share in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match=r"data\.test_share must lie between 0 and 1"):
            Folder(test_share=share)
    with pytest.raises(ConfigError, match=r"data=folder needs data\.root"):
        load(Folder())


def test_an_archive_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = as_zip(tmp_path / "pets", parted())
    first = read(path)
    monkeypatch.setattr(images, "decoded", None)
    again = read(path)
    assert (again.digest, again.name, again.classes) == (first.digest, "pets", ("cat", "dog"))


def test_other_content_or_options_are_decoded_anew(tmp_path: Path, cache: Path) -> None:
    path = as_zip(tmp_path / "pets", parted())
    sizes = [read(path).shape, read(path, size=2).shape]
    as_zip(tmp_path / "pets", {**parted(), "train/cat/a.png": image(77)})
    assert read(path).train.x[0, 0, 0, 0] == 77
    assert sizes == [(1, 3, 4), (1, 2, 2)]
    assert len(list(cache.iterdir())) == 3


@pytest.mark.parametrize("damage", ["cut", "bit", "labels", "foreign"])
def test_a_damaged_cache_is_built_again(
    tmp_path: Path, cache: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = as_zip(tmp_path / "pets", parted())
    digest = read(path).digest
    (kept,) = cache.iterdir()
    content = kept.read_bytes()
    if damage == "cut":
        kept.write_bytes(content[:-1])
    if damage == "bit":
        kept.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    if damage == "labels":
        save_file({**load_file(kept), "train.y": load_file(kept)["train.x"]}, kept)
    if damage == "foreign":
        save_file({"w": load_file(kept)["train.x"]}, kept)
    with caplog.at_level(logging.WARNING):
        assert read(path).digest == digest
        assert "damaged cache, built again" in caplog.text
        caplog.clear()
        assert read(path).digest == digest
        assert caplog.text == ""


def test_a_cache_that_cannot_be_written_costs_only_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("HARDEN_DATA", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        assert len(read(as_zip(tmp_path / "pets", parted())).train) == 3
    assert "decoded images are not kept" in caplog.text
