"""Keys, trees and claims: against standards and a second implementation, and every way to alter one."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from harden.errors import ConfigError, Untrusted
from harden.files import canonical_json
from harden.watermarking import Claim, WatermarkKey, claim_of, draw, layout_of
from harden.watermarking import claim as claims
from harden.watermarking.disclosure import disclose
from harden.watermarking.disclosure import parse as parse_leaf
from harden.watermarking.key import Keystream, expand, extract
from harden.watermarking.layout import Layout
from harden.watermarking.merkle import climbed, path_to, root_of
from tests.watermarking.conftest import KEY, body_of, gaussian, signed


@pytest.fixture
def claim() -> Claim:
    layout = layout_of(gaussian())
    return claim_of(body_of(layout, leaves=4), layout, KEY, public=b"public", sign=signed)


def test_keys_are_derived_as_the_library_does() -> None:
    for length in (32, 64, 100):
        wanted = HKDF(hashes.SHA512(), length, b"salt", b"info").derive(b"secret")
        assert expand(extract(b"salt", b"secret"), b"info", length) == wanted


def test_a_keystream_is_the_cipher_over_counters() -> None:
    own = expand(b"k" * 32, b"tensor\0net.2.weight", 32)
    blocks = b"".join(number.to_bytes(16, "big") for number in range(4))
    encryptor = Cipher(AES256(own), ECB()).encryptor()
    wanted = encryptor.update(blocks)
    stream = Keystream(b"k" * 32, "net.2.weight")
    assert b"".join(stream.read(count).tobytes() for count in (1, 15, 16, 31, 1)) == wanted


@pytest.mark.parametrize("leaves", [1, 2, 8, 16])
def test_every_leaf_leads_to_the_root_and_no_other_key_does(leaves: int) -> None:
    keys = [bytes([number]) * 32 for number in range(leaves)]
    for number, key in enumerate(keys):
        path = path_to(keys, number)
        assert 2 ** len(path) == leaves
        assert climbed(number, key, path) == root_of(keys)
        assert climbed(number, b"x" * 32, path) != root_of(keys)


def test_the_payload_is_the_beginning_of_the_claim_id(claim: Claim) -> None:
    first = int(claim.id[:4], 16)
    assert int("".join(map(str, claim.body.payload)), 2) == first


def test_the_id_is_the_digest_of_the_label_and_the_body(claim: Claim) -> None:
    body = json.dumps({**vars(claim.body)}, sort_keys=True, separators=(",", ":")).encode()
    assert claim.id == hashlib.sha3_256(b"harden/watermark/v1 claim\0" + body).hexdigest()


def test_a_claim_comes_back_from_its_bytes(claim: Claim) -> None:
    assert claims.parse(claim.encode(), "claim.json") == claim


@pytest.mark.parametrize("name", ["round", "owner", "nonce", "profile", "base_digest", "recipient", "model_id"])
def test_a_field_that_was_changed_is_noticed(claim: Claim, name: str) -> None:
    plain = json.loads(claim.encode())
    plain["body"][name] += "1"
    with pytest.raises(Untrusted, match="altered"):
        claims.parse(canonical_json(plain) + b"\n", "claim.json")


@pytest.mark.parametrize(
    "change",
    [
        lambda plain: plain["layout"][0].update(name="other.weight"),
        lambda plain: plain["body"].update(bits=17),
        lambda plain: plain["body"].update(bits=16.0),
        lambda plain: plain["body"].update(leaves=True),
        lambda plain: plain["body"].pop("nonce"),
        lambda plain: plain.update(format="harden-claim/2"),
        lambda plain: plain.update(signature=3),
        lambda plain: plain.update(more=""),
        lambda plain: plain.update(layout=[]),
    ],
)
def test_what_is_no_claim_is_not_trusted(claim: Claim, change: Callable[[Any], Any]) -> None:
    plain = json.loads(claim.encode())
    change(plain)
    with pytest.raises(Untrusted):
        claims.parse(canonical_json(plain) + b"\n", "claim.json")


@pytest.mark.parametrize("data", [b"", b"[]\n", b"{}\n", b"\x80\x04", b"null\n", b"{" * 5000])
def test_junk_is_not_trusted(data: bytes) -> None:
    with pytest.raises(Untrusted):
        claims.parse(data, "claim.json")


def test_a_claim_with_spaces_is_not_the_one_spelling(claim: Claim) -> None:
    with pytest.raises(Untrusted, match="canonical"):
        claims.parse(json.dumps(json.loads(claim.encode())).encode(), "claim.json")


def test_a_signature_is_asked_for_and_checked(claim: Claim) -> None:
    asked = []

    def by(owner: str, public: bytes, message: bytes, signature: bytes) -> str:
        asked.append((owner, public, message, signature))
        return "" if len(asked) == 1 else "the signature does not verify: Ed25519"

    claims.check(claim, by, "claim.json")
    assert asked == [(claim.body.owner, b"public", claim.message, b"signed")]
    with pytest.raises(Untrusted, match="Ed25519"):
        claims.check(claim, by, "claim.json")
    with pytest.raises(Untrusted, match="not signed"):
        claims.check(replace(claim, signature=""), by, "claim.json")


def test_another_key_does_not_draw_the_mark(claim: Claim) -> None:
    with pytest.raises(Untrusted, match="another owner"):
        draw(WatermarkKey(b"x" * 32), claim)


def test_secrets_do_not_show_themselves(claim: Claim) -> None:
    mark, shown = draw(KEY, claim), disclose(KEY, claim, 1)
    told = repr([KEY, mark, shown, KEY.under(b"id", 2)])
    assert "harden" not in told.split("layers")[0]
    for secret in (KEY.secret, mark.slots, *mark.leaf.values()):
        assert repr(secret) not in told
        assert secret.hex() not in told


def test_a_leaf_that_is_shown_brings_its_part_of_the_mark_and_no_other(claim: Claim) -> None:
    shown = disclose(KEY, claim, 2)
    found = parse_leaf(shown.encode(), "leaf.json", lambda _: None)
    whole = draw(KEY, claim)
    assert found == shown
    assert dict(found.mark.leaf) == {2: whole.leaf[2]}
    assert [one for one, known in enumerate(found.mark.known) if known] == [2, 6, 10, 14]
    for secret in (KEY.secret, *(whole.leaf[one] for one in (0, 1, 3))):
        assert secret.hex().encode() not in shown.encode()


@pytest.mark.parametrize("name", ["key", "slots", "number", "path"])
def test_a_leaf_that_was_altered_is_not_trusted(claim: Claim, name: str) -> None:
    plain = json.loads(disclose(KEY, claim, 2).encode())
    changed = {"number": 1, "path": plain["path"][::-1]}
    plain[name] = changed.get(name, "ab" * 32)
    with pytest.raises(Untrusted, match="leaf"):
        parse_leaf(canonical_json(plain) + b"\n", "leaf.json", lambda _: None)


def test_there_is_no_leaf_beyond_the_last(claim: Claim) -> None:
    with pytest.raises(ConfigError, match="0 to 3"):
        disclose(KEY, claim, 4)


def test_the_layout_comes_back(claim: Claim) -> None:
    assert Layout.decode(claim.layout.encode()) == claim.layout
    assert np.all(claim.body.payload <= 1)
