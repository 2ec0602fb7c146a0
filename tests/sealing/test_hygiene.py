"""What the room and the doors do to their process: nothing at import, no plaintext on disk, none in a core dump."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from harden.sealing import opening
from harden.sealing.keyfiles import write_public, write_secret

WATCH = """
import sys
bad = []
STARTS = ("subprocess.", "socket.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "pty.")
def hook(event, arguments):
    if event.startswith(STARTS) or event == "ctypes.dlopen" and arguments[0]:  # without a name: the program itself
        bad.append((event, repr(arguments)[:80]))
sys.addaudithook(hook)
"""

EVERYTHING = """
import importlib, pkgutil, harden.sealing
for found in pkgutil.walk_packages(harden.sealing.__path__, "harden.sealing."):
    importlib.import_module(found.name)
"""
"""Imports every module of the room, the second provider's among them: none looks for a library by itself."""

BROKEN = {
    "absent": "sys.modules['oqs'] = None",
    "another package called oqs": "sys.path.insert(0, FOLDER)",
    "a broken library": "import os; os.environ['OQS_INSTALL_PATH'] = FOLDER; sys.path.insert(0, FOLDER)",
    "nothing called oqs at all": "sys.path[:] = [one for one in sys.path if one]",
}


def fresh(
    code: str, *words: str, folder: Path | None = None, environment: Mapping[str, object] | None = None
) -> subprocess.CompletedProcess[str]:
    """`code` in a Python process of its own."""
    variables = os.environ | {name: str(value) for name, value in (environment or {}).items()}
    line = [sys.executable, "-c", code, *words]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False, cwd=folder, env=variables)


