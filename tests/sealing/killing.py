"""Kills a process in the midst of sealing, again and again, and looks at what is left.

    python tests/sealing/killing.py seal|unseal|rewrap|copy|rotate POINTS FOLDER SEED

Each trial forks; the child does the work and dies by SIGKILL: at a chosen system call that changes a file, before it,
after it or, for a write, after a part of its bytes; or at a random moment, by the parent's hand. Prints JSON: how
often it was killed, how often the old or the new state was found, and every trial that left anything else.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harden.errors import HardenError
from harden.sealing import Change, Facts, provider, rewrap, rotate, seal_bytes, unseal_bytes, unseal_file, verify
from harden.sealing.errors import WrongKey
from harden.sealing.identity import KeyRecipient, key_identity
from harden.sealing.keyfiles import RECIPIENT, SIGNER, generate
from harden.sealing.signing import signer_of
from harden.sealing.suites import HYBRID
from harden.sealing.trust import OneSigner

CALLS = ("write", "pwrite", "sendfile", "fsync", "fdatasync", "link", "replace", "unlink")
BY = provider()
KEYS = {name: generate(RECIPIENT, HYBRID, BY) for name in ("alice", "bob", "carol")}
TO = {name: KeyRecipient(HYBRID, key.public.public, BY) for name, key in KEYS.items()}
WHO = {name: key_identity(HYBRID, key.seed, BY) for name, key in KEYS.items()}
SIGNED = signer_of(HYBRID, generate(SIGNER, HYBRID, BY).seed, BY)
TRUST = OneSigner(SIGNED.key)
PLAIN = random.Random(0).randbytes(2_500_000)
"""Few enough that no threads are started, as the child is a fork."""


class Trial:
    """One action: `prepare` makes the state before, `act` changes it, `state` tells before, after or what is wrong."""

    def __init__(self, folder: Path) -> None:
        self.file, self.plain, self.copy = folder / "f.sealed", folder / "plain", folder / "copy.sealed"
        self.folder = folder

    def fresh(self) -> None:
        """The sealed file for alice and bob."""
        seal_bytes(PLAIN, self.file, to=[TO["alice"], TO["bob"]], signer=SIGNED, facts=Facts("m"))

    def clear(self) -> None:
        """An empty folder."""
        for path in self.folder.iterdir():
            path.unlink()

    def prepare(self, action: str) -> None:
        """The state before the action."""
        self.clear()
        if action != "seal":
            if not hasattr(self, "bytes"):
                self.fresh()
                self.bytes = self.file.read_bytes()
            self.file.write_bytes(self.bytes)

    def act(self, action: str) -> None:
        """The action."""
        actions: dict[str, Callable[[], Any]] = {
            "seal": self.fresh,
            "unseal": lambda: unseal_file(self.file, self.plain, WHO["alice"], trust=TRUST),
            "rewrap": lambda: rewrap(self.file, WHO["alice"], Change([TO["alice"], TO["carol"]]), trust=TRUST),
            "copy": lambda: rewrap(self.file, WHO["alice"], Change([TO["carol"]]), trust=TRUST, output=self.copy),
            "rotate": lambda: rotate(
                self.file, self.file, WHO["alice"], to=[TO["carol"]], signer=SIGNED, trust=TRUST, overwrite=True
            ),
        }
        actions[action]()

    def state(self, action: str) -> str:
        """`before` or `after`; anything else is an error."""
        names = {path.name for path in self.folder.iterdir()}
        strangers = names - {"f.sealed", "plain", "copy.sealed"}
        if action == "rotate":  # a rename replaces, and takes a name; what a kill just before it leaves is whole
            strangers = {name for name in strangers if not self.is_whole(name)}
        if strangers:
            return f"left behind: {sorted(strangers)}"
        if action == "seal" and not names:
            return "before"
        if action == "unseal":
            if "plain" in names:
                return "after" if self.plain.read_bytes() == PLAIN else "a part of the plain file"
            return "before"
        if action == "copy":
            if self.file.read_bytes() != self.bytes:
                return "the file that was copied is another"
            if "copy.sealed" not in names:
                return "before"
            verify(self.copy, TRUST)
            return "after" if self.opens("carol", self.copy) else "the copy does not open"
        bob, carol = (self.opens(name) for name in ("bob", "carol"))
        if action == "seal":
            return "after" if bob else "does not open"
        if action == "rewrap":
            if not self.opens("alice"):
                return "who stays is locked out"
            verify(self.file, TRUST)
            return "after" if carol else "before" if bob else "opens for neither set"
        return "after" if carol and not bob else "before" if bob and not carol else "neither old nor new"

    def is_whole(self, name: str) -> bool:
        """Whether a file that was left behind is a complete sealed file under a temporary name."""
        return name.endswith(".part") and verify(self.folder / name, TRUST).settled

    def opens(self, name: str, file: Path | None = None) -> bool:
        """Whether the file, or another one, opens for somebody, to what was sealed."""
        try:
            return bytes(unseal_bytes(file or self.file, WHO[name], trust=TRUST)[0]) == PLAIN
        except WrongKey:
            return False


def dying_at(number: int, share: float) -> None:
    """From now on, dies at the call of that number: before it (share 0), after it (1), or after a share of a write."""
    count = [0]

    def guarded(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            count[0] += 1
            if count[0] != number:
                return real(*args, **named)
            if name in ("write", "pwrite") and 0 < share < 1:
                data = memoryview(args[1])
                real(args[0], data[: int(len(data) * share)], *args[2:])
            elif name == "sendfile" and 0 < share < 1:
                real(*args[:3], int(args[3] * share))
            elif share == 1:
                real(*args, **named)
            return os.kill(os.getpid(), signal.SIGKILL)

        return call

    for name in CALLS:
        setattr(os, name, guarded(name, getattr(os, name)))


def run(trial: Trial, action: str, at: tuple[int, float] | None, delay: float | None) -> bool:
    """One trial; whether the child was killed."""
    child = os.fork()
    if not child:
        try:
            if at is not None:
                dying_at(*at)
            trial.act(action)
        finally:
            os._exit(0)
    if delay is not None:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def main() -> None:
    """Runs the trials."""
    action, points, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    rng, trial = random.Random(sys.argv[4]), Trial(folder)
    trial.prepare(action)
    began = time.perf_counter()
    run(trial, action, None, None)
    takes = time.perf_counter() - began
    told: dict[str, Any] = {"killed": 0, "before": 0, "after": 0, "wrong": []}
    systematic = [(number, share) for number in range(1, 40) for share in (0, 0.0001, 0.3, 0.9, 1)]
    rng.shuffle(systematic)
    while told["killed"] < points:
        trial.prepare(action)
        at = systematic.pop() if systematic and rng.random() < 0.7 else None
        delay = None if at else rng.uniform(0, takes)
        was_killed = run(trial, action, at, delay)
        told["killed"] += was_killed
        try:
            state = trial.state(action)
        except HardenError as error:
            state = f"{type(error).__name__}: {error}"
        if state in ("before", "after"):
            told[state] += was_killed
        else:
            told["wrong"].append([str(at), delay, state])
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
