"""What a round is evidence for, by public identifiers: OWASP AISVS 1.0 and MITRE ATLAS 5.6.1. In our own words.

The pairing is ours. A row says evidence, partial or none; it never says compliant.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from harden.reviewing.told import Told


@dataclass(frozen=True)
class Identified:
    """A row: what was done, which identifiers it speaks to, to what extent, and the file that shows it."""

    what: str
    aisvs: str
    atlas: str
    extent: str
    evidence: str


def identified(told: Told) -> Iterator[Identified]:
    """The rows of one round."""
    hardened = told.plan["recipe"]["attack"] is not None
    yield Identified(
        "adversarial training",
        "11.1.4",
        "AML.M0003 against AML.T0015, AML.T0043.000",
        "evidence" if hardened else "none: trained without an attack",
        "train/training.json",
    )
    suite = told.evaluation["suite"]["label"]
    yield Identified(
        f"evaluation with {suite}", "11.1.3", "AML.M0008; plays AML.T0043", "evidence", "evaluate/evaluation.json"
    )
    marked = "skipped" not in told.mark
    yield Identified(
        "watermark", "11.3.3", "AML.T0024.002, AML.T0048.004", "evidence" if marked else "none", "mark/mark.json"
    )
    signed = next((gate for gate in told.gates["gates"] if gate["name"] == "signature"), None)
    good = signed is not None and signed["answer"] == "opened"
    yield Identified(
        "signed manifest, verified",
        "3.1.2, 3.1.3, 6.1.3",
        "AML.M0013, AML.M0014 against AML.T0018",
        "evidence" if good else "none: the signature failed",
        "seal/model.sealed.manifest.json",
    )
    yield Identified(
        "sealed weights",
        "4.3.4, 4.3.5",
        "AML.M0012, AML.M0005 against AML.T0025, AML.T0035",
        "partial: no hardware root",
        "seal/model.sealed",
    )
    yield Identified(
        "weights as safetensors", "4.1.2, 6.1.1", "AML.M0011 against AML.T0018.002", "partial", "train/entry.json"
    )
    yield Identified("registry, rollback, record", "3.1.1, 3.3.2, 12.5.3", "AML.M0014", "evidence", "record.json")
    yield Identified("data digests", "1.1.2, 12.5.1", "AML.M0025", "evidence", "record.json")
