"""Manifests: the statement, its envelope, both signatures, and what is refused."""

import base64
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, utils
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from harden.errors import ConfigError, SealError
from harden.sealing import Facts, Signer, TrustStore, inspect, provider, seal_bytes, verify
from harden.sealing.errors import BadSignature, Damaged, Mismatch, UnknownSigner, Unreadable, Untrusted
from harden.sealing.identity import KeyRecipient
from harden.sealing.keyfiles import RECIPIENT, generate
from harden.sealing.provenance import (
    Evidence,
    Manifest,
    check_against,
    document,
    envelope,
    manifest_path,
    read_manifest,
    statement,
    write_manifest,
)
from harden.sealing.provenance.envelope import Envelope, encoded
from harden.sealing.provenance.manifests import believed
from harden.sealing.signing import signer_of
from harden.sealing.suites import CNSA, HYBRID, Suite
from harden.sealing.trust import OneSigner, with_signers

BY = provider()
ACME, EVE = signer_of(HYBRID, bytes(64), BY), signer_of(HYBRID, bytes([1]) * 64, BY)
TRUST = OneSigner(ACME.key)
EVIDENCE = Evidence({"digits": "d" * 64}, "c" * 40, "0" * 64, "1" * 64, "2" * 64, "run-1")
FACTS = Facts("lenet", 1, "", {"round": "1", "watermark": "3" * 64, "bom": "4" * 64})
MANIFEST = Manifest("lenet.sealed", FACTS, "ab" * 64, "cd" * 32, ACME.key.id, evidence=EVIDENCE)
SIGNED = envelope.sign(MANIFEST.encode(), ACME)
SHORT = "the wrong one"


def seal(path: Path, facts: Facts = FACTS, suite: Suite = HYBRID, signer: Signer | None = ACME) -> Path:
    key = generate(RECIPIENT, suite, BY).public
    seal_bytes(b"weights" * 40, path, to=[KeyRecipient(suite, key.public, BY)], facts=facts, signer=signer)
    return path


def accept(data: bytes) -> Manifest:
    return believed(envelope.decode(data, "m"), TRUST, BY, "m")


def resigned(change: Callable[[dict[str, Any]], object]) -> bytes:
    """A changed statement, in the one spelling and signed by the trusted signer."""
    raw = json.loads(MANIFEST.encode())
    change(raw)
    return envelope.encode(envelope.sign(document.encode(raw), ACME))


def test_the_published_vector_of_dsse_is_what_is_signed() -> None:
    """protocol.md of secure-systems-lab/dsse: encoding, key and ECDSA signature."""
    message = encoded("http://example.com/HelloWorld", b"hello world")
    assert message == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    x = 46950820868899156662930047687818585632848591499744589407958293238635476079160
    y = 5640078356564379163099075877009565129882514886557779369047442380624545832820
    signature = base64.b64decode(
        "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=="
    )
    r, s = (int.from_bytes(half) for half in (signature[:32], signature[32:]))
    key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    key.verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(SHA256()))


def test_lengths_of_the_encoding_count_bytes() -> None:
    assert encoded("é", b"") == b"DSSEv1 2 \xc3\xa9 0 "


def test_the_statement_has_the_shape_of_model_signing() -> None:
    """As `dsse_payload_to_manifest` of model-signing 1.1.1 reads it, which was tried too."""
    raw = json.loads(MANIFEST.encode())
    assert raw.keys() == {"_type", "subject", "predicateType", "predicate"}
    assert raw["_type"] == "https://in-toto.io/Statement/v1"
    assert raw["predicateType"] == "https://model_signing/signature/v1.0"
    resources = raw["predicate"]["resources"]
    assert [one["name"] for one in resources] == sorted(one["name"] for one in resources) == ["lenet.sealed"]
    assert resources[0].keys() == {"name", "algorithm", "digest"}
    over_all = sha256(b"".join(bytes.fromhex(one["digest"]) for one in resources)).hexdigest()
    assert raw["subject"] == [{"name": "lenet", "digest": {"sha256": over_all}}]
    assert raw["predicate"]["serialization"] == {"method": "files", "hash_type": "sha256", "allow_symlinks": False}
    assert resources[0]["algorithm"] == "harden-seal-v1"
    assert resources[0]["digest"] == sha256(bytes([0xAB]) * 64 + bytes([0xCD]) * 32).hexdigest()


