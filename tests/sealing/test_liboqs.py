"""The engine over liboqs, with a stand-in that pads like the real wrapper; with the real one where it is installed."""

import gc
import gzip
import importlib.util
import json
import os
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from hypothesis import given, settings
from hypothesis import strategies as st

from harden.errors import ConfigError, MissingExtra
from harden.sealing import bare_kem, liboqs, seal_file, unseal_file, verify
from harden.sealing.core import Facts
from harden.sealing.identity import KeyRecipient, key_identity
from harden.sealing.keyfiles import SIGNER, PublicKey, write_public
from harden.sealing.provider import Provider, provider
from harden.sealing.signing import failing, signer_of
from harden.sealing.suites import CNSA, HYBRID, ML_DSA_65, ML_DSA_87, ML_KEM_1024, X_WING, Kem, Scheme, Suite
from harden.sealing.trust import trust_of

VECTORS = Path(os.environ.get("HARDEN_VECTORS", Path(__file__).parents[2] / ".." / "shared" / "vectors"))
FAKE = Path(__file__).with_name("liboqs_fake.py")


def load_fake() -> ModuleType:
    spec = importlib.util.spec_from_file_location("liboqs_fake", os.environ.get("HARDEN_FAKE_OQS", FAKE))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FAKE_OQS = load_fake()


def real() -> Provider | str:
    """The provider over the native library, or why it is not here."""
    try:
        return provider("oqs")
    except MissingExtra as error:
        return error.message


REAL = real()


@pytest.fixture(params=["stand-in", "native"])
def oqs(request: pytest.FixtureRequest) -> Provider:
    """A provider over liboqs."""
    if request.param == "stand-in":
        return Provider("oqs", liboqs.Liboqs(FAKE_OQS))
    if isinstance(REAL, str):
        pytest.skip(f"not run against the native library here: {REAL}")
    return REAL


@pytest.fixture
def pyca() -> Provider:
    """The default provider."""
    return provider("cryptography")


KEMS = pytest.mark.parametrize("kem", [X_WING, ML_KEM_1024], ids=lambda kem: kem.name)
SCHEMES = pytest.mark.parametrize("scheme", [ML_DSA_65, ML_DSA_87], ids=lambda scheme: scheme.name)
SUITES = pytest.mark.parametrize("suite", [HYBRID, CNSA], ids=lambda suite: suite.name)


@KEMS
def test_three_hundred_wrapped_keys_open_with_the_other_provider_each_way(
    oqs: Provider, pyca: Provider, kem: Kem
) -> None:
    for _ in range(300):
        seed, file_key, info = os.urandom(kem.seed), os.urandom(32), os.urandom(os.urandom(1)[0])
        public = pyca.public_of_kem(kem, seed)
        assert oqs.public_of_kem(kem, seed) == public
        for wrapper, opener in ((oqs, pyca), (pyca, oqs)):
            blob = wrapper.wrap(kem, public, file_key, info)
            assert blob is not None
            assert opener.opener(kem, seed)(blob, info) == file_key


@KEMS
def test_any_flipped_byte_other_info_and_other_key_give_nothing_as_with_cryptography(
    oqs: Provider, pyca: Provider, kem: Kem
) -> None:
    seed = bytes(range(kem.seed))
    blob = pyca.wrap(kem, pyca.public_of_kem(kem, seed), bytes(32), b"info")
    assert blob is not None
    opens = oqs.opener(kem, seed)
    for at in range(0, kem.blob, 7):
        assert opens(blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :], b"info") is None
    assert opens(blob, b"inf0") is None
    assert oqs.opener(kem, os.urandom(kem.seed))(blob, b"info") is None
    assert opens(blob, b"info") == bytes(32)


