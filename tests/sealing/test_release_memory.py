"""What is left in memory, measured from outside: a child holds secrets, its parent reads /proc/<child>/mem.

Our own buffers must hold nothing. What OpenSSL and Python keep is counted and printed, and not promised away.
"""

import ctypes
import hashlib
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from harden.sealing import keyfiles, provider, seal_bytes
from harden.sealing.core import Facts
from harden.sealing.identity import KeyRecipient
from harden.sealing.memory import secret_key, secret_memory, wipe
from harden.sealing.suites import HYBRID

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
CANARY = hashlib.sha256(b"canary").digest()
"""No run of numbers: the interpreter has tables of all bytes in order, which are no plaintext."""

OPENS = """
import ctypes, sys
from pathlib import Path
from harden.sealing import keyfiles, open_sealed, opening, provider

kept = []

def wait(word, *numbers):
    print(word, *numbers, flush=True)
    sys.stdin.readline()

def spying(handle, head, leaves, file_key, honest=opening.open_payload):
    kept.append(file_key)  # else the allocator's own marks in what was freed would hide that nobody cleared it
    wait("open", ctypes.addressof(ctypes.c_char.from_buffer(file_key)))
    return honest(handle, head, leaves, file_key)

opening.open_payload = spying
sealed, key = map(Path, sys.argv[1:])
tensors = open_sealed(sealed, keyfiles.identity_of(key, lambda _: "", provider()), trust=None)
tensor = tensors["w"]
wait("read", ctypes.addressof(ctypes.c_char.from_buffer(tensor.data)))
del tensor
tensors.close()
del tensors
wait("closed")
"""


class Recipient(KeyRecipient):
    """A recipient that keeps the file key, for the test to look for."""

    def wrap(self, file_key: bytes, info: bytes) -> bytes:
        SEEN.append(file_key)
        return super().wrap(file_key, info)


SEEN: list[bytes] = []


def sealed(folder: Path) -> bytes:
    """Seals one tensor full of the canary; returns the file key."""
    by = provider()
    key = keyfiles.generate(keyfiles.RECIPIENT, HYBRID, by)
    keyfiles.write_secret(folder / "a.key", key, None)
    data = CANARY * 2048
    head = b'{"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (len(data), len(data))
    head += b" " * (-len(head) % 8)
    to = [Recipient(HYBRID, key.public.public, by)]
    facts = Facts("m", 1, "", {})
    seal_bytes(len(head).to_bytes(8, "little") + head + data, folder / "w.sealed", to=to, facts=facts)
    return SEEN[-1]


@contextmanager
def child(code: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A Python that runs `code` and waits where it asks for a line."""
    command = [sys.executable, "-c", code, *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout
    return process.stdout.readline().split()


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()


def count(pid: int, needle: bytes) -> int:
    """How often the bytes occur in all that the process has mapped writable."""
    found = 0
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            first, last, mode = re.match(r"(\w+)-(\w+) (\S+)", line).groups()  # type: ignore[union-attr]
            if mode.startswith("rw"):
                found += _read(memory, int(first, 16), int(last, 16) - int(first, 16)).count(needle)
    return found


def at(pid: int, address: int, size: int) -> bytes:
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        return _read(memory, address, size)


def _read(memory: IO[bytes], address: int, size: int) -> bytes:
    try:
        memory.seek(address)
        return memory.read(size) or b""
    except (OSError, ValueError):  # [vvar], or unmapped since
        return b""


def test_after_close_our_own_buffers_hold_neither_key_nor_plaintext(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file_key = sealed(tmp_path)
    with child(OPENS, str(tmp_path / "w.sealed"), str(tmp_path / "a.key")) as process:
        word, key_at = said(process)
        assert word == "open"
        try:
            held = at(process.pid, int(key_at), 32)
        except PermissionError:
            pytest.skip("this system lets no parent read a child's memory")
        assert held == file_key, "the control: while it is open, the key is where we look"
        during = count(process.pid, file_key)
        go_on(process)
        word, data_at = said(process)
        assert word == "read"
        assert at(process.pid, int(data_at), 32) == CANARY, "the control for the plaintext"
        assert count(process.pid, CANARY) >= 2048
        go_on(process)
        assert said(process) == ["closed"]
        own = int(at(process.pid, int(key_at), 32) != bytes(32))
        after, plain = count(process.pid, file_key), count(process.pid, CANARY)
        still = int(at(process.pid, int(data_at), 32) == CANARY)
    with capsys.disabled():
        sys.stdout.write(
            f"\nfile key: {during} copies while opening, {after} after close, {own} of them in our own buffer; "
            f"plaintext: {plain} of 2048 pieces after close, {still} of them in our own buffer\n"
        )
    assert (own, still) == (0, 0)


def test_secret_memory_is_marked_not_to_be_dumped() -> None:
    view = secret_memory(1 << 20)
    address = ctypes.addressof(ctypes.c_char.from_buffer(view))
    assert "dd" in _flags(address)
    ordinary = bytearray(1 << 20)
    assert "dd" not in _flags(ctypes.addressof(ctypes.c_char.from_buffer(ordinary)))


def _flags(address: int) -> list[str]:
    """VmFlags of the mapping that holds the address."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if bounds := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(bounds[1], 16) <= address < int(bounds[2], 16)
        elif inside and line.startswith("VmFlags:"):
            return line.split()[1:]
    raise AssertionError("no such mapping")


FORBIDS = """
import contextlib, ctypes, os, resource, sys
from harden.sealing.memory import forbid_dumps
with contextlib.suppress(ValueError, OSError):  # root may not raise it everywhere
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2) if sys.argv[1] == "root" else None
before = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
forbid_dumps()
print(before, ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), *resource.getrlimit(resource.RLIMIT_CORE), flush=True)
sys.stdin.readline()
"""


def test_a_door_leaves_no_core_and_is_not_dumpable() -> None:
    with child(FORBIDS, "root" if os.geteuid() == 0 else "user") as process:
        assert said(process) == ["1", "0", "0", "0"]
        os.kill(process.pid, signal.SIGSEGV)
        _, status = os.waitpid(process.pid, 0)
        process.returncode = -signal.SIGSEGV
    assert os.WTERMSIG(status) == signal.SIGSEGV
    assert not os.WCOREDUMP(status)


def test_importing_key_release_opens_no_socket_starts_no_process_and_changes_nothing() -> None:
    code = """
import sys
happened = []
watched = ("socket.", "subprocess", "os.fork", "os.exec", "os.posix_spawn")
sys.addaudithook(lambda name, _: happened.append(name) if name.startswith(watched) else None)
import resource
before = resource.getrlimit(resource.RLIMIT_CORE)
import harden.sealing
assert not [name for name in sys.modules if name.startswith(("harden.sealing.release", "pkcs11"))]
from harden.sealing.release import attest, attested, jwe, kbs, pkcs11, software, split, trustee
assert "pkcs11" not in sys.modules
assert resource.getrlimit(resource.RLIMIT_CORE) == before
print(happened)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""


def test_a_key_of_ours_is_neither_dumped_nor_swapped_and_can_be_overwritten() -> None:
    """`lo`: locked, where the limit of the process allows it, as it does for a page nearly everywhere."""
    key = secret_key(CANARY)
    address = ctypes.addressof(ctypes.c_char.from_buffer(key))
    assert {"dd", "lo"} <= set(_flags(address)) or resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] < 4096
    assert key == CANARY
    wipe(key)
    assert key == bytes(32)
    assert len(secret_key(b"")) == 0