def test_the_key_harden_says_all_that_is_bound() -> None:
    ours = json.loads(MANIFEST.encode())["predicate"]["harden"]
    assert ours["metadata"] == {"round": "1", "watermark": "3" * 64, "bom": "4" * 64}
    assert (ours["h"], ours["root"], ours["epoch"], ours["parent"]) == ("ab" * 64, "cd" * 32, 1, "")
    assert ours["evidence"]["data"] == {"digits": "d" * 64}
    assert "weights" not in ours["evidence"]  # by a digest of the plaintext strangers could recognise it


def test_a_reader_of_its_own_with_cryptography_alone_verifies_both_signatures() -> None:
    raw = json.loads(envelope.encode(SIGNED))
    assert raw["payloadType"] == "application/vnd.in-toto+json"
    body = base64.b64decode(raw["payload"])
    message = b"DSSEv1 28 application/vnd.in-toto+json %d %b" % (len(body), body)
    first, second = (base64.b64decode(one["sig"]) for one in raw["signatures"])
    mldsa.MLDSA65PublicKey.from_public_bytes(ACME.key.public[:1952]).verify(first, message)
    ed25519.Ed25519PublicKey.from_public_bytes(ACME.key.public[1952:]).verify(second, message)


def test_what_was_written_is_read_again_and_lies_beside_the_file(tmp_path: Path) -> None:
    sealed = seal(tmp_path / "lenet.sealed")
    made = write_manifest(sealed, EVIDENCE, ACME)
    assert manifest_path(sealed).name == "lenet.sealed.manifest.json"
    assert read_manifest(manifest_path(sealed), TRUST) == made
    check_against(made, verify(sealed, TRUST))


def test_the_strict_suite_signs_manifests_too(tmp_path: Path) -> None:
    signer = signer_of(CNSA, bytes(32), BY)
    sealed = seal(tmp_path / "a.sealed", suite=CNSA, signer=signer)
    made = write_manifest(sealed, EVIDENCE, signer)
    assert read_manifest(manifest_path(sealed), OneSigner(signer.key)) == made
    assert len(made.root) == 96


def test_signing_twice_gives_another_envelope_and_the_same_statement() -> None:
    again = envelope.sign(MANIFEST.encode(), ACME)
    assert again != SIGNED
    assert accept(envelope.encode(again)).digest == accept(envelope.encode(SIGNED)).digest == MANIFEST.digest


def test_a_manifest_is_not_overwritten_unasked(tmp_path: Path) -> None:
    sealed = seal(tmp_path / "a.sealed")
    write_manifest(sealed, EVIDENCE, ACME)
    before = manifest_path(sealed).read_bytes()
    with pytest.raises(ConfigError, match="exists already"):
        write_manifest(sealed, Evidence(), ACME)
    assert manifest_path(sealed).read_bytes() == before
    write_manifest(sealed, Evidence(), ACME, overwrite=True)
    write_manifest(sealed, Evidence(), ACME, output=tmp_path / "other.manifest.json")
    assert {one.name for one in tmp_path.iterdir()} == {
        "a.sealed",
        "a.sealed.manifest.json",
        "other.manifest.json",
    }


def test_nobody_signs_for_a_file_whose_payload_was_changed(tmp_path: Path) -> None:
    sealed = seal(tmp_path / "a.sealed")
    data = bytearray(sealed.read_bytes())
    data[inspect(sealed).head.layout.payload + 60] ^= 1
    sealed.write_bytes(data)
    with pytest.raises(Damaged, match="payload"):
        write_manifest(sealed, EVIDENCE, ACME)
    assert not manifest_path(sealed).exists()


