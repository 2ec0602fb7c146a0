"""Public vectors through our own wrappers. The folder: HARDEN_VECTORS, else ../shared/vectors beside the checkout.

What is not run stands in docs/sealing-tests.md, by file, with how many and why; the last test counts that nothing else
is missing.
"""

import gzip
import hashlib
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from harden.sealing import provider
from harden.sealing.derive import expand
from harden.sealing.errors import Damaged
from harden.sealing.layout import HEAD, LEAF, SEALED_CHUNK, Layout
from harden.sealing.leaves import leaf
from harden.sealing.payload import Payload, opened_in_place
from harden.sealing.pyca import _signing_key
from harden.sealing.suites import ED25519, ML_DSA_65, ML_DSA_87, ML_KEM_1024, X_WING, Scheme

VECTORS = Path(os.environ.get("HARDEN_VECTORS") or Path(__file__).parents[3] / "shared" / "vectors")
WYCHEPROOF = VECTORS / "wycheproof"
pytestmark = pytest.mark.skipif(
    not WYCHEPROOF.is_dir(), reason=f"no public vectors in {VECTORS}: HARDEN_VECTORS names their folder"
)

BY = provider()
POINT = x25519.X25519PrivateKey.from_private_bytes(bytes(31) + b"\1").public_key().public_bytes_raw()

TABLE = Path(__file__).parents[2] / "docs" / "sealing-tests.md"
SKIPPED = {
    name: int(count)
    for name, count in re.findall(r"^\| `([\w-]+/[\w-]+)` \| (\d+) \| \w.+ \|$", TABLE.read_text(), re.MULTILINE)
}
"""File -> how many of its cases are not run. Why stands beside it in the page."""

FOLDERS = ("wycheproof", "ml-kem")
RUN: set[str] = set()
"""Files whose cases were run."""

Case = dict[str, Any]


def cases(name: str) -> Iterator[Case]:
    """The cases of a file, each with the fields of its group; hex is decoded by whoever needs it."""
    RUN.add(f"wycheproof/{name}")
    path = WYCHEPROOF / f"{name}.json"
    text = path.read_bytes() if path.exists() else gzip.decompress(path.with_suffix(".json.gz").read_bytes())
    for group in json.loads(text)["testGroups"]:
        for case in group["tests"]:
            yield group | case


def wrong(name: str, answer: Callable[[Case], bool | None]) -> list[int]:
    """The ids of the cases whose result `answer` does not give; None: acceptable either way, or skipped."""
    found = []
    for case in cases(name):
        said = answer(case)
        if said is not None and case["result"] != "acceptable" and said != (case["result"] == "valid"):
            found.append(case["tcId"])
    return found


def raw(text: str) -> bytes:
    """Hex as bytes."""
    return bytes.fromhex(text)


def test_aes_gcm_in_place() -> None:
    """As chunks are opened: to their place, which is cleared where the tag is wrong."""
    skipped = []

    def answer(case: Case) -> bool | None:
        nonce, sealed, wanted = raw(case["iv"]), raw(case["ct"]) + raw(case["tag"]), raw(case["msg"])
        if not 8 <= len(nonce) <= 128:
            skipped.append(case["tcId"])
            return None
        into = bytearray(b"\x55" * len(wanted))
        try:
            good = opened_in_place(
                AESGCM(raw(case["key"])), nonce, memoryview(sealed), memoryview(into), raw(case["aad"])
            )
        except ValueError:
            return False
        assert good or not any(into), "what was not authenticated is still there"
        return good and into == wanted

    assert wrong("aes_gcm_test", answer) == []
    assert len(skipped) == SKIPPED["wycheproof/aes_gcm_test"]


def test_chunked_encryption_by_our_reader() -> None:
    def answer(case: Case) -> bool | None:
        data, key = zlib.decompress(raw(case["ct"])), raw(case["key"])
        size = len(data) - HEAD
        full, rest = divmod(size, SEALED_CHUNK)
        if size < 16 or rest < 16 or len(key) != 32:
            return False  # what our sizes and key lengths rule out before the payload is looked at
        parts = [data[at : at + LEAF] for at in range(0, len(data), LEAF)]
        leaves = b"".join(leaf("sha256", memoryview(part)) for part in parts)
        handle = os.memfd_create("payload")
        os.write(handle, data)
        layout = Layout(0, 0, 0, len(data), len(parts), len(leaves), len(data), 0)
        payload = Payload(handle, layout, full * 16_384 + rest - 16, leaves, "sha256", "f")
        digest, length = hashlib.sha512(), 0
        try:
            payload.unlock(key, raw(case["ctx"]))
            for piece in payload.pieces():
                digest.update(piece)
                length += len(piece)
        except Damaged:
            return False
        finally:
            os.close(handle)
        return (length, digest.hexdigest()) == (case["msgLength"], case["msgSha512"])

    assert wrong("c2sp_chunked_encryption_aes_256_gcm_test", answer) == []


