"""Sealing: a file or bytes in memory, for recipients, signed; and anew under another key (`rotate`)."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harden.errors import ConfigError
from harden.sealing import layout as layouts
from harden.sealing import leaves as lists
from harden.sealing import slots as slots_of
from harden.sealing.core import LARGEST_PLAINTEXT, Core, Facts
from harden.sealing.derive import binding, payload_key, wrap_info
from harden.sealing.errors import Damaged
from harden.sealing.heads import Head, opened, read
from harden.sealing.identity import Recipient
from harden.sealing.layout import Layout, Preamble, layout_of
from harden.sealing.memory import secret_key, wipe
from harden.sealing.publish import naming, publishing, write_all
from harden.sealing.signing import Signer, message_of
from harden.sealing.slots import ENTRY, MOST, PASSPHRASE, Entry
from harden.sealing.suites import FILE_KEY, HYBRID, Suite
from harden.sealing.tensors import contents_of
from harden.sealing.writing import Source, from_file, from_memory, write_payload


@dataclass(frozen=True)
class Plaintext:
    """What is to be sealed: `size` bytes, and what gives them in order."""

    size: int
    format: str
    source: Callable[[], Source]


@dataclass(frozen=True)
class Sealed:
    """What was made: the head, and the root of the hash list, which together are what was signed."""

    head: Head
    root: bytes


def seal_file(source: Path, output: Path, *, overwrite: bool = False, **how: Any) -> Sealed:
    """Seals the file `source` as `output`; `how` as for `seal`."""
    with opened(source) as handle:
        with naming(source):
            size = os.fstat(handle).st_size
        kind = _format(lambda at, length: read(handle, at, length, str(source)), size, str(source))
        plain = Plaintext(size, kind, lambda: from_file(handle, size, source))
        return seal(plain, output, overwrite=overwrite, **how)


def seal_bytes(data: Any, output: Path, *, overwrite: bool = False, **how: Any) -> Sealed:
    """Seals `data`, any buffer of bytes, as `output`, without a plain file on the way; `how` as for `seal`."""
    view = memoryview(data).cast("B")
    kind = _format(lambda at, length: bytes(view[at : at + length]), len(view), "")
    return seal(Plaintext(len(view), kind, lambda: from_memory(view)), output, overwrite=overwrite, **how)


def seal(
    plain: Plaintext,
    output: Path,
    *,
    to: Sequence[Recipient],
    facts: Facts,
    signer: Signer | None = None,
    room: int = 1,
    overwrite: bool = False,
) -> Sealed:
    """Seals for the recipients `to`, with room for `room` more, and signs if there is a signer.

    The file appears whole or not at all. Raises ConfigError where recipients and signer do not go together, or
    `output` exists and is not to be overwritten; Unreadable where the system refuses.
    """
    suite = common_suite(to, signer)
    if plain.size >= LARGEST_PLAINTEXT:
        raise ConfigError(f"{plain.size} bytes are too many, a sealed file holds fewer than {LARGEST_PLAINTEXT}")
    core = Core(
        facts,
        created=int(time.time()),
        file_id=os.urandom(16).hex(),
        format=plain.format,
        plaintext_bytes=plain.size,
        signer=signer.key.id if signer else "",
    )
    file_key = secret_key(os.urandom(FILE_KEY))
    try:
        with publishing(output, overwrite=overwrite) as handle:
            return _write(handle, plain, output, suite, core, to, signer, room, file_key)
    finally:
        wipe(file_key)


def common_suite(to: Sequence[Recipient], signer: Signer | None) -> Suite:
    """The one suite of all recipients and the signer. Raises ConfigError."""
    if not 1 <= len(to) <= MOST:
        raise ConfigError(f"a file is sealed for 1 to {MOST} recipients, got {len(to)}", "say to=[alice.pub]")
    if len(to) > 1 and any(one.kind == PASSPHRASE for one in to):
        raise ConfigError("a passphrase stands alone: whoever guesses it needs no other key", "seal twice")
    suites = {one.suite for one in to if one.suite} | ({signer.key.suite} if signer else set())
    if len(suites) > 1:
        names = ", ".join(sorted(suite.name for suite in suites))
        raise ConfigError(f"the keys are of different suites: {names}", "a file has one suite: make keys of one")
    return suites.pop() if suites else HYBRID


def wrapped(file_key: bytes | memoryview, to: Sequence[Recipient], suite: Suite, bound: bytes) -> list[Entry]:
    """The file key for each recipient."""
    key = bytes(file_key)
    return [Entry(one.kind, one.wrap(key, wrap_info(suite, one.kind, bound))) for one in to]


def _write(
    handle: int,
    plain: Plaintext,
    output: Path,
    suite: Suite,
    core: Core,
    to: Sequence[Recipient],
    signer: Signer | None,
    room: int,
    file_key: memoryview,
) -> Sealed:
    text = core.encode()
    preamble = Preamble(suite, len(text), layouts.LEAST_SLOT)
    bound = binding(preamble, text)  # does not depend on the length of the slots
    entries = wrapped(file_key, to, suite, bound)
    spare = room * (ENTRY.size + len(entries[0].blob)) if entries[0].kind != PASSPHRASE else 0
    preamble = replace(preamble, slot_len=layouts.slot_len_for(slots_of.used_by(entries) + spare))
    slot = slots_of.encode(entries, 1, file_key=file_key, preamble=preamble, bound=bound)
    layout = layout_of(preamble, core)
    write_all(handle, (preamble.encode() + text).ljust(layout.slots, b"\0") + slot + slot)
    key = payload_key(file_key, bound)
    leaves = write_payload(handle, plain.source(), plain.size, key, bound, suite.digest)
    root = lists.root(suite.digest, leaves, layout.leaves)
    write_all(handle, leaves + _signature(suite, bound, layout, root, signer))
    return Sealed(Head(str(output), preamble, core, layout, bound), root)


def _signature(suite: Suite, bound: bytes, layout: Layout, root: bytes, signer: Signer | None) -> bytes:
    return signer.sign(message_of(suite, bound, layout, root, signer.key.id)) if signer else b""


def _format(at: Callable[[int, int], bytes], size: int, name: str) -> str:
    """What the bytes are. A file that calls itself safetensors must be one."""
    try:
        contents_of(at, size, name)
    except Damaged:
        if name.endswith(".safetensors"):
            raise
        return "bytes"
    return "safetensors"