def test_another_file_than_that_of_the_manifest_is_a_mismatch(tmp_path: Path) -> None:
    made = write_manifest(seal(tmp_path / "a.sealed"), EVIDENCE, ACME)
    with pytest.raises(Mismatch, match="other H and root"):
        check_against(made, inspect(seal(tmp_path / "b.sealed")))
    report = inspect(tmp_path / "a.sealed")
    with pytest.raises(Mismatch, match="other facts"):
        check_against(replace(made, facts=replace(FACTS, metadata={})), report)
    with pytest.raises(Mismatch, match="other root"):
        check_against(replace(made, root="00" * 32), report)


def test_a_renamed_file_still_has_its_manifest(tmp_path: Path) -> None:
    sealed = seal(tmp_path / "a.sealed")
    made = write_manifest(sealed, EVIDENCE, ACME)
    check_against(made, inspect(sealed.rename(tmp_path / "b.sealed")))


# --- both signatures


def halves(change: Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]]) -> bytes:
    return envelope.encode(Envelope(SIGNED.payload, tuple(change(list(SIGNED.signatures)))))


OTHERS = list(envelope.sign(replace(MANIFEST, file="other").encode(), ACME).signatures)
STRANGERS = list(envelope.sign(MANIFEST.encode(), EVE).signatures)
NAMES = [name for name, _ in SIGNED.signatures]
BROKEN: dict[str, Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]]] = {
    "without ML-DSA": lambda both: both[1:],
    "without Ed25519": lambda both: both[:1],
    "in another order": lambda both: both[::-1],
    "signatures swapped under their names": lambda both: [(NAMES[0], both[1][1]), (NAMES[1], both[0][1])],
    "ML-DSA twice": lambda both: [both[0], both[0]],
    "Ed25519 twice": lambda both: [both[1], both[1]],
    "a third": lambda both: [*both, both[1]],
    "ML-DSA of another statement": lambda both: [OTHERS[0], both[1]],
    "Ed25519 of another statement": lambda both: [both[0], OTHERS[1]],
    "ML-DSA by a stranger under our name": lambda both: [(NAMES[0], STRANGERS[0][1]), both[1]],
    "Ed25519 by a stranger under our name": lambda both: [both[0], (NAMES[1], STRANGERS[1][1])],
    "ML-DSA by a stranger": lambda both: [STRANGERS[0], both[1]],
    "Ed25519 by a stranger": lambda both: [both[0], STRANGERS[1]],
    "an empty one": lambda both: [both[0], (NAMES[1], b"")],
    "one that is cut": lambda both: [(NAMES[0], both[0][1][:-1]), both[1]],
    "bytes moved from one to the other": lambda both: [
        (NAMES[0], both[0][1] + both[1][1][:1]),
        (NAMES[1], both[1][1][1:]),
    ],
    "another scheme's name": lambda both: [(f"{ACME.key.id}/ML-DSA-87", both[0][1]), both[1]],
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_envelope_needs_both_halves_and_nothing_else(name: str) -> None:
    with pytest.raises(Untrusted):
        accept(halves(BROKEN[name]))


def test_the_message_says_which_half_is_missing() -> None:
    with pytest.raises(BadSignature, match=r"is signed with ML-DSA-65, wanted ML-DSA-65 and Ed25519"):
        accept(halves(lambda both: both[:1]))
    with pytest.raises(BadSignature, match="ML-DSA-65 said no"):
        accept(halves(BROKEN["ML-DSA of another statement"]))


def test_a_signature_under_the_context_of_files_is_none_of_a_manifest() -> None:
    message = encoded(envelope.PAYLOAD_TYPE, SIGNED.payload)
    first = (NAMES[0], ACME.signings[0](message, b"harden/seal/v1"))
    with pytest.raises(BadSignature, match="ML-DSA-65 said no"):
        accept(halves(lambda both: [first, both[1]]))


def test_a_stranger_and_a_retired_signer_are_refused(tmp_path: Path) -> None:
    data = envelope.encode(envelope.sign(replace(MANIFEST, signer=EVE.key.id).encode(), EVE))
    with pytest.raises(UnknownSigner, match="not trusted"):
        accept(data)
    path, store = tmp_path / "a.manifest.json", tmp_path / "trust.json"
    path.write_bytes(data)
    with_signers(store, add={EVE.key.id: EVE.key}, retire={})
    assert read_manifest(path, TrustStore(store)).signer == EVE.key.id
    with_signers(store, add={}, retire={EVE.key.id: EVE.key})
    with pytest.raises(UnknownSigner, match="retired"):
        read_manifest(path, TrustStore(store))


def test_a_manifest_that_names_another_signer_is_refused() -> None:
    other = replace(MANIFEST, signer=EVE.key.id)
    with pytest.raises(Damaged, match="another signer"):
        accept(envelope.encode(envelope.sign(other.encode(), ACME)))


# --- every byte counts

WHOLE = envelope.encode(SIGNED)


def check_byte(at: int, flip: int) -> None:
    changed = bytearray(WHOLE)
    changed[at] ^= flip
    try:
        accept(bytes(changed))
    except (Damaged, Untrusted):
        return
    pytest.fail(f"byte {at} of the envelope may be {bytes(changed[at : at + 1])!r}")


def test_a_changed_byte_anywhere_is_refused() -> None:
    for at in range(len(WHOLE)):
        check_byte(at, 1 << at % 8)


@pytest.mark.slow
def test_a_changed_bit_anywhere_is_refused() -> None:
    for at in range(len(WHOLE)):
        for bit in range(8):
            check_byte(at, 1 << bit)


def test_no_beginning_of_an_envelope_is_one_and_nothing_may_follow() -> None:
    for length in range(len(WHOLE)):
        with pytest.raises(Damaged):
            accept(WHOLE[:length])
    for more in (b"\n", b" ", b"{}", b"\0"):
        with pytest.raises(Damaged):
            accept(WHOLE + more)


def test_the_spare_bits_of_base64_must_be_zero() -> None:
    raw = json.loads(WHOLE)
    text = raw["signatures"][1]["sig"]
    assert text.endswith("==")
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    raw["signatures"][1]["sig"] = text[:-3] + digits[digits.index(text[-3]) + 1] + "=="
    assert base64.b64decode(raw["signatures"][1]["sig"]) == base64.b64decode(text)
    with pytest.raises(Damaged, match="base64"):
        accept(document.encode(raw) + b"\n")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("payloadType", "application/json"),
        ("payloadType", "application/vnd.in-toto+json "),
        ("payloadType", 1),
        ("payload", base64.urlsafe_b64encode(b"\xff\xfe\xfd").decode()),
        ("payload", 7),
        ("signatures", []),
        ("signatures", {}),
        ("signatures", [{}]),
        ("signatures", [{"keyid": "acme", "sig": ""}]),
        ("signatures", [{"keyid": ["acme"], "sig": ""}]),
        ("extra", ""),
    ],
)
def test_an_envelope_of_another_shape_is_refused(field: str, value: Any) -> None:
    with pytest.raises(Damaged):
        accept(document.encode(json.loads(WHOLE) | {field: value}) + b"\n")


