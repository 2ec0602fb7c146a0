"""Downloads from a real server on this machine: whole, broken off, resumed, wrong, absent."""

import gzip
import hashlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harden.data import Cifar10, DataChoice, Mnist, cifar10, load, mnist
from harden.data.download import Remote, UnreachableError, fetch
from harden.errors import DataError, Untrusted
from harden.files import sha256_of

CONTENT = np.random.default_rng(0).integers(0, 256, 3 << 20).astype(np.uint8).tobytes()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """What is served, what was asked, and how the connection misbehaves."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.cuts: list[int] = []  # bytes sent per answer before it breaks off
        self.ranges = True  # whether Range is understood
        self.slip = 0  # by how much a range is told wrongly
        self.base = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is part of the test."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Range"]))
        body = self.server.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        start = self._start(len(body))
        if start is None:
            return
        cut = self.server.cuts.pop(0) if self.server.cuts else len(body)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : start + cut])

    def _start(self, size: int) -> int | None:
        asked = self.headers["Range"]
        if asked is None or not self.server.ranges:
            self.send_response(200)
            return 0
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= size:
            self.send_error(416)
            return None
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start + self.server.slip}-{size - 1}/{size}")
        return start

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def remote(server: Server, *paths: str, sha256: str = SHA256) -> Remote:
    return Remote("file.bin", tuple(server.base + path for path in paths), sha256, sha256_of)


def part_of(folder: Path) -> Path:
    return next(folder.glob(".*.part"))


def quiet(*_: object) -> None:
    """No one listens."""


def test_a_file_is_downloaded_whole_with_progress_up_to_its_size(server: Server, tmp_path: Path) -> None:
    server.files["/a"] = CONTENT
    told: list[tuple[str, int, int | None]] = []
    path = fetch(remote(server, "/a"), tmp_path / "new", progress=lambda *args: told.append(args))
    assert path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == ["file.bin"]
    assert told[-1] == ("file.bin", len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in told] == sorted({done for _, done, _ in told})


def test_a_download_that_breaks_off_goes_on_from_the_byte_it_reached(server: Server, tmp_path: Path) -> None:
    server.files["/a"], server.cuts = CONTENT, [1_000_000, 500_000]
    path = fetch(remote(server, "/a"), tmp_path, progress=quiet)
    assert path.read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [None, "bytes=1000000-", "bytes=1500000-"]


def test_a_later_run_resumes_what_an_earlier_one_left(server: Server, tmp_path: Path) -> None:
    server.files["/a"], server.cuts = CONTENT, [1000, 1000, 1000]
    with pytest.raises(UnreachableError, match="the connection ended after 3000 of 3145728 bytes"):
        fetch(remote(server, "/a"), tmp_path, progress=quiet)
    assert part_of(tmp_path).read_bytes() == CONTENT[:3000]
    server.asked.clear()
    told: list[tuple[str, int, int | None]] = []
    path = fetch(remote(server, "/a"), tmp_path, progress=lambda *args: told.append(args))
    assert path.read_bytes() == CONTENT
    assert server.asked == [("/a", "bytes=3000-")]
    assert told[-1] == ("file.bin", len(CONTENT), len(CONTENT))


def test_a_server_that_knows_no_ranges_is_read_from_the_start(server: Server, tmp_path: Path) -> None:
    server.files["/a"], server.cuts, server.ranges = CONTENT, [1_000_000], False
    path = fetch(remote(server, "/a"), tmp_path, progress=quiet)
    assert path.read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [None, "bytes=1000000-"]


def test_a_part_longer_than_the_file_is_dropped(server: Server, tmp_path: Path) -> None:
    server.files["/a"], server.cuts = CONTENT, [1, 1, 1]
    with pytest.raises(UnreachableError):
        fetch(remote(server, "/a"), tmp_path, progress=quiet)
    part_of(tmp_path).write_bytes(CONTENT + b"more")
    assert fetch(remote(server, "/a"), tmp_path, progress=quiet).read_bytes() == CONTENT


def test_a_range_that_was_not_asked_for_is_not_appended(server: Server, tmp_path: Path) -> None:
    server.files["/a"], server.cuts, server.slip = CONTENT, [1000], 5
    with pytest.raises(UnreachableError, match="another range than asked for"):
        fetch(remote(server, "/a"), tmp_path, progress=quiet)
    assert part_of(tmp_path).read_bytes() == CONTENT[:1000]


def test_a_wrong_digest_is_not_trusted_and_leaves_no_file(server: Server, tmp_path: Path) -> None:
    server.files["/a"] = CONTENT[:-1] + b"?"
    with pytest.raises(Untrusted) as caught:
        fetch(remote(server, "/a"), tmp_path, progress=quiet)
    assert caught.value.exit_code == 4
    assert f"wanted {SHA256}" in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_a_mirror_without_the_file_gives_way_to_the_next(server: Server, tmp_path: Path) -> None:
    server.files["/b"] = CONTENT
    assert fetch(remote(server, "/a", "/b"), tmp_path, progress=quiet).read_bytes() == CONTENT
    assert [path for path, _ in server.asked] == ["/a", "/b"]


def test_halves_of_two_mirrors_are_not_joined(server: Server, tmp_path: Path) -> None:
    server.files = {"/a": bytes(len(CONTENT)), "/b": CONTENT}
    server.cuts = [1000, 1000, 1000]
    assert fetch(remote(server, "/a", "/b"), tmp_path, progress=quiet).read_bytes() == CONTENT
    assert server.asked[-1] == ("/b", None)


def test_every_mirror_that_failed_is_named_with_its_reason(server: Server, tmp_path: Path) -> None:
    gone = replace(remote(server, "/a"), urls=(f"{server.base}/a", "http://127.0.0.1:9/b"))
    with pytest.raises(UnreachableError) as caught:
        fetch(gone, tmp_path, progress=quiet)
    assert "/a: http 404" in caught.value.message
    assert "http://127.0.0.1:9/b: connection refused" in caught.value.message


def test_only_web_addresses_are_read(server: Server, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(CONTENT)
    local = replace(remote(server), urls=((tmp_path / "local").as_uri(),))
    with pytest.raises(UnreachableError, match="wanted an http or https address"):
        fetch(local, tmp_path / "cache", progress=quiet)


def test_a_cache_that_cannot_be_made_is_a_one_line_error(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        fetch(remote(server, "/a"), tmp_path / "file" / "below", progress=quiet)
    assert "HARDEN_DATA" in caught.value.hint


def idx_files() -> list[bytes]:
    images = bytes([0, 0, 8, 3, 0, 0, 0, 10, 0, 0, 0, 2, 0, 0, 0, 2]) + bytes(40)
    labels = bytes([0, 0, 8, 1, 0, 0, 0, 10, *range(10)])
    return [images, labels, images, labels]


@pytest.fixture
def mirrored(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A mirror with small stand-ins for MNIST and CIFAR-10 whose digests pass for the published ones."""
    monkeypatch.setenv("HARDEN_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("HARDEN_MIRROR", f"{server.base}/mirror/")
    digests = tuple(hashlib.sha256(content).hexdigest() for content in idx_files())
    monkeypatch.setattr(mnist, "MNIST", replace(mnist.MNIST, sha256=digests))
    for name, content in zip(mnist.FILES, idx_files(), strict=True):
        server.files[f"/mirror/mnist/{name}.gz"] = gzip.compress(content)
    return server


def test_mnist_is_downloaded_once_and_then_read_from_the_cache(mirrored: Server, tmp_path: Path) -> None:
    told: list[str] = []
    first = load(Mnist(), progress=lambda file, *_: told.append(file))
    assert (first.name, first.source) == ("MNIST", str(tmp_path / "cache" / "mnist"))
    assert sorted(set(told)) == sorted(f"{name}.gz" for name in mnist.FILES)
    assert len(mirrored.asked) == 4
    assert load(Mnist()).digest == first.digest
    assert len(mirrored.asked) == 4


def test_only_files_that_are_missing_are_downloaded(mirrored: Server, tmp_path: Path) -> None:
    load(Mnist())
    mirrored.asked.clear()
    (tmp_path / "cache" / "mnist" / f"{mnist.FILES[2]}.gz").unlink()
    load(Mnist())
    assert mirrored.asked == [(f"/mirror/mnist/{mnist.FILES[2]}.gz", None)]


def test_a_login_page_in_place_of_a_file_is_not_kept(mirrored: Server, tmp_path: Path) -> None:
    mirrored.files[f"/mirror/mnist/{mnist.FILES[0]}.gz"] = b"<html>please log in</html>"
    with pytest.raises(Untrusted, match="it was deleted"):
        load(Mnist(verify=False))
    assert list((tmp_path / "cache" / "mnist").iterdir()) == []


def test_a_broken_gzip_from_a_mirror_is_not_kept(mirrored: Server, tmp_path: Path) -> None:
    name = f"/mirror/mnist/{mnist.FILES[0]}.gz"
    mirrored.files[name] = mirrored.files[name][:-5]
    with pytest.raises(Untrusted, match="unreadable content"):
        load(Mnist())
    assert list((tmp_path / "cache" / "mnist").iterdir()) == []


@pytest.mark.parametrize("choice", [Mnist(), Cifar10()])
def test_without_network_one_message_tells_three_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choice: DataChoice
) -> None:
    monkeypatch.setenv("HARDEN_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("HARDEN_MIRROR", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(DataError) as caught:
        load(choice)
    assert "connection refused" in caught.value.message
    for way in ("data.root=FOLDER", "copy its files into", "run once with network", "HARDEN_DATA"):
        assert way in caught.value.hint
    assert "\n" not in caught.value.message + caught.value.hint


def test_a_cifar10_archive_with_a_wrong_digest_is_not_kept(mirrored: Server, tmp_path: Path) -> None:
    mirrored.files[f"/mirror/cifar-10/{cifar10.ARCHIVE}"] = b"no archive"
    with pytest.raises(Untrusted, match=f"wanted {cifar10.ARCHIVE_SHA256}"):
        load(Cifar10())
    assert list((tmp_path / "cache" / "cifar-10").iterdir()) == []