@pytest.mark.parametrize("statement", ["import harden.sealing; harden.sealing.provider()", EVERYTHING])
@pytest.mark.parametrize("case", BROKEN)
def test_importing_the_room_starts_nothing_opens_nothing_and_prints_nothing(
    case: str, statement: str, tmp_path: Path
) -> None:
    """Nor does using it with the default provider, or importing all of it; whatever is called oqs on this machine."""
    (tmp_path / "oqs.py").write_text("print('I am not liboqs'); raise SystemExit(7)")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "liboqs.so").write_bytes(b"no library")
    code = f"""{WATCH}
FOLDER = {str(tmp_path)!r}
{BROKEN[case]}
{statement}
heavy = {{"torch", "numpy", "oqs", "mlflow", "hydra", "numba"}} & {{name for name, m in sys.modules.items() if m}}
sys.exit(repr((bad, heavy)) if bad or heavy else 0)
"""
    done = fresh(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_hook_sees_what_it_is_there_for(tmp_path: Path) -> None:
    """The control: each of these is noticed, so that silence means something."""
    code = f"""{WATCH}
import ctypes, os, socket, subprocess
subprocess.run(["true"]); socket.socket().close(); os.system("true"); ctypes.CDLL('libc.so.6')
if not os.fork(): os._exit(0)
print(sorted({{event for event, _ in bad}}))
"""
    seen = fresh(code, folder=tmp_path).stdout
    for event in ("subprocess.Popen", "socket.__new__", "os.system", "os.fork", "ctypes.dlopen"):
        assert event in seen


STRACE = shutil.which("strace")


@pytest.mark.skipif(STRACE is None, reason="strace is not installed: the audit hook of the test above alone looks")
@pytest.mark.parametrize("statement", ["import harden.sealing", EVERYTHING])
def test_the_kernel_is_asked_for_no_process_and_no_socket(statement: str, tmp_path: Path) -> None:
    """By its own account, whatever Python tells a hook; with a stranger called oqs in front."""
    (tmp_path / "oqs.py").write_text("import os; os.system('true')")
    log, calls = tmp_path / "log", "trace=execve,execveat,fork,vfork,clone,clone3,socket,connect"
    line = [str(STRACE), "-f", "-qq", "-o", str(log), "-e", calls, sys.executable, "-c"]
    place = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([*line, statement], capture_output=True, text=True, timeout=120, check=False, env=place)
    if done.returncode and "ptrace" in done.stderr.lower():
        pytest.skip(f"strace may not trace here: {done.stderr.strip()[:80]}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [text for text in log.read_text().splitlines() if " execve(" not in text and "+++" not in text] == []
    assert log.read_text().count("execve(") == 1


MARK = torch.arange(200_000, dtype=torch.float32).sin()
"""Weights whose every 32 bytes can be recognised."""


@pytest.fixture(scope="module")
def marked(cast: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sealed model and alice's and acme's keys."""
    folder = tmp_path_factory.mktemp("marked")
    cast.seal(safetensors.torch.save({"w": MARK, "b": MARK[:10].clone()}), folder / "f.sealed")
    write_secret(folder / "alice.key", cast.keys["alice"], None)
    write_public(folder / "acme.pub", cast.keys["acme"].public)
    return folder


OPEN = """
import os, resource, signal, sys
from pathlib import Path
from harden.sealing import identity_of, open_sealed, provider, trust_of
from harden.sealing.memory import forbid_dumps
folder = Path(sys.argv[1])
tensors = open_sealed(
    folder / "f.sealed", identity_of(folder / "alice.key", input, provider()), trust=trust_of(folder / "acme.pub")
)
"""


READ_ALL = """
written = lambda: int(open("/proc/self/io").read().split("wchar: ")[1].split()[0])
before = written()
found = {name: bytes(tensors[name].data) for name in tensors}
assert len(found["w"]) == 800_000
print(written() - before, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_opening_to_memory_writes_no_plaintext_anywhere(marked: Path, tmp_path: Path) -> None:
    """By the kernel's count of written characters, and in every folder that a process may think of."""
    places = {name: tmp_path / name for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "work")}
    for place in places.values():
        place.mkdir()
    done = fresh(OPEN + READ_ALL, str(marked), folder=places["work"], environment=places)
    assert done.returncode == -9, done.stderr
    assert int(done.stdout) == 0
    assert [path for place in places.values() for path in place.rglob("*")] == []
    assert sorted(path.name for path in marked.iterdir()) == ["acme.pub", "alice.key", "f.sealed"]


def test_plaintext_lies_where_no_core_dump_looks(marked: Path) -> None:
    """The kernel marks the mapping `dd`, do not dump."""
    code = (
        OPEN
        + """
import ctypes
view = tensors["w"].data
address = ctypes.addressof(ctypes.c_char.from_buffer(view))
flags, inside = "", False
for line in open("/proc/self/smaps"):
    first = line.split()[0]
    if "-" in first and not first.endswith(":"):
        low, high = (int(part, 16) for part in first.split("-"))
        inside = low <= address < high
    elif inside and line.startswith("VmFlags:"):
        flags = line
print("dd" in flags.split())
"""
    )
    done = fresh(code, str(marked))
    assert done.stdout == "True\n", done.stderr


def test_a_door_forbids_core_dumps_and_the_room_does_not() -> None:
    code = """
import ctypes, resource
from harden.sealing.memory import forbid_dumps
dumpable = lambda: ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
before = dumpable()
forbid_dumps()
print(before, dumpable(), resource.getrlimit(resource.RLIMIT_CORE))
"""
    assert fresh(code).stdout == "1 0 (0, 0)\n"


def test_our_own_copies_of_a_file_key_are_cleared(cast: Any, sample: Any) -> None:
    """Ours: the bytearray. Those of OpenSSL and of HPKE's result are out of reach and not promised."""
    seen: list[memoryview] = []
    real = opening.open_payload

    def spying(handle: int, head: Any, leaves: bytes, file_key: memoryview) -> Any:
        seen.append(file_key)
        assert any(file_key)
        return real(handle, head, leaves, file_key)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "open_payload", spying)
        assert cast.open(sample.data) == sample.plain
    assert seen == [bytes(32)]


def test_no_secret_shows_in_a_repr(cast: Any) -> None:
    seed = cast.keys["alice"].seed
    shown = repr([cast.keys["alice"], cast.identities["alice"], cast.recipients["alice"], cast.signers["acme"]])
    assert seed.hex() not in shown
    assert repr(seed)[2:-1] not in shown