def test_the_same_envelope_in_another_spelling_is_refused() -> None:
    raw = json.loads(WHOLE)
    for text in (json.dumps(raw), json.dumps(raw, indent=1), json.dumps(dict(reversed(raw.items())))):
        with pytest.raises(Damaged, match="spelling"):
            accept(text.encode() + b"\n")


# --- statements that a trusted signer signed, and that are wrong all the same


def at(*path: Any, to: Any) -> Callable[[dict[str, Any]], object]:
    def change(raw: dict[str, Any]) -> None:
        place: Any = raw
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to

    return change


OURS = ("predicate", "harden")
WRONG = {
    "type": at("_type", to="https://in-toto.io/Statement/v0.1"),
    "predicate type": at("predicateType", to="https://slsa.dev/provenance/v1"),
    "no subject": at("subject", to=[]),
    "two subjects": lambda raw: raw["subject"].append(raw["subject"][0]),
    "subject's digest": at("subject", 0, "digest", "sha256", to="0" * 64),
    "subject's name": at("subject", 0, "name", to=SHORT),
    "resource's digest": at("predicate", "resources", 0, "digest", to="0" * 64),
    "resource's algorithm": at("predicate", "resources", 0, "algorithm", to="sha256"),
    "two resources": lambda raw: raw["predicate"]["resources"].append(raw["predicate"]["resources"][0]),
    "no resources": at("predicate", "resources", to=[]),
    "resources that are none": at("predicate", "resources", to="lenet.sealed"),
    "a path for a name": at("predicate", "resources", 0, "name", to="../a.sealed"),
    "serialization": at("predicate", "serialization", "allow_symlinks", to=True),
    "a number for false": at("predicate", "serialization", "allow_symlinks", to=0),
    "a field more": at(*OURS, "more", to="x"),
    "a field more beside": at("predicate", "more", to="x"),
    "nothing of ours": at(*OURS, to={}),
    "a list of ours": at(*OURS, to=[]),
    "version": at(*OURS, "format", to="harden-manifest/2"),
    "h": at(*OURS, "h", to="ab" * 63),
    "h in capitals": at(*OURS, "h", to="AB" * 64),
    "root": at(*OURS, "root", to="cd" * 33),
    "epoch 0": at(*OURS, "epoch", to=0),
    "epoch true": at(*OURS, "epoch", to=True),
    "epoch as text": at(*OURS, "epoch", to="1"),
    "itself as parent": lambda raw: raw["predicate"]["harden"].update(parent="ab" * 64, parent_statement="0" * 64),
    "a parent without its statement": at(*OURS, "parent", to="0" * 128),
    "a statement without its parent": at(*OURS, "parent_statement", to="0" * 64),
    "metadata": at(*OURS, "metadata", to={"round": 1}),
    "evidence that is none": at(*OURS, "evidence", to=[1]),
    "evidence of an unknown kind": at(*OURS, "evidence", "blessing", to="yes"),
    "evidence that says nothing": at(*OURS, "evidence", "weights", to=""),
    "a commit that is none": at(*OURS, "evidence", "code", to="main"),
    "a digest that is none": at(*OURS, "evidence", "configuration", to="0" * 63),
    "data without a digest": at(*OURS, "evidence", "data", to={"digits": ""}),
    "data as a list": at(*OURS, "evidence", "data", to=["0" * 64]),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_statement_is_refused_though_signed(name: str) -> None:
    with pytest.raises(Damaged):
        accept(resigned(WRONG[name]))


def test_a_statement_in_another_spelling_is_refused_though_signed() -> None:
    for body in (json.dumps(MANIFEST.statement()).encode(), MANIFEST.encode() + b" "):
        with pytest.raises(Damaged):
            accept(envelope.encode(envelope.sign(body, ACME)))


# --- hostile JSON

HOSTILE = {
    "nothing": b"",
    "a newline": b"\n",
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"a":' * 40_000,
    "a closed deep list": b"[" * 50_000 + b"]" * 50_000,
    "a huge number": b'{"payload":' + b"9" * 100_000 + b"}",
    "an infinite number": b'{"payload":1e999}',
    "NaN": b'{"payload":NaN}',
    "a float": b'{"payload":1.0}',
    "null": b"null",
    "a list": b"[]",
    "invalid UTF-8": b'{"payload":"\xff\xfe"}',
    "UTF-8": '{"payload":"é"}'.encode(),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": "{}".encode("utf-16"),
    "a lone surrogate": b'{"payload":"\\ud800"}',
    "a control character": b'{"payload":"\\u001b[2J"}',
    "a NUL": b'{"payload":"\\u0000"}',
    "an empty object": b"{}",
    "too long": b" " * (document.LONGEST + 1),
    "a key twice": WHOLE.rstrip().replace(b'{"payload":', b'{"payload":"","payload":', 1),
    "the last key twice": WHOLE.rstrip()[:-1] + b',"signatures":[]}',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_json_gives_a_typed_error(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.manifest.json"
    path.write_bytes(HOSTILE[name] + b"\n")
    with pytest.raises(Damaged, match=r"a\.manifest\.json"):
        read_manifest(path, TRUST)
    with pytest.raises(Damaged):
        accept(envelope.encode(envelope.sign(HOSTILE[name], ACME)))


@given(st.binary(max_size=300))
def test_any_bytes_give_a_typed_error(data: bytes) -> None:
    for read in (envelope.decode, statement.decode):
        with pytest.raises(Damaged):
            read(data + b"\n", "m")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
PLACES = [
    *[(name,) for name in ("_type", "subject", "predicate", "predicateType")],
    *[("predicate", name) for name in ("harden", "resources", "serialization")],
    *[(*OURS, name) for name in json.loads(MANIFEST.encode())["predicate"]["harden"]],
]


@given(st.sampled_from(PLACES), json_values)
def test_any_json_in_any_place_of_a_statement_gives_a_typed_error_or_a_manifest(path: Any, value: Any) -> None:
    raw = json.loads(MANIFEST.encode())
    at(*path, to=value)(raw)
    data = json.dumps(raw, sort_keys=True, separators=(",", ":")).encode()
    with suppress(SealError):
        assert statement.decode(data, "m").encode() == data


def test_what_is_no_file_gives_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(Unreadable):
        read_manifest(tmp_path / "missing.manifest.json", TRUST)
    with pytest.raises(SealError):
        read_manifest(tmp_path, TRUST)
    with pytest.raises(SealError):
        read_manifest(Path("/dev/zero"), TRUST)


# --- round trip

printable = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=40).filter(str.isprintable)
plain = st.text(st.sampled_from("abcXYZ 019-_.:/'{}[]"), min_size=1, max_size=30)


def hexes(size: int) -> st.SearchStrategy[str]:
    return st.binary(min_size=size, max_size=size).map(bytes.hex)


maybe = st.just("") | hexes(32)
evidences = st.builds(
    Evidence,
    data=st.dictionaries(printable, hexes(32), max_size=5),
    code=st.just("") | hexes(20) | hexes(20).map(lambda one: one + "-dirty"),
    configuration=maybe,
    recipe=maybe,
    summary=maybe,
    run=st.just("") | printable,
    weights=maybe,
)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    parent = draw(st.just("") | hexes(64))
    pinned = draw(hexes(32)) if parent else ""
    epoch, metadata = draw(st.integers(1, 2**53 - 1)), draw(st.dictionaries(plain, plain, max_size=4))
    facts = Facts(draw(plain), epoch, parent, metadata)
    name = draw(printable.filter(lambda text: "/" not in text))
    root = draw(hexes(32) | hexes(48))
    return Manifest(
        name, facts, draw(hexes(64).filter(lambda h: h != parent)), root, draw(hexes(32)), pinned, draw(evidences)
    )


@given(manifests())
def test_every_manifest_comes_back(manifest: Manifest) -> None:
    assert statement.decode(manifest.encode(), "m") == manifest


@given(st.binary(max_size=200), st.lists(st.tuples(plain, st.binary(max_size=90)), min_size=1, max_size=4))
def test_every_envelope_comes_back(payload: bytes, signatures: list[tuple[str, bytes]]) -> None:
    made = Envelope(payload, tuple((f"{ACME.key.id}/{name}", signature) for name, signature in signatures))
    assert envelope.decode(envelope.encode(made), "m") == made


def test_a_file_name_in_other_letters_is_kept(tmp_path: Path) -> None:
    sealed = seal(tmp_path / "Modèle 模型 😀.sealed")
    write_manifest(sealed, EVIDENCE, ACME)
    assert read_manifest(manifest_path(sealed), TRUST).file == sealed.name
    assert manifest_path(sealed).read_bytes().isascii()


def test_evidence_that_cannot_be_is_the_callers_mistake() -> None:
    for wrong in ({"code": "main"}, {"weights": "0" * 63}, {"data": {"digits": "no"}}, {"run": "a\nb"}):
        with pytest.raises(ConfigError):
            Evidence(**wrong)
