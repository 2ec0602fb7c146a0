"""Keys as people write them: the published examples, one spelling a key, and errors that say the way out."""

import hashlib
import io
import subprocess
import sys

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from hypothesis import given
from hypothesis import strategies as st

from harden.errors import ConfigError, MissingExtra
from harden.sealing.age import (
    HybridIdentity,
    HybridRecipient,
    Passphrase,
    X25519Identity,
    bech32,
    encrypt,
    hybrid,
    identities_of,
    identity_of,
    recipient_of,
)
from harden.sealing.age.bech32 import ALPHABET, decode, encode

ALICE = HybridIdentity(bytes(range(32)))
PQ = "AGE-SECRET-KEY-PQ-1XX76JRALNLXDMEW0CRK45QMCCH4X06SE84UN3VPM33W6HWDX0H3SK3ZQFR"
CLASSICAL = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX"
"""Both from age.md."""


def test_the_published_identity_has_the_published_recipient() -> None:
    recipient = str(identity_of(PQ).recipient())  # type: ignore[union-attr]
    assert recipient.startswith("age1pq1x34nzsvr0rxjsgdn8zgyhfe8j7ceq5r9rdelkjuh3y235jzxshfg87pzf5zrq")
    assert recipient[-40:] == "yyzk3tlhl53k2ykx3qheyty7saeq0d3fzv49zc0k"
    assert hashlib.sha256(recipient.encode()).hexdigest().startswith("a091dd7e0ee9d62b")


def test_the_published_classical_identity_is_read() -> None:
    assert identity_of(CLASSICAL) == X25519Identity(b"B" * 32)


@given(st.binary(min_size=32, max_size=32))
def test_an_identity_is_spelled_one_way(seed: bytes) -> None:
    assert identity_of(HybridIdentity(seed).spelled()) == HybridIdentity(seed)


def test_a_recipient_is_spelled_one_way() -> None:
    recipient = ALICE.recipient()
    assert recipient_of(f" {recipient}\n") == recipient
    assert len(str(recipient)) == 1959


@given(st.binary(max_size=64), st.sampled_from(["age", "AGE-SECRET-KEY-", "a1b"]))
def test_bech32_decodes_what_it_encodes(data: bytes, prefix: str) -> None:
    assert decode(encode(prefix, data)) == (prefix, data)


@pytest.mark.parametrize(
    "text",
    [
        "A12UEL5L",
        "an83characterlonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio1tt5tgs",
        "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw",
        f"11{82 * 'q'}c8247j",
        "split1checkupstagehandshakeupstreamerranterredcaperred2y9e3w",
        "?1ezyfcl",
    ],
)
def test_the_valid_strings_of_bip_173_pass(text: str) -> None:
    assert encode(*decode(text)) == text


@pytest.mark.parametrize(("tail", "fills"), [("qq", True), ("qp", False), ("qz", False), ("q", False), ("qqqqq", True)])
def test_bits_that_fill_no_byte_must_be_zero_and_few(tail: str, fills: bool) -> None:
    """Else one key had several spellings."""
    values = [ALPHABET.index(letter) for letter in tail]
    rest = bech32._polymod([*bech32._expand("a"), *values, *[0] * 6]) ^ 1
    text = "a1" + tail + "".join(ALPHABET[rest >> 5 * place & 31] for place in range(5, -1, -1))
    if fills:
        assert decode(text)[0] == "a"
    else:
        with pytest.raises(ValueError, match="bits are left over"):
            decode(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("\x201nwldj5", "space"),
        ("\x7f1axkwrx", "ASCII"),
        ("\x801eym55h", "ASCII"),
        ("pzry9x0s0muk", "cut short"),
        ("1pzry9x0s0muk", "cut short"),
        ("x1b4n0q5v", "character 3"),
        ("li1dgmt3", "cut short"),
        ("de1lg7wt\xff", "ASCII"),
        ("A1G7SGD8", "checksum"),
        ("10a06t8", "cut short"),
        ("1qzzfhee", "cut short"),
        ("a12UEL5L", "mixed"),
        ("AGE-SECRET-\N{KELVIN SIGN}EY-1QQQQQQ", "ASCII"),
        ("", "cut short"),
    ],
)
def test_the_invalid_strings_of_bip_173_and_ours_are_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        decode(text)