@KEMS
def test_wrong_lengths_stop_in_front_of_the_library_that_would_pad_them(oqs: Provider, kem: Kem) -> None:
    seed = os.urandom(kem.seed)
    public = oqs.public_of_kem(kem, seed)
    for wrong in (public[:-1], public + b"\0", b""):
        with pytest.raises(ValueError, match="public key"):
            oqs.wrap(kem, wrong, bytes(32), b"")
        with pytest.raises(ValueError, match="bytes wanted"):  # and once more in the engine itself
            oqs.engine.wrap(kem, wrong, bytes(32), b"")
    with pytest.raises(ValueError, match="bytes wanted"):
        oqs.engine.opener(kem, seed)(bytes(kem.blob - 1), b"")
    assert oqs.opener(kem, seed)(bytes(kem.blob - 1), b"") is None
    for wrong in (seed[:-1], seed + b"\0"):
        with pytest.raises(ValueError, match="seed"):
            oqs.public_of_kem(kem, wrong)


def test_the_stand_in_pads_short_input_so_that_the_length_checks_are_what_stops_it() -> None:
    public = Provider("oqs", liboqs.Liboqs(FAKE_OQS)).public_of_kem(ML_KEM_1024, bytes(64))
    with FAKE_OQS.KeyEncapsulation("ML-KEM-1024") as lattice:
        lattice.generate_keypair_seed(bytes(64))
        assert len(lattice.encap_secret(public[:-2])[0]) == 1568
        assert len(lattice.decap_secret(bytes(100))) == 32


def test_a_public_key_out_of_range_and_one_of_low_order_are_no_keys(oqs: Provider, pyca: Provider) -> None:
    public = pyca.public_of_kem(X_WING, bytes(32))
    for wrong in (b"\xff" * 384 + public[384:], public[:1184] + bytes(32)):
        assert oqs.wrap(X_WING, wrong, bytes(32), b"") is None
        assert pyca.wrap(X_WING, wrong, bytes(32), b"") is None


def test_a_point_of_low_order_in_a_wrapped_key_opens_nothing(oqs: Provider) -> None:
    assert oqs.opener(X_WING, bytes(32))(bytes(X_WING.blob), b"") is None


@SCHEMES
def test_signatures_of_one_provider_verify_with_the_other_under_their_context(
    oqs: Provider, pyca: Provider, scheme: Scheme
) -> None:
    for size in (*range(30), 255):
        seed, message, context = os.urandom(32), os.urandom(size * 10), os.urandom(size)
        public = pyca.public_of_scheme(scheme, seed)
        assert oqs.public_of_scheme(scheme, seed) == public
        for signer, reader in ((oqs, pyca), (pyca, oqs), (oqs, oqs)):
            signature = signer.signing(scheme, seed)(message, context)
            assert reader.verifies(scheme, public, message, signature, context)
            assert not reader.verifies(scheme, public, message, signature, context + b"x")
            assert not reader.verifies(scheme, public, message + b"x", signature, context)
            assert not reader.verifies(scheme, public, message, signature[:-1], context)


@SCHEMES
def test_a_context_too_long_is_refused_as_cryptography_does(oqs: Provider, pyca: Provider, scheme: Scheme) -> None:
    for one in (oqs, pyca):
        with pytest.raises(ValueError):
            one.signing(scheme, bytes(32))(b"", bytes(256))
        assert not one.verifies(scheme, bytes(scheme.public), b"", bytes(scheme.signature), bytes(256))


@SUITES
@pytest.mark.parametrize("back", [False, True], ids=["sealed-by-oqs", "opened-by-oqs"])
def test_a_sealed_file_of_one_provider_opens_with_the_other(
    oqs: Provider, pyca: Provider, suite: Suite, back: bool, tmp_path: Path
) -> None:
    writer, reader = (pyca, oqs) if back else (oqs, pyca)
    seed, plain = os.urandom(suite.kem.seed), os.urandom(40_000)
    (tmp_path / "plain").write_bytes(plain)
    signer = signer_of(suite, os.urandom(suite.signer_seed), writer)
    recipient = KeyRecipient(suite, writer.public_of_kem(suite.kem, seed), writer)
    sealed = tmp_path / "x.sealed"
    seal_file(tmp_path / "plain", sealed, to=[recipient], facts=Facts("m", 1, "", {}), signer=signer)
    message = b"statement"
    assert failing(signer.key, message, signer.sign(message, b""), reader, context=b"") == []
    pub = tmp_path / "acme.pub"
    write_public(pub, PublicKey(SIGNER, suite, signer.key.public))
    verify(sealed, trust_of(pub), by=reader)
    identity = key_identity(suite, seed, reader)
    unseal_file(sealed, tmp_path / "out", identity, trust=trust_of(pub), overwrite=False, by=reader)
    assert (tmp_path / "out").read_bytes() == plain


