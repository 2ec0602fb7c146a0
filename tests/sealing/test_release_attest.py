"""Attested release: what a broker lets go, to whom, and every way in which it says no."""

import logging
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from harden.errors import ConfigError
from harden.sealing import keyfiles, provider, seal_bytes, unseal_bytes
from harden.sealing.core import Facts
from harden.sealing.derive import label, wrap_info
from harden.sealing.errors import Refused, WrongKey
from harden.sealing.identity import KeyRecipient, key_identity
from harden.sealing.release.attest import NO_HARDWARE, Rules, Verdict, report_data, rules_of
from harden.sealing.release.attested import (
    LIFETIME,
    MOST_NONCES,
    LocalBroker,
    ReleaseIdentity,
    ReleaseRecipient,
    Request,
    answer_info,
)
from harden.sealing.release.software import SoftwareAttestor, SoftwareVerifier
from harden.sealing.signing import signer_of
from harden.sealing.slots import PUBLIC_KEY, RELEASE
from harden.sealing.suites import CNSA, HYBRID, Suite

BY = provider()
H, FILE_KEY = bytes(range(64)), bytes(range(32))
MEASURED = bytes(range(48))
RULES = Rules(("software",), (MEASURED.hex(),), freshest=60, without_hardware=True)


class Clock:
    """A clock that stands where it is put."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class World:
    """A broker with one key and policies, an attestor that it believes, and a clock for both."""

    suite: Suite = HYBRID
    policies: tuple[Rules, ...] = (RULES,)
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.seed = os.urandom(self.suite.kem.seed)
        self.signer = signer_of(HYBRID, os.urandom(HYBRID.signer_seed), BY)
        verifier = SoftwareVerifier(self.signer.key, BY)
        self.broker = LocalBroker([(self.suite, self.seed)], self.policies, verifier, BY, self.clock)
        self.attestor = SoftwareAttestor(self.signer, MEASURED, self.clock)

    @property
    def public(self) -> bytes:
        return BY.public_of_kem(self.suite.kem, self.seed)

    def recipient(self, rules: Rules = RULES) -> ReleaseRecipient:
        return ReleaseRecipient(self.suite, self.public, rules.id, BY)

    def identity(self, rules: Rules = RULES) -> ReleaseIdentity:
        return ReleaseIdentity(self.broker, self.attestor, rules.id, BY)

    def info(self, bound: bytes = H) -> bytes:
        return wrap_info(self.suite, RELEASE, bound)

    def blob(self, rules: Rules = RULES) -> bytes:
        return self.recipient(rules).wrap(FILE_KEY, self.info())

    def request(self, rules: Rules = RULES) -> Request:
        """One that the broker grants, with a key that nobody keeps."""
        nonce, public = self.broker.challenge(), BY.public_of_kem(self.suite.kem, os.urandom(self.suite.kem.seed))
        evidence = self.attestor.evidence(report_data(public, nonce, H))
        return Request(self.suite, H, self.blob(rules), public, nonce, evidence)


@pytest.mark.parametrize("suite", [HYBRID, CNSA], ids=lambda suite: suite.name)
def test_the_file_key_comes_back_and_the_reader_is_told_that_nothing_protects_it(
    suite: Suite, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(suite)
    with caplog.at_level(logging.INFO):
        assert world.identity().unwrap(RELEASE, world.blob(), world.info()) == FILE_KEY
    said = [record.message for record in caplog.records]
    assert said == [
        f"a file key is released: no hardware protection, measurement {MEASURED.hex()}",
        "the file key was released to a machine with no hardware protection",
    ]


def test_a_software_verdict_says_no_hardware_protection_in_so_many_words() -> None:
    world = World()
    verdict = SoftwareVerifier(world.signer.key, BY).verdict(world.attestor.evidence(bytes(64)))
    assert not verdict.hardware
    assert verdict.protection == world.attestor.protection == NO_HARDWARE == "no hardware protection"


def test_a_policy_refuses_software_unless_it_allows_it_explicitly() -> None:
    strict = replace(RULES, without_hardware=False)
    assert Rules(("software",), (MEASURED.hex(),)).without_hardware is False
    world = World(policies=(strict,))
    with pytest.raises(Refused, match="no hardware protection"):
        world.identity(strict).unwrap(RELEASE, world.blob(strict), world.info())


def test_a_replayed_request_is_refused() -> None:
    world = World()
    request = world.request()
    assert world.broker.release(request)
    with pytest.raises(Refused, match="was used before"):
        world.broker.release(request)


def test_a_nonce_is_used_up_by_a_request_that_fails() -> None:
    world = World()
    request = world.request()
    with pytest.raises(Refused, match="not signed"):
        world.broker.release(replace(request, evidence=b"x"))
    with pytest.raises(Refused, match="was used before"):
        world.broker.release(request)


def test_evidence_of_an_earlier_nonce_is_refused_under_a_new_one() -> None:
    world = World()
    with pytest.raises(Refused, match="not about this key, this nonce and this file"):
        world.broker.release(replace(world.request(), nonce=world.broker.challenge()))


def test_another_key_than_the_attested_one_is_refused() -> None:
    world = World()
    mine = BY.public_of_kem(HYBRID.kem, os.urandom(32))
    with pytest.raises(Refused, match="not about this key"):
        world.broker.release(replace(world.request(), public=mine))


def test_another_file_than_the_attested_one_is_refused() -> None:
    world = World()
    with pytest.raises(Refused, match="this file"):
        world.broker.release(replace(world.request(), bound=bytes(64)))


def test_an_entry_of_another_file_is_refused_even_with_evidence_for_it() -> None:
    """H is in the entry's HPKE info, so evidence over the H of another file does not help."""
    world = World()
    nonce, public = world.broker.challenge(), BY.public_of_kem(HYBRID.kem, os.urandom(32))
    evidence = world.attestor.evidence(report_data(public, nonce, bytes(64)))
    with pytest.raises(Refused, match="not for this broker, this policy and this file"):
        world.broker.release(Request(HYBRID, bytes(64), world.blob(), public, nonce, evidence))


