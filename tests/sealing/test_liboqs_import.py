"""Looking for liboqs starts no process, opens no socket, prints nothing: absent, broken, shadowed, or there.

Each case is a child process whose audit hook writes down what must not happen. `oqs` comes from a folder of the
test's own, with a RECORD; the real liboqs-python, where it is installed, is tried against libraries that are none.
"""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

FAKE = Path(__file__).with_name("liboqs_fake.py")

CHILD = """
import json, os, sys
events = []
WATCHED = ("subprocess.", "os.exec", "os.system", "os.fork", "os.posix_spawn", "os.spawn", "pty.", "socket.")
def watch(event, arguments):
    if event.startswith(WATCHED):
        events.append(event)
sys.addaudithook(watch)
import harden.sealing
before = "oqs" in sys.modules
report = {"imported": before, "error": "", "hint": "", "kind": "", "works": False}
try:
    from harden.sealing.suites import X_WING
    found = harden.sealing.provider("oqs")
    blob = found.wrap(X_WING, found.public_of_kem(X_WING, bytes(32)), bytes(32), b"")
    report["works"] = harden.sealing.provider().opener(X_WING, bytes(32))(blob, b"") == bytes(32)
except BaseException as error:
    report.update(kind=type(error).__name__, error=str(error), hint=getattr(error, "hint", ""))
report["after"] = "oqs" in sys.modules
report["events"] = events
open(os.environ["REPORT"], "w").write(json.dumps(report))
"""

HOSTILE = """
import os, subprocess, socket
print("a stranger runs")
open(os.environ["TOUCHED"], "w").close()
subprocess.run(["true"])
socket.socket()
"""


