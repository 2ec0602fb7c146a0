"""age files by path: the output is whole or absent, replaces nothing, and no plaintext has a name before it is good."""

import base64
import errno
import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from harden.errors import ConfigError, HardenError, Untrusted
from harden.sealing import publish
from harden.sealing.age import (
    BadArmor,
    BadPayload,
    HybridIdentity,
    Imported,
    NoMatch,
    NotAge,
    export_age,
    exporting,
    import_age,
    importing,
)
from harden.sealing.age.payload import CHUNK

ALICE, EVE = HybridIdentity(b"a" * 32), HybridIdentity(b"e" * 32)
TO_ALICE = [ALICE.recipient()]
PLAIN = bytes(range(256)) * 600  # three chunks
OPEN = os.open


@pytest.fixture
def age(tmp_path: Path) -> Path:
    """An age file for Alice, beside the plaintext."""
    (plain := tmp_path / "plain").write_bytes(PLAIN)
    assert export_age(plain, tmp_path / "weights.age", TO_ALICE) == len(PLAIN)
    return tmp_path / "weights.age"


@pytest.fixture(params=["nameless", "refused", "named", "without links"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Systems that can and cannot write a file without a name, or link one."""
    if request.param == "refused":
        monkeypatch.setattr(os, "open", _no_nameless)
    elif request.param != "nameless":
        monkeypatch.setattr(publish, "PROC", "/nowhere")
    if request.param == "without links":
        monkeypatch.setattr(os, "link", _no_links)
    return str(request.param)


def _no_nameless(path: Path, flags: int, mode: int = 0o777) -> int:
    if flags & os.O_TMPFILE == os.O_TMPFILE:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    return OPEN(path, flags, mode)


def _no_links(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def trusting(_: Imported) -> None:
    """A check that nothing fails."""


def names(folder: Path) -> set[str]:
    """What lies in a folder, hidden files too."""
    return set(os.listdir(folder))


@pytest.mark.usefixtures("system")
def test_a_file_goes_out_and_comes_back(age: Path, tmp_path: Path) -> None:
    imported = import_age(age, tmp_path / "new" / "back", [ALICE], check=trusting)
    assert (tmp_path / "new" / "back").read_bytes() == PLAIN
    assert imported == Imported(hashlib.sha256(PLAIN).hexdigest(), len(PLAIN), ("mlkem768x25519",), post_quantum=True)
    assert names(tmp_path / "new") == {"back"}


def test_the_plaintext_is_for_its_owner_and_the_age_file_for_whom_the_mask_allows(age: Path, tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        export_age(tmp_path / "plain", tmp_path / "public.age", TO_ALICE)
        import_age(age, tmp_path / "back", [ALICE], check=trusting)
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "public.age").stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "back").stat().st_mode) == 0o600


@pytest.mark.usefixtures("system")
def test_nothing_is_published_before_the_check_and_nothing_after_it_refused(age: Path, tmp_path: Path) -> None:
    output, seen = tmp_path / "out" / "back", []

    def check(imported: Imported) -> None:
        seen.append(imported.sha256)
        assert not output.exists()
        raise Untrusted("no manifest vouches for it")

    with pytest.raises(Untrusted, match="no manifest"):
        import_age(age, output, [ALICE], check=check)
    assert seen == [hashlib.sha256(PLAIN).hexdigest()]
    assert names(tmp_path / "out") == set()


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("cut", [1, 17, CHUNK // 2, CHUNK + 100])
def test_a_cut_file_leaves_nothing_and_is_named(age: Path, tmp_path: Path, cut: int) -> None:
    age.write_bytes(age.read_bytes()[:-cut])
    with pytest.raises(BadPayload, match=r"weights\.age: payload: "):
        import_age(age, tmp_path / "out" / "back", [ALICE], check=trusting)
    assert names(tmp_path / "out") == set()


def test_a_wrong_key_makes_not_even_the_folder(age: Path, tmp_path: Path) -> None:
    with pytest.raises(NoMatch, match=r"weights\.age: no key fits; it was sealed for 1 recipient$"):
        import_age(age, tmp_path / "out" / "back", [EVE], check=trusting)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("system")
def test_an_existing_file_is_never_replaced(age: Path, tmp_path: Path) -> None:
    (output := tmp_path / "mine").write_bytes(b"mine")
    for act in (
        lambda: import_age(age, output, [ALICE], check=trusting),
        lambda: export_age(tmp_path / "plain", output, TO_ALICE),
    ):
        with pytest.raises(ConfigError, match=r"mine: exists already$"):
            act()
    assert output.read_bytes() == b"mine"


@pytest.mark.usefixtures("system")
def test_a_file_that_came_into_being_meanwhile_is_not_replaced(age: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "back"

    def check(_: Imported) -> None:
        output.write_bytes(b"theirs")

    with pytest.raises(ConfigError, match="exists already"):
        import_age(age, output, [ALICE], check=check)
    assert output.read_bytes() == b"theirs"
    assert names(tmp_path / "out") == {"back"}


def test_a_dangling_link_is_not_followed(age: Path, tmp_path: Path) -> None:
    (output := tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="exists already"):
        import_age(age, output, [ALICE], check=trusting)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("source", ["missing", "."])
def test_a_source_that_cannot_be_read_is_named(tmp_path: Path, source: str) -> None:
    with pytest.raises(HardenError, match=r"cannot be read: (no such file|is a directory)"):
        export_age(tmp_path / source, tmp_path / "out" / "x.age", TO_ALICE)
    with pytest.raises(HardenError, match=r"cannot be read: (no such file|is a directory)"):
        import_age(tmp_path / source, tmp_path / "out" / "x", [ALICE], check=trusting)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_blamed_on_the_output(age: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HardenError, match="back: cannot be written: no space left on device"):
        import_age(age, tmp_path / "out" / "back", [ALICE], check=trusting)
    assert names(tmp_path / "out") == set()


def test_a_disk_that_fails_is_blamed_on_the_source(tmp_path: Path) -> None:
    """Reading a process's own memory at 0 fails as a broken disk does."""
    with pytest.raises(HardenError, match=r"/proc/self/mem: cannot be read: input/output error"):
        export_age(Path("/proc/self/mem"), tmp_path / "x.age", TO_ALICE)
    assert names(tmp_path) == set()


def test_a_folder_that_is_a_file_is_blamed_on_the_output(age: Path) -> None:
    with pytest.raises(HardenError, match=r"weights\.age/back: cannot be written: "):
        import_age(age, age / "back", [ALICE], check=trusting)


def test_weights_that_are_no_age_file_are_told_so(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(PLAIN)
    with pytest.raises(NotAge, match=r"plain: not an age file$"):
        import_age(tmp_path / "plain", tmp_path / "back", [ALICE], check=trusting)


def test_export_takes_plaintext_from_whoever_writes_it(tmp_path: Path) -> None:
    """So weights go from one sealed form to the other without a plaintext file."""
    with exporting(tmp_path / "x.age", TO_ALICE) as writer:
        for at in range(0, len(PLAIN), 10_007):
            writer.write(PLAIN[at : at + 10_007])
        assert names(tmp_path) <= {name for name in names(tmp_path) if name.endswith(".part")}
    with importing(tmp_path / "x.age", [ALICE]) as reader:
        assert reader.plaintext_bytes == len(PLAIN)
        assert reader.readall() == PLAIN


@pytest.mark.usefixtures("system")
def test_an_export_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    def break_off() -> None:
        with exporting(tmp_path / "out" / "x.age", TO_ALICE) as writer:
            writer.write(PLAIN)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert names(tmp_path / "out") == set()


def test_an_armored_file_says_its_plaintext_size_too(age: Path, tmp_path: Path) -> None:
    (text := tmp_path / "text.age").write_bytes(_armored(age.read_bytes()))
    with importing(text, [ALICE]) as reader:
        assert reader.plaintext_bytes == len(PLAIN)
        assert reader.readall() == PLAIN
    text.write_bytes(text.read_bytes() + b"x")
    with pytest.raises(BadArmor, match=r"text\.age: the armor is followed by other data"), importing(text, [ALICE]):
        pass


def test_a_size_that_no_payload_has_is_damage(age: Path) -> None:
    age.write_bytes(age.read_bytes()[: -(len(PLAIN) % CHUNK) - 16])
    age.write_bytes(age.read_bytes() + b"12345")
    with importing(age, [ALICE]) as reader, pytest.raises(BadPayload, match="no whole number of chunks"):
        assert reader.plaintext_bytes


def test_a_pipe_is_read_once_and_says_no_size(age: Path, tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    with subprocess.Popen([sys.executable, "-c", f"open({str(pipe)!r}, 'wb').write(open({str(age)!r}, 'rb').read())"]):
        assert import_age(pipe, tmp_path / "back", [ALICE], check=trusting).plaintext_bytes == len(PLAIN)


def test_a_killed_import_leaves_no_plaintext_behind(age: Path, tmp_path: Path) -> None:
    """Where files without a name can be made: killed at the last moment, before the name is given."""
    if not hasattr(os, "O_TMPFILE"):
        pytest.skip("this system has no O_TMPFILE")
    code = f"""
import os, signal
from pathlib import Path
from harden.sealing.age import HybridIdentity, import_age
check = lambda _: os.kill(os.getpid(), signal.SIGKILL)
import_age(Path({str(age)!r}), Path({str(tmp_path / "out" / "back")!r}), [HybridIdentity(b"a" * 32)], check=check)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert done.returncode == -9
    left = names(tmp_path / "out")
    if any(name.endswith(".part") for name in left):
        pytest.skip(f"the file system of {tmp_path} cannot make files without a name")
    assert left == set()


def _armored(age: bytes) -> bytes:
    lines = base64.b64encode(age).decode()
    body = "\n".join(lines[at : at + 64] for at in range(0, len(lines), 64))
    return f"-----BEGIN AGE ENCRYPTED FILE-----\n{body}\n-----END AGE ENCRYPTED FILE-----\n".encode()
