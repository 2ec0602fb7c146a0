"""An attestor without hardware: a signer's word for a measurement. For tests and for trying the protocol out.

    evidence = u64 issued | measurement 48 | report data 64 | signature of label "release software" and all before it

Whoever has the signer's key, or root on the machine, can make any evidence. Its verdict says: no hardware protection.
"""

import struct
import time
from dataclasses import dataclass, field

from harden.sealing.derive import label
from harden.sealing.errors import Refused
from harden.sealing.provider import Provider
from harden.sealing.release.attest import NO_HARDWARE, Clock, Verdict
from harden.sealing.signing import Signer, SignerKey, failing

BODY = struct.Struct(">Q48s64s")
PLATFORM = "software"


@dataclass(frozen=True)
class SoftwareAttestor:
    """Signs whatever it is asked to, with a measurement that it was given."""

    signer: Signer = field(repr=False)
    measurement: bytes
    clock: Clock = time.time

    @property
    def protection(self) -> str:
        """None, and it says so."""
        return NO_HARDWARE

    def evidence(self, report_data: bytes) -> bytes:
        """Signed evidence that holds these 64 bytes."""
        if (len(self.measurement), len(report_data)) != (48, 64):
            raise ValueError("a measurement has 48 bytes, report data 64")
        body = BODY.pack(int(self.clock()), self.measurement, report_data)
        return body + self.signer.sign(label("release software") + body)


@dataclass(frozen=True)
class SoftwareVerifier:
    """Believes one signer."""

    key: SignerKey
    provider: Provider = field(repr=False)

    def verdict(self, evidence: bytes) -> Verdict:
        """What the signer says; never that there is hardware."""
        body, signature = evidence[: BODY.size], evidence[BODY.size :]
        wanted = BODY.size + self.key.suite.signature
        message = label("release software") + body
        if len(evidence) != wanted or failing(self.key, message, signature, self.provider):
            raise Refused("the evidence is not signed by the attestor that this broker believes")
        issued, measurement, report_data = BODY.unpack(body)
        return Verdict(PLATFORM, False, measurement.hex(), float(issued), report_data)