@given(shared=st.binary(min_size=32, max_size=32), info=st.binary(max_size=300))
@settings(max_examples=50)
def test_key_and_nonce_depend_on_all_of_info(shared: bytes, info: bytes) -> None:
    found = bare_kem.schedule(X_WING, shared, info)
    assert [len(part) for part in found] == [32, 12]
    assert found != bare_kem.schedule(X_WING, shared, info + b"\0")
    assert found != bare_kem.schedule(ML_KEM_1024, shared, info)


def test_a_library_that_draws_otherwise_for_a_key_pair_is_noticed() -> None:
    other = load_fake()
    other.native().draws_at_a_time = 16
    with pytest.raises(RuntimeError, match=r"drew \[16, 16\]"):
        liboqs.Liboqs(other).public_of_scheme(ML_DSA_65, bytes(32))
    assert other.native().draw is None


def test_a_thread_that_draws_meanwhile_never_gets_the_seed() -> None:
    fake, seed, got = load_fake(), os.urandom(32), []
    with liboqs._drawing(fake.native(), seed):
        thread = threading.Thread(target=lambda: got.append(fake.native().randombytes(32)))
        thread.start()
        thread.join()
        assert fake.native().randombytes(32) == seed
    assert got != [seed]


def test_key_pairs_inside_the_library_are_freed_when_nobody_needs_them() -> None:
    fake = load_fake()
    engine = liboqs.Liboqs(fake)
    opens, signs = engine.opener(X_WING, bytes(32)), engine.signing(ML_DSA_65, bytes(32))
    assert len(fake.LIVING) == 2
    del opens, signs
    gc.collect()
    assert fake.LIVING == []


def test_four_threads_at_once_agree_with_cryptography(oqs: Provider, pyca: Provider) -> None:
    wrong: list[bytes] = []

    def work() -> None:
        for _ in range(25):
            seed = os.urandom(32)
            if oqs.public_of_scheme(ML_DSA_65, seed) != pyca.public_of_scheme(ML_DSA_65, seed):
                wrong.append(seed)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_without_the_length_checks_the_padded_ciphertexts_would_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liboqs, "exact", lambda data, _wanted: bytes(data))
    pair = liboqs.Liboqs(FAKE_OQS)._kem_pair(ML_KEM_1024, bytes(64))
    assert len(liboqs._decapsulated(pair, bytes(1), 1)) == 32