def test_an_entry_cannot_be_moved_under_a_weaker_policy() -> None:
    strict = replace(RULES, without_hardware=False)
    world = World(policies=(strict, RULES))
    request = world.request(strict)
    with pytest.raises(Refused, match="no hardware protection"):
        world.broker.release(request)
    moved = replace(world.request(strict), blob=RULES.id + request.blob[32:])
    with pytest.raises(Refused, match="not for this broker, this policy"):
        world.broker.release(moved)


def test_a_policy_that_the_broker_does_not_have_is_refused() -> None:
    other = replace(RULES, freshest=61)
    world = World()
    with pytest.raises(Refused, match="has not that policy"):
        world.identity(other).unwrap(RELEASE, world.blob(other), world.info())


@pytest.mark.parametrize(("ago", "granted"), [(0, True), (60, True), (61, False), (-5, True), (-6, False)])
def test_evidence_is_fresh_for_as_long_as_the_policy_says(ago: int, granted: bool) -> None:
    world = World()
    world.attestor = replace(world.attestor, clock=lambda: world.clock.now - ago)
    request = world.request()
    if granted:
        assert world.broker.release(request)
    else:
        with pytest.raises(Refused, match="s old, wanted at most 60"):
            world.broker.release(request)


def test_a_challenge_grows_old() -> None:
    patient = replace(RULES, freshest=3600)
    world = World(policies=(patient,))
    request = world.request(patient)
    world.clock.now += LIFETIME + 1
    with pytest.raises(Refused, match="challenge is older"):
        world.broker.release(request)


def test_only_so_many_challenges_wait() -> None:
    world = World()
    request = world.request()
    for _ in range(MOST_NONCES):
        world.broker.challenge()
    with pytest.raises(Refused, match="not one of this broker's"):
        world.broker.release(request)


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        (replace(RULES, platforms=("tdx",)), "of software, wanted tdx"),
        (replace(RULES, measurements=("00" * 48,)), "measures 0001020304050607.., which the policy does not name"),
    ],
)
def test_a_rule_that_is_not_met_is_named(rules: Rules, says: str) -> None:
    world = World(policies=(rules,))
    with pytest.raises(Refused, match=says):
        world.identity(rules).unwrap(RELEASE, world.blob(rules), world.info())


def test_every_flipped_byte_of_evidence_is_refused() -> None:
    world = World()
    evidence = world.attestor.evidence(bytes(64))
    verifier = SoftwareVerifier(world.signer.key, BY)
    for at in range(0, len(evidence), 7):
        with pytest.raises(Refused, match="not signed"):
            verifier.verdict(evidence[:at] + bytes([evidence[at] ^ 1]) + evidence[at + 1 :])
    for length in (0, 1, len(evidence) - 1):
        with pytest.raises(Refused, match="not signed"):
            verifier.verdict(evidence[:length])