@given(st.integers(0, 1958), st.sampled_from(ALPHABET))
def test_one_wrong_letter_in_a_recipient_is_noticed(at: int, letter: str) -> None:
    right = str(ALICE.recipient())
    wrong = right[:at] + letter + right[at + 1 :]
    if wrong == right:
        assert recipient_of(wrong) == ALICE.recipient()
    else:
        with pytest.raises(ConfigError):
            recipient_of(wrong)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is no recipient, wanted age1pq1..."),
        ("alice", "'alice' is no recipient"),
        ("age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj", "a classical recipient"),
        ("age1tagpq1m3e4wvp6hzcrn9exhy0ae3xfx2s", "a recipient of a hardware key"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI", "an SSH key"),
        ("age1pq1qqqqqqqqqqqq", "checksum does not agree"),
        (str(ALICE.recipient())[:-1], "checksum does not agree"),
        (str(ALICE.recipient()).upper(), "wanted age1pq1..."),
        (encode("age1pq", bytes(1215)), "has 1215 bytes, wanted 1216"),
        (encode("age1pq", b"\xff" * 1184 + b"\x09" + bytes(31)), "the recipient age1pq1"),
        (encode("age1pq", ALICE.recipient().public[:1184] + bytes(32)), "low order"),
        ("age1pq1" + "q" * 5000, "has 5007 characters"),
    ],
)
def test_what_is_no_post_quantum_recipient_is_refused_in_a_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        recipient_of(text)
    assert message in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 120
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not an age identity"),
        ("AGE-PLUGIN-YUBIKEY-1QQQQ", "not an age identity"),
        (PQ[:-1], "checksum"),
        (PQ.lower(), "not an age identity"),
        (PQ[:-1] + "r", "upper and lower case are mixed"),
        (encode("AGE-SECRET-KEY-PQ-", bytes(31)), "has 31 bytes, wanted 32"),
        (encode("AGE-SECRET-KEY-", bytes(33)), "has 33 bytes, wanted 32"),
        (encode("AGE-SECRET-KEY-XY-", bytes(32)), "unknown kind"),
    ],
)
def test_what_is_no_identity_is_refused_without_being_quoted(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        identity_of(text)
    assert len(text) < 40 or text[20:40] not in caught.value.message + caught.value.hint
    assert "\n" not in caught.value.message


def test_a_secret_key_given_as_a_recipient_is_not_repeated() -> None:
    with pytest.raises(ConfigError, match="a secret key was given where a recipient belongs") as caught:
        recipient_of(PQ)
    assert PQ[10:40] not in caught.value.message + caught.value.hint


def test_an_identity_file_is_read_as_age_keygen_writes_it() -> None:
    text = f"# created: 2025-11-17T13:39:06+01:00\n# public key: age1pq167\n{PQ}\r\n\n{CLASSICAL}\n"
    assert identities_of(text) == [identity_of(PQ), identity_of(CLASSICAL)]


def test_an_identity_file_names_the_bad_line() -> None:
    with pytest.raises(ConfigError, match=r"^line 2: not an age identity$"):
        identities_of(f"{PQ}\nrubbish\n")
    with pytest.raises(ConfigError, match="no age identity in the file"):
        identities_of("# nothing\n\n")


def test_no_secret_is_in_a_repr() -> None:
    for identity in (identity_of(PQ), identity_of(CLASSICAL), Passphrase(b"correct horse")):
        assert repr(identity) in ("HybridIdentity()", "X25519Identity()", "Passphrase()")


@pytest.mark.parametrize("make", [HybridIdentity, X25519Identity, HybridRecipient])
def test_raw_keys_of_another_length_are_refused_with_both(make: type) -> None:
    with pytest.raises(ValueError, match=r"has 5 bytes, wanted \d+"):
        make(b"short")


def test_a_build_without_ml_kem_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lacking:
        @staticmethod
        def from_seed_bytes(_: bytes) -> None:
            raise UnsupportedAlgorithm("ML-KEM-768 is not supported")

    monkeypatch.setattr(hybrid, "MLKEM768PrivateKey", Lacking)
    with pytest.raises(MissingExtra, match="no ML-KEM-768"):
        ALICE.recipient()


def test_the_room_loads_nothing_heavy_and_says_nothing() -> None:
    code = "import harden.sealing.age, sys; print(sorted({'torch', 'numpy', 'oqs', 'mlflow'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_there_is_no_way_to_write_for_a_classical_recipient() -> None:
    """age.md: one file should not be sealed for both kinds. Here nothing but hybrid recipients can wrap."""
    with pytest.raises(AttributeError):
        encrypt(io.BytesIO(b""), io.BytesIO(), [X25519Identity(bytes(32))])  # type: ignore[list-item]