@pytest.mark.parametrize("name", ["kyber", "Kyber768"])
def test_who_writes_kyber_is_told_of_ml_kem(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        provider(name)
    assert "ML-KEM" in caught.value.hint


def cases(name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(group, test) of a Wycheproof file."""
    found = [path for path in (VECTORS / "wycheproof" / name, VECTORS / "wycheproof" / f"{name}.gz") if path.exists()]
    if not found:
        pytest.skip(f"no public vectors at {VECTORS}")
    data = gzip.decompress(found[0].read_bytes()) if found[0].suffix == ".gz" else found[0].read_bytes()
    return [(group, test) for group in json.loads(data)["testGroups"] for test in group["tests"]]


@SCHEMES
def test_wycheproof_signatures_are_judged_as_published(oqs: Provider, scheme: Scheme) -> None:
    judged = 0
    for group, test in cases(f"mldsa_{scheme.name[-2:]}_verify_test.json"):
        public, context = bytes.fromhex(group["publicKey"]), bytes.fromhex(test.get("ctx", ""))
        message, signature = bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"])
        verdict = oqs.verifies(scheme, public, message, signature, context)
        assert verdict == (test["result"] == "valid"), test["tcId"]
        judged += 1
    assert judged == {"ML-DSA-65": 210, "ML-DSA-87": 241}[scheme.name]


@pytest.mark.parametrize(("kem", "size"), [(X_WING, 768), (ML_KEM_1024, 1024)], ids=["768", "1024"])
def test_wycheproof_ciphertexts_of_ml_kem_give_the_published_secret_or_are_refused(
    oqs: Provider, kem: Kem, size: int
) -> None:
    """tcId 112 to 121 of each are too short or too long; the wrapper alone takes the short ones."""
    engine: Any = oqs.engine
    refused = []
    for _, test in cases(f"mlkem_{size}_test.json"):
        try:
            pair = engine._kem_pair(kem, bytes.fromhex(test["seed"]))
            shared = liboqs._decapsulated(pair, bytes.fromhex(test["c"]), bare_kem.lattice_enc(kem))
        except ValueError:
            refused.append(test["tcId"])
        else:
            assert shared.hex() == test["K"]
            assert test["result"] == "valid"
    assert set(range(112, 122)) <= set(refused)
    assert len(refused) == 40


def test_wycheproof_public_keys_of_ml_kem_1024_are_judged_as_published(oqs: Provider) -> None:
    for _, test in cases("mlkem_1024_encaps_test.json"):
        public = bytes.fromhex(test["ek"])
        if len(public) == ML_KEM_1024.public:
            blob = oqs.wrap(ML_KEM_1024, public, bytes(32), b"")
            assert (blob is not None) == (test["result"] == "valid"), test["tcId"]
        else:
            assert test["result"] == "invalid"
            with pytest.raises(ValueError, match="public key"):
                oqs.wrap(ML_KEM_1024, public, bytes(32), b"")


@pytest.mark.parametrize(("kem", "aead"), [(ML_KEM_1024, 2), (X_WING, 3)], ids=lambda value: getattr(value, "name", ""))
def test_the_published_hpke_sets_come_out_secret_key_nonce_and_ciphertext(
    oqs: Provider, kem: Kem, aead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """draft-ietf-hpke-pq by way of cryptography_vectors; its X-Wing set is for ChaCha20Poly1305 (aead 3)."""
    one = hpke_set(kem, aead)
    monkeypatch.setattr(bare_kem, "AES_256_GCM", aead)
    lattice, curve = bare_kem.expanded(kem, bytes.fromhex(one["skRm"]))
    assert oqs.public_of_kem(kem, bytes.fromhex(one["skRm"])).hex() == one["pkRm"]
    pair = oqs.engine._kem_pair(kem, lattice)  # type: ignore[attr-defined]
    shared = liboqs._shared(kem, pair, bytes.fromhex(one["enc"]), curve)
    assert shared.hex() == one["shared_secret"]
    key, nonce = bare_kem.schedule(kem, shared, bytes.fromhex(one["info"]))
    assert (key.hex(), nonce.hex()) == (one["key"], one["base_nonce"])
    first = {name: bytes.fromhex(value) for name, value in one["encryptions"][0].items()}
    cipher = AESGCM(key) if aead == 2 else ChaCha20Poly1305(key)
    assert cipher.encrypt(nonce, first["pt"], first["aad"]) == first["ct"]


def hpke_set(kem: Kem, aead: int) -> dict[str, Any]:
    """The published set of this KEM, the hash of our suite and this AEAD."""
    spec = importlib.util.find_spec("cryptography_vectors")
    if spec is None or spec.origin is None:
        pytest.skip("cryptography_vectors, with the sets of draft-ietf-hpke-pq, is not installed")
    sets = json.loads((Path(spec.origin).parent / "HPKE" / "hpke-pq-test-vectors.json").read_text())
    wanted = (kem.hpke_id, bare_kem.KDF[kem.kdf][0], aead, 0)
    return next(one for one in sets if (one["kem_id"], one["kdf_id"], one["aead_id"], one["mode"]) == wanted)