def test_an_attestor_that_the_broker_does_not_know_is_refused() -> None:
    world, stranger = World(), World()
    world.attestor = stranger.attestor
    with pytest.raises(Refused, match="not signed by the attestor"):
        world.identity().unwrap(RELEASE, world.blob(), world.info())


@pytest.mark.parametrize("change", ["bound", "blob", "public", "evidence"])
def test_a_request_with_a_wrong_length_is_refused(change: str) -> None:
    world = World()
    request = world.request()
    longer = {change: getattr(request, change) + bytes(65_536)}
    with pytest.raises(Refused, match="a length is wrong"):
        world.broker.release(replace(request, **longer))


@dataclass
class Recorder:
    """A broker between reader and broker, which keeps its first answer and gives it again."""

    broker: LocalBroker
    answer: bytes = b""

    def challenge(self) -> bytes:
        return self.broker.challenge()

    def release(self, request: Request) -> bytes:
        self.answer = self.answer or self.broker.release(request)
        return self.answer


def test_an_answer_to_an_earlier_request_does_not_open() -> None:
    world = World()
    identity = replace(world.identity(), broker=Recorder(world.broker))
    assert identity.unwrap(RELEASE, world.blob(), world.info()) == FILE_KEY
    with pytest.raises(Refused, match="answer is not for this key"):
        identity.unwrap(RELEASE, world.blob(), world.info())


def test_an_answer_is_bound_to_suite_policy_nonce_and_h() -> None:
    request = World().request()
    wanted = b"harden/seal/v1 release answer\0" + b"\x00\x01" + RULES.id + request.nonce + H
    assert answer_info(request) == wanted


def test_other_entries_do_not_trouble_the_broker() -> None:
    world = World()
    blob = world.blob()
    assert world.identity().unwrap(PUBLIC_KEY, blob, world.info()) is None
    assert world.identity(replace(RULES, freshest=1)).unwrap(RELEASE, blob, world.info()) is None
    assert world.identity().unwrap(RELEASE, blob[:-1], world.info()) is None
    assert not world.broker._nonces


def test_evidence_is_bound_to_sha512_of_label_key_nonce_and_h() -> None:
    import hashlib

    wanted = hashlib.sha512(b"harden/seal/v1 release evidence\0" + b"p" * 1216 + b"n" * 32 + H).digest()
    assert label("release evidence") == b"harden/seal/v1 release evidence\0"
    assert report_data(b"p" * 1216, b"n" * 32, H) == wanted


def test_rules_come_back_from_a_file_and_their_id_follows_every_one_of_them(tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    path.write_bytes(RULES.encode() + b"\n")
    assert rules_of(path) == RULES
    others = [
        replace(RULES, platforms=("software", "tdx")),
        replace(RULES, measurements=("00",)),
        replace(RULES, freshest=1),
        replace(RULES, without_hardware=False),
    ]
    assert len({rules.id for rules in [RULES, *others]}) == 5


@pytest.mark.parametrize("data", [b"", b"{}", b"[", RULES.encode().replace(b":60", b":0"), RULES.encode()[:-1] + b" }"])
def test_a_file_that_is_no_policy_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "rules.json").write_bytes(data)
    with pytest.raises(ConfigError):
        rules_of(tmp_path / "rules.json")


def test_a_policy_without_platform_or_measurement_cannot_be_made() -> None:
    for platforms, measurements in (((), ("00",)), (("tdx",), ()), (("a b",), ("00",)), (("tdx",), ("",))):
        with pytest.raises(ConfigError, match="names its platforms and measurements"):
            Rules(platforms, measurements)


def test_hardware_is_named_in_a_verdict_that_has_it() -> None:
    verdict = Verdict("tdx", True, "00", 0.0, bytes(64))
    assert verdict.protection == "hardware: tdx"
    Rules(("tdx",), ("00",)).check(verdict, 0.0)


def test_a_sealed_file_opens_through_the_broker_and_not_with_the_brokers_key_as_a_key_file(tmp_path: Path) -> None:
    world, plain = World(), os.urandom(40_000)
    alice = keyfiles.generate(keyfiles.RECIPIENT, HYBRID, BY)
    to = [world.recipient(), KeyRecipient(HYBRID, alice.public.public, BY)]
    seal_bytes(plain, tmp_path / "w.sealed", to=to, facts=Facts("m", 1, "", {}))
    assert bytes(unseal_bytes(tmp_path / "w.sealed", world.identity(), trust=None)[0]) == plain
    with pytest.raises(WrongKey):
        unseal_bytes(tmp_path / "w.sealed", key_identity(HYBRID, world.seed, BY), trust=None)