def test_ed25519() -> None:
    def answer(case: Case) -> bool:
        return BY.verifies(ED25519, raw(case["publicKey"]["pk"]), raw(case["msg"]), raw(case["sig"]), b"")

    assert wrong("ed25519_test", answer) == []


@pytest.mark.parametrize("scheme", [ML_DSA_65, ML_DSA_87], ids=lambda scheme: scheme.name)
def test_ml_dsa_verifies(scheme: Scheme) -> None:
    def answer(case: Case) -> bool:
        return BY.verifies(scheme, raw(case["publicKey"]), raw(case["msg"]), raw(case["sig"]), raw(case.get("ctx", "")))

    assert wrong(f"mldsa_{scheme.name[-2:]}_verify_test", answer) == []


@pytest.mark.parametrize("scheme", [ML_DSA_65, ML_DSA_87], ids=lambda scheme: scheme.name)
def test_ml_dsa_signs(scheme: Scheme) -> None:
    """Signatures are hedged, so the published bytes cannot come out: both they and ours must verify.

    Where only mu is published, the digest that is signed, the library is asked: our signer takes messages.
    """

    def answer(case: Case) -> bool:
        if "msg" not in case:
            key: Any = _signing_key(scheme, raw(case["privateSeed"]))
            key.public_key().verify_mu(raw(case["sig"]), raw(case["mu"]))
            return True
        seed, message, context = raw(case["privateSeed"]), raw(case["msg"]), raw(case.get("ctx", ""))
        try:
            public = BY.public_of_scheme(scheme, seed)
            signature = BY.signing(scheme, seed)(message, context)
        except ValueError:
            return False
        assert public == raw(case["publicKey"])
        return all(BY.verifies(scheme, public, message, one, context) for one in (signature, raw(case["sig"])))

    assert wrong(f"mldsa_{scheme.name[-2:]}_sign_seed_test", answer) == []


def test_hkdf_sha512_by_our_expansion() -> None:
    """The vectors extract first; our keys are uniform, so that step is the library's here."""

    def answer(case: Case) -> bool:
        key = HKDF.extract(hashes.SHA512(), raw(case["salt"]) or None, raw(case["ikm"]))
        try:
            return expand(key, raw(case["info"]), case["size"]) == raw(case["okm"])
        except ValueError:
            return False

    assert wrong("hkdf_sha512_test", answer) == []


@pytest.mark.parametrize("name", ["sha256", "sha384"])
def test_hkdf_of_hpke(name: str) -> None:
    """Inside HPKE, where the library alone uses it."""
    algorithm = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384()}[name]

    def answer(case: Case) -> bool:
        try:
            made = HKDF(algorithm, case["size"], raw(case["salt"]) or None, raw(case["info"])).derive(raw(case["ikm"]))
        except ValueError:
            return False
        return made == raw(case["okm"])

    assert wrong(f"hkdf_{name}_test", answer) == []


