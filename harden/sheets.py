"""What a sealed file says of itself, as lines for people."""

import time

from harden.sealing import Report, Sealed
from harden.sealing.heads import Head


def sealed_sheet(made: Sealed, recipients: int) -> str:
    """What was made."""
    core = made.head.core
    signed = f"signed by {core.signer}" if core.signer else "not signed"
    return _lines(
        ("sealed", f"{made.head.where}: {made.head.layout.size} bytes, for {recipients}, {signed}"),
        ("model", f"{core.facts.model_id}, epoch {core.facts.epoch}"),
        ("digest", made.head.bound.hex()),
    )


def facts_sheet(report: Report) -> str:
    """The facts of a file, whether they were checked or not."""
    head = report.head
    core, facts = head.core, head.core.facts
    rows = [
        ("file", f"{head.where}: version 1, suite {head.preamble.suite.name}, {head.layout.size} bytes"),
        ("model", f"{facts.model_id}, epoch {facts.epoch}"),
        *([("parent", facts.parent)] if facts.parent else []),
        *((name, text) for name, text in facts.metadata.items()),
        ("content", f"{core.format}, {core.plaintext_bytes} bytes"),
        ("created", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(core.created)) + " by its maker's clock"),
        ("opens for", _recipients(report)),
        ("signer", core.signer or "none"),
        ("digest", _digest(head)),
    ]
    return _lines(*rows)


def _recipients(report: Report) -> str:
    count = len(report.slots.newest.entries)
    return f"{count} recipient{'s' * (count != 1)}; which, the file does not say"


def _digest(head: Head) -> str:
    return head.bound.hex()


def _lines(*rows: tuple[str, str]) -> str:
    return "".join(f"{name:<9} {text}\n" for name, text in rows)
