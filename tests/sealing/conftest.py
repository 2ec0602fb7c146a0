"""A cast of key holders, files in memory, and what opens them."""

import importlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from hydra.core.global_hydra import GlobalHydra

from harden.sealing import (
    Facts,
    Identity,
    Trust,
    passphrase,
    provider,
    recipient_of,
    seal_bytes,
    seal_file,
    signer_from,
)
from harden.sealing.identity import KeyRecipient, key_identity
from harden.sealing.keyfiles import RECIPIENT, SIGNER, SecretKey, generate, write_public, write_secret
from harden.sealing.opening import unlocked
from harden.sealing.passphrase import Cost
from harden.sealing.signing import signer_of
from harden.sealing.suites import CNSA, HYBRID, Suite
from harden.sealing.trust import OneSigner

PEOPLE = ("alice", "bob", "carol")
SIGNERS = ("acme", "mallory")
DOORS = ("keygen", "seal", "unseal", "verify", "train", "evaluate")
PLAIN = bytes(range(256)) * 300


class Cast:
    """Recipients alice, bob and carol, signers acme and mallory, all of one suite; acme is the one trusted."""

    def __init__(self, suite: Suite) -> None:
        self.suite, self.provider = suite, provider()
        self.keys: dict[str, SecretKey] = {name: generate(RECIPIENT, suite, self.provider) for name in PEOPLE}
        self.keys |= {name: generate(SIGNER, suite, self.provider) for name in SIGNERS}
        self.recipients = {name: KeyRecipient(suite, self.keys[name].public.public, self.provider) for name in PEOPLE}
        self.identities = {name: key_identity(suite, self.keys[name].seed, self.provider) for name in PEOPLE}
        self.signers = {name: signer_of(suite, self.keys[name].seed, self.provider) for name in SIGNERS}
        self.trust = OneSigner(self.signers["acme"].key)

    def seal(self, plain: bytes, path: Path, **how: Any) -> bytes:
        """Seals `plain` for alice and bob, signed by acme, at `path`; the file's bytes."""
        usual: dict[str, Any] = {
            "to": [self.recipients["alice"], self.recipients["bob"]],
            "signer": self.signers["acme"],
            "facts": Facts("model"),
        }
        seal_bytes(plain, path, overwrite=True, **(usual | how))
        return path.read_bytes()

    def open(self, data: bytes, identity: Identity | None = None, trust: Trust | None = None) -> bytes:
        """What the bytes of a sealed file hold for alice, or `identity`; acme is trusted, or whom `trust` says."""
        with in_memory(data) as handle:
            return self.read(handle, identity, trust)

    def read(self, handle: int, identity: Identity | None = None, trust: Trust | None = None) -> bytes:
        """As `open`, from a descriptor."""
        who = identity or self.identities["alice"]
        found = unlocked(handle, "file", who, trust or self.trust, self.provider)
        return b"".join(map(bytes, found.payload.pieces()))


@contextmanager
def in_memory(data: bytes) -> Iterator[int]:
    """A descriptor of a file with these bytes that lies on no disk."""
    handle = os.memfd_create("sealed")
    try:
        os.write(handle, data)
        yield handle
    finally:
        os.close(handle)


@pytest.fixture(scope="session")
def cast() -> Cast:
    """The cast of the default suite."""
    return Cast(HYBRID)


@pytest.fixture(scope="session", params=[HYBRID, CNSA], ids=lambda suite: suite.name)
def each_cast(request: pytest.FixtureRequest) -> Cast:
    """The cast of every suite."""
    return Cast(request.param)


@pytest.fixture(scope="session")
def memory() -> Callable[[bytes], Any]:
    """`in_memory`, for tests that need the descriptor."""
    return in_memory


@pytest.fixture(scope="session")
def sample(cast: Cast, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A small sealed file, `data`, and what it holds, `plain`."""
    plain = bytes(range(256)) * 2 + b"end"
    return SimpleNamespace(plain=plain, data=cast.seal(plain, tmp_path_factory.mktemp("sample") / "f.sealed"))


@pytest.fixture(scope="session")
def never() -> Callable[[str], str]:
    """A way to ask for a passphrase that must not be taken."""

    def ask(what: str) -> str:
        raise AssertionError(f"nobody should be asked for the passphrase of {what}")

    return ask


class Answer(NamedTuple):
    """A door's exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of the error."""
        (line,) = [line for line in self.err.splitlines() if line.startswith("harden: error: ")]
        return line.removeprefix("harden: error: ")


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Runs a verb over the words of a command line in an empty folder. This process may be dumped still."""
    monkeypatch.chdir(tmp_path)
    doors = {verb: importlib.import_module(f"harden.{verb}") for verb in (*DOORS, "unlocking")}
    for module in doors.values():
        monkeypatch.setattr(module, "forbid_dumps", lambda: None, raising=False)
    monkeypatch.setattr(passphrase, "COST", Cost(64, 1, 1))

    def run(verb: str, *words: str) -> Answer:
        GlobalHydra.instance().clear()
        capfd.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", [f"harden.{verb}", *words])
            with pytest.raises(SystemExit) as stop:
                doors[verb].main()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Answer(int(stop.value.code or 0), out, err)

    return run


@pytest.fixture
def told() -> Any:
    """A descriptor from which passphrases can be read, a line each."""
    opened = []

    def tell(*lines: str) -> str:
        read, write = os.pipe()
        os.write(write, "".join(f"{line}\n" for line in lines).encode())
        os.close(write)
        opened.append(read)
        return f"passphrase_fd={read}"

    yield tell
    for handle in opened:
        os.close(handle)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, never: Any) -> Path:
    """A folder with keys of alice, bob and acme, a plain file, and it sealed for both and signed."""
    folder, by = tmp_path_factory.mktemp("built"), provider()
    for name, kind in (("alice", RECIPIENT), ("bob", RECIPIENT), ("acme", SIGNER)):
        key = generate(kind, HYBRID, by)
        write_secret(folder / f"{name}.key", key, None)
        write_public(folder / f"{name}.pub", key.public)
    (folder / "plain").write_bytes(PLAIN)
    seal_file(
        folder / "plain",
        folder / "f.sealed",
        to=[recipient_of(folder / f"{name}.pub", by) for name in ("alice", "bob")],
        signer=signer_from(folder / "acme.key", never, by),
        facts=Facts("resnet", metadata={"round": "2026Q3", "watermark": "1f2e", "bom": "3d4c"}),
    )
    return folder


@pytest.fixture
def house(built: Path, tmp_path: Path) -> Path:
    """A copy of that folder, where one stands."""
    return Path(shutil.copytree(built, tmp_path, dirs_exist_ok=True))