def test_hmac_sha512() -> None:
    def answer(case: Case) -> bool:
        mac = HMAC(raw(case["key"]), hashes.SHA512())
        mac.update(raw(case["msg"]))
        return mac.finalize()[: case["tagSize"] // 8] == raw(case["tag"])

    assert wrong("hmac_sha512_test", answer) == []


def test_x25519() -> None:
    """`acceptable` ones are of low order or not canonical: refused, or right."""

    def answer(case: Case) -> bool | None:
        key = x25519.X25519PrivateKey.from_private_bytes(raw(case["private"]))
        try:
            shared = key.exchange(x25519.X25519PublicKey.from_public_bytes(raw(case["public"])))
        except ValueError:
            return False
        assert shared == raw(case["shared"])
        return True

    assert wrong("x25519_test", answer) == []


def wrappable(size: int, public: bytes) -> bool:
    """Whether a file key can be wrapped to this ML-KEM key; ML-KEM-768 as a half of X-Wing."""
    kem = X_WING if size == 768 else ML_KEM_1024
    try:
        return BY.wrap(kem, public + (POINT if size == 768 else b""), bytes(32), b"") is not None
    except ValueError:
        return False  # of a wrong length


@pytest.mark.parametrize("size", [768, 1024])
def test_ml_kem_takes_no_impossible_public_key(size: int) -> None:
    """Encapsulation draws its own randomness, so only accepted or not can be compared."""
    assert wrong(f"mlkem_{size}_encaps_test", lambda case: wrappable(size, raw(case["ek"]))) == []


@pytest.mark.parametrize("size", [768, 1024])
def test_ml_kem_keys_come_from_seeds(size: int) -> None:
    def answer(case: Case) -> bool:
        seed, wanted = raw(case["seed"]), raw(case["ek"])
        if size == 1024:
            return BY.public_of_kem(ML_KEM_1024, seed) == wanted
        return mlkem.MLKEM768PrivateKey.from_seed_bytes(seed).public_key().public_bytes_raw() == wanted

    assert wrong(f"mlkem_{size}_keygen_seed_test", answer) == []


@pytest.mark.parametrize("size", [768, 1024])
def test_ml_kem_decapsulates(size: int) -> None:
    kind: Any = {768: mlkem.MLKEM768PrivateKey, 1024: mlkem.MLKEM1024PrivateKey}[size]

    def answer(case: Case) -> bool:
        try:
            return bytes(kind.from_seed_bytes(raw(case["seed"])).decapsulate(raw(case["c"]))) == raw(case["K"])
        except ValueError:
            return False

    assert wrong(f"mlkem_{size}_test", answer) == []


@pytest.mark.parametrize("size", [768, 1024])
def test_ml_kem_opens_no_ciphertext_of_another_length(size: int) -> None:
    """Through the wrapper, which never hands such a blob to an engine: liboqs would pad it and go on."""
    kem, seeds = (X_WING, 32) if size == 768 else (ML_KEM_1024, 64)
    opens = BY.opener(kem, bytes(range(seeds)))
    for length in {len(raw(case["c"])) for case in cases(f"mlkem_{size}_test") if case["result"] == "invalid"}:
        rest = kem.blob - (1088 if size == 768 else 1568)
        assert opens(bytes(length + rest), b"") is None


@pytest.mark.parametrize("size", [768, 1024])
def test_keys_with_a_coefficient_above_q_are_refused(size: int) -> None:
    folder = VECTORS / "ml-kem"
    RUN.add(f"ml-kem/modulus-ML-KEM-{size}")
    (path,) = folder.glob(f"modulus-ML-KEM-{size}.txt*")
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    keys = [raw(line) for line in text.decode().split()]
    assert len(keys) == {768: 780, 1024: 1040}[size]
    assert [number for number, key in enumerate(keys) if wrappable(size, key)] == []


@pytest.mark.parametrize("size", [768, 1024])
def test_an_unlucky_public_key_is_accepted(size: int) -> None:
    """Its matrix takes more than 575 bytes of XOF output to draw."""
    text = (VECTORS / "ml-kem" / f"unluckysample-ML-KEM-{size}.txt").read_text()
    assert wrappable(size, raw(dict(line.split(" = ") for line in text.split("\n") if line)["ek"]))


def test_every_file_and_every_case_is_run_or_listed(request: pytest.FixtureRequest) -> None:
    """3,236 cases of Wycheproof, and 51 of them listed; of ML-KEM's own files all but those that are listed."""
    if request.config.getoption("keyword") or any("::" in word for word in request.config.args):
        pytest.skip("only a part of this file was asked for")
    names = {f"{folder}/{path.name.split('.')[0]}" for folder in FOLDERS for path in (VECTORS / folder).iterdir()}
    assert SKIPPED.keys() <= names
    assert names - RUN == {name for name in SKIPPED if name not in RUN}, "neither run nor listed, or the other way"
    counts = {name: sum(1 for _ in cases(name.split("/")[1])) for name in names if name.startswith("wycheproof/")}
    assert (len(counts), sum(counts.values())) == (20, 3236)
    assert sum(count for name, count in SKIPPED.items() if name in counts) == 51
    assert {counts[name] for name in SKIPPED if "semi_expanded" in name} == {9}
