"""Entries of type 4: wrapped to a broker, which wraps them again to a key of whoever shows evidence good enough.

    blob   = policy id 32 | the file key by HPKE to the broker, info = wrap info | policy id
    answer = the file key by HPKE to the reader's fresh key,
             info = label "release answer" | u16 suite | policy id | nonce | H

An answer opens for one key, one nonce, one file, one policy. The broker sees the file key: trust it as a recipient.
"""

import hmac
import logging
import os
import struct
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from harden.errors import ConfigError
from harden.sealing.derive import label, wrap_info
from harden.sealing.errors import Refused
from harden.sealing.provider import Opener, Provider
from harden.sealing.release.attest import (
    NO_HARDWARE,
    NONCE,
    POLICY_ID,
    Attestor,
    Clock,
    Policy,
    Verifier,
    report_data,
)
from harden.sealing.slots import RELEASE
from harden.sealing.suites import SUITES, Suite

BOUND = 64
LONGEST_EVIDENCE = 65_536
MOST_NONCES = 4096
LIFETIME = 60.0
"""Seconds between a challenge and its answer."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What a reader sends: the entry, H of its file, the fresh public key, the broker's nonce, the evidence."""

    suite: Suite
    bound: bytes
    blob: bytes
    public: bytes
    nonce: bytes
    evidence: bytes

    @property
    def policy(self) -> bytes:
        """The id of the policy that the entry names."""
        return self.blob[:POLICY_ID]

    @property
    def is_sound(self) -> bool:
        """Whether every length is one that a reader sends."""
        lengths = (len(self.bound), len(self.blob), len(self.public), len(self.nonce))
        wanted = (BOUND, POLICY_ID + self.suite.kem.blob, self.suite.kem.public, NONCE)
        return lengths == wanted and 0 < len(self.evidence) <= LONGEST_EVIDENCE


class Broker(Protocol):
    """Who holds the key of type 4 entries; here, or a client of a service elsewhere."""

    def challenge(self) -> bytes:
        """A nonce of 32 bytes, good for one request."""

    def release(self, request: Request) -> bytes:
        """The file key by HPKE to the request's public key; Refused where anything at all is wrong."""


@dataclass(frozen=True)
class ReleaseRecipient:
    """Whoever shows a broker evidence that meets the policy."""

    suite: Suite
    public: bytes
    policy: bytes
    provider: Provider = field(repr=False)
    kind: int = RELEASE

    def wrap(self, file_key: bytes, info: bytes) -> bytes:
        """The policy's id, and HPKE to the broker's key under it."""
        blob = self.provider.wrap(self.suite.kem, self.public, file_key, info + self.policy)
        if blob is None or len(self.policy) != POLICY_ID:
            raise ConfigError(f"the broker's public key is no key of {self.suite.kem.name}, or its policy id no id")
        return self.policy + blob


@dataclass(frozen=True)
class ReleaseIdentity:
    """A reader with an attestor: asks the broker for entries of its policy only, with a key fresh each time."""

    broker: Broker = field(repr=False)
    attestor: Attestor = field(repr=False)
    policy: bytes
    provider: Provider = field(repr=False)

    def unwrap(self, kind: int, blob: bytes, info: bytes) -> bytes | None:
        """The file key of an entry of type 4 under this policy. Refused where the broker says no."""
        suite, bound = suite_in(info), info[-BOUND:]
        if kind != RELEASE or len(blob) != POLICY_ID + suite.kem.blob or blob[:POLICY_ID] != self.policy:
            return None
        seed, nonce = os.urandom(suite.kem.seed), self.broker.challenge()
        public = self.provider.public_of_kem(suite.kem, seed)
        evidence = self.attestor.evidence(report_data(public, nonce, bound))
        request = Request(suite, bound, blob, public, nonce, evidence)
        answer = self.broker.release(request)
        file_key = self.provider.opener(suite.kem, seed)(answer, answer_info(request))
        if file_key is None:
            raise Refused("the broker's answer is not for this key, nonce, policy and file")
        if self.attestor.protection == NO_HARDWARE:
            logger.warning("the file key was released to a machine with %s", NO_HARDWARE)
        return file_key


class LocalBroker:
    """A broker in this process: seeds of its keys, the policies it knows, and a verifier. Safe among threads."""

    def __init__(
        self,
        keys: Iterable[tuple[Suite, bytes]],
        policies: Iterable[Policy],
        verifier: Verifier,
        provider: Provider,
        clock: Clock = time.time,
    ) -> None:
        self._openers: dict[Suite, Opener] = {suite: provider.opener(suite.kem, seed) for suite, seed in keys}
        self._policies = {policy.id: policy for policy in policies}
        self._verifier, self._provider, self._clock = verifier, provider, clock
        self._nonces: dict[bytes, float] = {}
        self._lock = threading.Lock()

    def challenge(self) -> bytes:
        """A fresh nonce; the oldest is forgotten where too many wait."""
        nonce = os.urandom(NONCE)
        with self._lock:
            self._nonces[nonce] = self._clock()
            if len(self._nonces) > MOST_NONCES:
                del self._nonces[next(iter(self._nonces))]
        return nonce

    def release(self, request: Request) -> bytes:
        """The file key wrapped again. The nonce is used up whatever the outcome."""
        self._use_up(request.nonce)
        if not request.is_sound:
            raise Refused("the request is not one: a length is wrong")
        policy, opener = self._policies.get(request.policy), self._openers.get(request.suite)
        if policy is None or opener is None:
            raise Refused("this broker has not that policy, or no key of that suite")
        self._judge(request, policy)
        info = wrap_info(request.suite, RELEASE, request.bound)
        file_key = opener(request.blob[POLICY_ID:], info + request.policy)
        if file_key is None:
            raise Refused("the entry is not for this broker, this policy and this file")
        answer = self._provider.wrap(request.suite.kem, request.public, file_key, answer_info(request))
        if answer is None:
            raise Refused(f"the reader's public key is no key of {request.suite.kem.name}")
        return answer

    def _use_up(self, nonce: bytes) -> None:
        with self._lock:
            asked = self._nonces.pop(nonce, None)
        if asked is None:
            raise Refused("the nonce is not one of this broker's, or was used before", "ask for a new challenge")
        if not 0 <= self._clock() - asked <= LIFETIME:
            raise Refused(f"the challenge is older than {LIFETIME:.0f} s", "ask for a new one")

    def _judge(self, request: Request, policy: Policy) -> None:
        verdict = self._verifier.verdict(request.evidence)
        wanted = report_data(request.public, request.nonce, request.bound)
        if not hmac.compare_digest(verdict.report_data, wanted):
            raise Refused("the evidence is not about this key, this nonce and this file")
        policy.check(verdict, self._clock())
        logger.info("a file key is released: %s, measurement %s", verdict.protection, verdict.measurement)


def answer_info(request: Request) -> bytes:
    """What an answer is bound to."""
    suite = struct.pack(">H", request.suite.number)
    return label("release answer") + suite + request.policy + request.nonce + request.bound


def suite_in(info: bytes) -> Suite:
    """The suite that wrap info names: u16 suite, u16 type, H at its end."""
    (number,) = struct.unpack_from(">H", info, len(info) - BOUND - 4)
    return SUITES[number]