class Place:
    """A folder with packages in front of all others, and a prefix for the library."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.site, self.prefix = folder, folder / "site", folder / "prefix"
        (self.prefix / "lib").mkdir(parents=True)
        self.site.mkdir()

    def package(self, source: str, version: str = "0.16.0.1", recorded: str | None = None) -> None:
        """Lay down liboqs-python with `source` as oqs/oqs.py; RECORD has the digest of `recorded`, or of it."""
        files = {"oqs/__init__.py": "from oqs.oqs import *\n", "oqs/oqs.py": source}
        info = self.site / f"liboqs_python-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: liboqs-python\nVersion: {version}\n")
        lines = []
        for name, text in files.items():
            (self.site / "oqs").mkdir(exist_ok=True)
            (self.site / name).write_text(text)
            said = recorded if recorded is not None and name == "oqs/oqs.py" else text
            digest = base64.urlsafe_b64encode(hashlib.sha256(said.encode()).digest()).rstrip(b"=").decode()
            lines.append(f"{name},sha256={digest},{len(text)}")
        (info / "RECORD").write_text("\n".join(lines) + "\n")

    def library(self, version: str | None) -> None:
        """A shared library that answers OQS_version with `version`; None: it has no such function."""
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler to make a library that answers OQS_version")
        code = "int other;" if version is None else f'const char *OQS_version(void) {{ return "{version}"; }}'
        target = self.prefix / "lib" / "liboqs.so"
        done = subprocess.run([compiler, "-shared", "-fPIC", "-x", "c", "-o", target, "-"], input=code.encode())
        assert done.returncode == 0

    def run(self, code: str = CHILD, **environment: str) -> dict[str, Any]:
        """What the child reported. It printed nothing, started nothing and touched nothing."""
        report, touched = self.folder / "report", self.folder / "touched"
        around = {key: value for key, value in os.environ.items() if not key.startswith(("OQS", "PYOQS"))}
        around |= {"PYTHONPATH": str(self.site), "OQS_INSTALL_PATH": str(self.prefix), "PYTHONSAFEPATH": "1"}
        around |= {"REPORT": str(report), "TOUCHED": str(touched), "HOME": str(self.folder)} | environment
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=around, timeout=60, check=False)
        assert (done.stdout, done.stderr, done.returncode) == (b"", b"", 0)
        assert not touched.exists()
        found: dict[str, Any] = json.loads(report.read_text())
        assert found["events"] == []
        assert not found["imported"]
        return found


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def refused(found: dict[str, Any], words: str) -> None:
    """`provider("oqs")` said in one line what is missing and the way out, and did not leave `oqs` behind."""
    assert found["kind"] == "MissingExtra"
    assert words in found["error"]
    assert "\n" not in found["error"] + found["hint"]
    assert "liboqs-python" in found["error"] + found["hint"] or "harden[oqs]" in found["hint"]
    assert not found["after"]


def test_package_and_library_that_pass_are_imported_and_work(place: Place) -> None:
    place.package(FAKE.read_text())
    place.library("0.16.0")
    found = place.run()
    assert (found["kind"], found["error"], found["works"]) == ("", "", True)


def test_without_a_library_nothing_is_imported(place: Place) -> None:
    place.package(HOSTILE)
    refused(place.run(), "liboqs.so")


def test_a_text_file_called_liboqs_so_is_no_library(place: Place) -> None:
    place.package(HOSTILE)
    (place.prefix / "lib" / "liboqs.so").write_text("not a library\n")
    refused(place.run(), "cannot be loaded")


def test_a_text_file_in_lib64_is_no_library_either(place: Place) -> None:
    place.package(HOSTILE)
    (place.prefix / "lib64").mkdir()
    (place.prefix / "lib64" / "liboqs.so").write_text("")
    refused(place.run(), "lib64")


def test_a_pipe_called_liboqs_so_does_not_hang(place: Place) -> None:
    place.package(HOSTILE)
    os.mkfifo(place.prefix / "lib" / "liboqs.so")
    refused(place.run(), "there is no")


def test_a_library_without_a_version_is_no_liboqs(place: Place) -> None:
    place.package(HOSTILE)
    place.library(None)
    refused(place.run(), "no liboqs")


@pytest.mark.parametrize("version", ["0.15.0", "0.160.0", "1.16.0", ""])
def test_a_library_of_another_version_is_refused(place: Place, version: str) -> None:
    place.package(HOSTILE)
    place.library(version)
    refused(place.run(), f"is liboqs {version}, wanted 0.16")


def test_a_package_of_another_version_is_refused(place: Place) -> None:
    place.package(HOSTILE, version="0.12.1")
    place.library("0.16.0")
    refused(place.run(), "is 0.12.1, wanted 0.16")


def test_a_file_that_is_not_what_was_installed_is_never_run(place: Place) -> None:
    place.package(HOSTILE, recorded=FAKE.read_text())
    place.library("0.16.0")
    refused(place.run(), "is not the file")


def test_a_record_without_digests_is_not_believed(place: Place) -> None:
    place.package(HOSTILE)
    place.library("0.16.0")
    record = next(place.site.glob("*.dist-info")) / "RECORD"
    record.write_text("oqs/__init__.py,,\noqs/oqs.py,,\n")
    refused(place.run(), "no digest of oqs/__init__.py, oqs/oqs.py")


def test_a_stranger_of_the_same_name_in_front_is_never_run(place: Place) -> None:
    place.package(FAKE.read_text())
    place.library("0.16.0")
    front = place.folder / "front"
    front.mkdir()
    (front / "oqs.py").write_text(HOSTILE)
    refused(place.run(PYTHONPATH=f"{front}{os.pathsep}{place.site}"), "front/oqs.py")


def test_a_stranger_of_the_same_name_alone_is_never_run(place: Place) -> None:
    (place.site / "oqs").mkdir()
    (place.site / "oqs" / "__init__.py").write_text(HOSTILE)
    found = place.run()
    assert found["kind"] == "MissingExtra"
    assert not found["after"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import subprocess; subprocess.run(['git', 'clone', 'nothing'])", "Stopped subprocess.Popen"),
        ("import os; os.system('git clone nothing')", "Stopped os.system"),
        ("import tempfile; tempfile.mkdtemp()", "Stopped tempfile.mkdtemp"),
        ("raise SystemExit(1)", "SystemExit 1"),
        ("print('aloud'); import logging; logging.getLogger('oqs.oqs').error('aloud')\n1 / 0", "ZeroDivisionError"),
        ("import warnings; warnings.warn('aloud')", "AttributeError"),
    ],
)
def test_what_a_listed_package_tries_at_import_is_stopped_and_told(place: Place, source: str, words: str) -> None:
    place.package(source)
    place.library("0.16.0")
    code = CHILD.replace("sys.addaudithook(watch)", "")  # the event is raised by the attempt, which our hook ends
    refused({**place.run(code), "after": False}, words)


def test_a_package_that_loaded_another_library_is_refused(place: Place) -> None:
    place.package(FAKE.read_text() + "\nNative._name = '/usr/lib/liboqs.so.9'\n")
    place.library("0.16.0")
    refused({**place.run(), "after": False}, "has loaded /usr/lib/liboqs.so.9")


def test_a_library_that_makes_other_keys_is_refused(place: Place) -> None:
    place.package(FAKE.read_text().replace("from_seed_bytes(seed)", "from_seed_bytes(b'x' + seed[1:])"))
    place.library("0.16.0")
    refused({**place.run(), "after": False}, "other keys of a seed")


REAL = """
import importlib, json, os, sys
from harden.sealing import liboqs_detect
stopped = ""
try:
    with liboqs_detect.supervised():
        importlib.import_module("oqs")
except BaseException as error:
    stopped = f"{type(error).__name__} {error}"
report = {"imported": False, "events": [], "stopped": stopped}
open(os.environ["REPORT"], "w").write(json.dumps(report))
"""


@pytest.fixture
def real_wrapper() -> None:
    """The liboqs-python that is installed beside pytest, which a child finds too."""
    try:
        metadata.distribution("liboqs-python")
    except metadata.PackageNotFoundError:
        pytest.skip("liboqs-python is not installed")


@pytest.mark.usefixtures("real_wrapper")
def test_the_real_wrapper_is_stopped_before_its_countdown_where_there_is_no_library(place: Place) -> None:
    found = place.run(REAL)
    assert found["stopped"] == "Stopped tempfile.mkdtemp"


@pytest.mark.usefixtures("real_wrapper")
def test_the_real_wrapper_is_not_imported_without_a_library(place: Place) -> None:
    refused(place.run(), "liboqs.so")


@pytest.mark.usefixtures("real_wrapper")
def test_the_real_wrapper_over_a_library_that_only_knows_its_version_starts_nothing(place: Place) -> None:
    place.library("0.16.0")
    code = CHILD.replace("sys.addaudithook(watch)", "")
    refused({**place.run(code), "after": False}, "AttributeError")
