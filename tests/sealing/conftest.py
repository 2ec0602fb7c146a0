"""A cast of key holders, files in memory, and what opens them."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harden.sealing import Facts, Identity, Trust, provider, seal_bytes
from harden.sealing.identity import KeyRecipient, key_identity
from harden.sealing.keyfiles import RECIPIENT, SIGNER, SecretKey, generate
from harden.sealing.opening import unlocked
from harden.sealing.signing import signer_of
from harden.sealing.suites import CNSA, HYBRID, Suite
from harden.sealing.trust import OneSigner

PEOPLE = ("alice", "bob", "carol")
SIGNERS = ("acme", "mallory")


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
