"""Opening a sealed file, in the one order that is safe.

Size and preamble; core; the one size that follows; padding; signature and trust, which need no secret, so that no
private key meets input of strangers; slots and file key; commitment; the last chunk, which fixes the length. Only
then plaintext, each leaf and tag before its bytes are used.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from harden.sealing.derive import payload_key, wrap_info
from harden.sealing.errors import BadSignature, Damaged, Refused, Unsigned, WrongKey, WrongPassphrase
from harden.sealing.heads import COPIES, FRESH, Head, Marked, Slots, read_head, read_marked, read_slots
from harden.sealing.identity import Identity
from harden.sealing.memory import secret_key, wipe
from harden.sealing.payload import Payload
from harden.sealing.provider import Provider
from harden.sealing.signing import failing, message_of
from harden.sealing.slots import PASSPHRASE
from harden.sealing.trust import Trust

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unlocked:
    """A file whose plaintext can be read."""

    head: Head
    marked: Marked
    payload: Payload


def unlocked(handle: int, where: str, identity: Identity, trust: Trust | None, provider: Provider) -> Unlocked:
    """The file behind `handle`, opened; `trust` None: its origin is not asked for.

    Raises NotSealed, Damaged, WrongKey, Untrusted and their children, Refused, Unreadable.
    """
    head = read_head(handle, where)
    marked = read_marked(handle, head)
    if trust is not None:
        check_origin(head, marked, trust, provider)
    payload = payload_of(handle, head, marked, read_slots(handle, head), identity)
    if trust is not None:
        trust.advance(head.core.signer, head.core.facts.model_id, marked.seen(head), where)
    return Unlocked(head, marked, payload)


def payload_of(handle: int, head: Head, marked: Marked, slots: Slots, identity: Identity) -> Payload:
    """The plaintext for `identity`: slots, commitment and last chunk are checked. Raises WrongKey, Damaged, Refused."""
    file_key = unlock(head, slots, identity)
    try:
        return open_payload(handle, head, marked.leaves, file_key)
    finally:
        wipe(file_key)


def check_origin(head: Head, marked: Marked, trust: Trust, provider: Provider) -> None:
    """Nothing if a trusted signer made exactly this file, and no later one was seen; else an Untrusted."""
    signer, where = head.core.signer, head.where
    if not signer:
        raise Unsigned(f"{where}: is not signed", "any of its recipients could have made it: ask for a signed one")
    key = trust.key(signer, where)
    if key.suite != head.preamble.suite:
        raise BadSignature(f"{where}: is of suite {head.preamble.suite.name}, its signer's key of {key.suite.name}")
    message = message_of(key.suite, head.bound, head.layout, marked.root, signer)
    if wrong := failing(key, message, marked.signature, provider):
        raise BadSignature(f"{where}: the signature is not one of this file: {' and '.join(wrong)} said no", FRESH)
    trust.check(signer, head.core.facts.model_id, marked.seen(head), where)


def unlock(head: Head, slots: Slots, identity: Identity) -> memoryview:
    """The file key, to be wiped. Raises WrongKey; Damaged where a slot's tag is not the one that the file key makes."""
    for file_key in file_keys(head, slots, identity):
        try:
            _check_tags(head, slots, file_key)
        except Damaged:
            wipe(file_key)
            raise
        return file_key
    raise no_key(head, slots)


def file_keys(head: Head, slots: Slots, identity: Identity) -> Iterator[memoryview]:
    """Every file key that the identity gets out of an entry; no tag is checked yet.

    A keeper's no ends nothing: another entry may open. Raises the first Refused once all have been tried.
    """
    suite, refusals = head.preamble.suite, list[Refused]()
    for entry in slots.entries:
        try:
            found = identity.unwrap(entry.kind, entry.blob, wrap_info(suite, entry.kind, head.bound))
        except Refused as error:
            refusals.append(error)
            continue
        if found is not None:
            yield secret_key(found)
    if refusals:
        raise refusals[0]


def no_key(head: Head, slots: Slots) -> WrongKey:
    """The error where no entry opens."""
    if any(entry.kind == PASSPHRASE for entry in slots.entries):
        return WrongPassphrase(f"{head.where}: is sealed with a passphrase, which this one is not")
    count = len(slots.newest.entries)
    return WrongKey(f"{head.where}: the key does not open it; it was sealed for {count} recipients")


def open_payload(handle: int, head: Head, leaves: bytes, file_key: memoryview) -> Payload:
    """The plaintext, its commitment and last chunk checked; `leaves`: the hash list. Raises Damaged."""
    digest = head.preamble.suite.digest
    payload = Payload(handle, head.layout, head.core.plaintext_bytes, leaves, digest, head.where)
    payload.unlock(payload_key(file_key, head.bound), head.bound)
    return payload


def _check_tags(head: Head, slots: Slots, file_key: memoryview) -> None:
    for name, copy in zip(COPIES, slots.copies, strict=True):
        if copy is None:
            logger.warning("%s: slot %s is half written: run harden.seal action=rewrap", head.where, name)
        elif not copy.is_whole(file_key, head.preamble, head.bound):
            raise Damaged(f"{head.where}: the tag of slot {name} is wrong", FRESH)
