"""What can be said of a sealed file without opening it: `inspect` believes it, `verify` checks it."""

from collections import deque
from dataclasses import dataclass
from pathlib import Path

from harden.sealing.ciphertext import Ciphertext
from harden.sealing.heads import Head, Marked, Slots, opened, read_head, read_marked, read_slots
from harden.sealing.identity import Identity
from harden.sealing.opening import check_origin, payload_of
from harden.sealing.provider import Provider, provider
from harden.sealing.trust import Trust


@dataclass(frozen=True)
class Report:
    """A file's head, hash list and slots. `settled`: both slots are equal, so no rewrap was cut short."""

    head: Head
    marked: Marked
    slots: Slots

    @property
    def settled(self) -> bool:
        """Whether both slots are whole and equal."""
        return self.slots.equal


def inspect(path: Path) -> Report:
    """What the file at `path` says of itself; nothing is checked but its structure. Raises NotSealed, Damaged."""
    with opened(path) as handle:
        head = read_head(handle, str(path))
        return Report(head, read_marked(handle, head), read_slots(handle, head))


def verify(path: Path, trust: Trust, *, identity: Identity | None = None, by: Provider | None = None) -> Report:
    """Checks everything that needs no secret: structure, signature, trust, epoch, and every byte of the payload.

    With an `identity`, the tags of the slots, the commitment and every chunk's tag too. Raises as
    `opening.unlocked`, but lets a rewrap that was cut short pass: see `settled`.
    """
    by = by or provider()
    with opened(path) as handle:
        head = read_head(handle, str(path))
        marked, slots = read_marked(handle, head), read_slots(handle, head)
        check_origin(head, marked, trust, by)
        if identity is None:
            digest = head.preamble.suite.digest
            Ciphertext(handle, head.layout, marked.leaves, digest, head.where).check()
        else:
            deque(payload_of(handle, head, marked, slots, identity).pieces(), maxlen=0)
            trust.advance(head.core.signer, head.core.facts.model_id, marked.seen(head), head.where)
        return Report(head, marked, slots)
