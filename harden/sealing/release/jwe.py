"""The answers of a key broker: JSON Web Encryption, flattened (RFC 7516), with ECDH-ES+A256KW on P-256 and A256GCM.

Key agreement: RFC 7518, section 4.6, Concat KDF with empty party infos; key wrap: RFC 3394. Of what Trustee offers
this is the one pair that is neither RSA nor an experiment; none of it is safe from quantum computers.
"""

import base64
import binascii
import json
import struct
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

ALGORITHM, CONTENT, CURVE = "ECDH-ES+A256KW", "A256GCM", "P-256"
COORDINATE, KEY = 32, 32
IV, TAG = 12, 16


class ReaderKey:
    """A fresh key pair on P-256."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())

    def public(self) -> dict[str, str]:
        """The public key as a JSON Web Key."""
        numbers = self._key.public_key().public_numbers()
        x, y = (encode(number.to_bytes(COORDINATE, "big")) for number in (numbers.x, numbers.y))
        return {"kty": "EC", "crv": CURVE, "alg": ALGORITHM, "x": x, "y": y}

    def open(self, answer: object) -> bytes | None:
        """The plaintext of a flattened JWE to this key; None for anything else."""
        try:
            return self._opened(_texts(answer))
        except (ValueError, KeyError, TypeError, RecursionError, InvalidTag, InvalidUnwrap):
            return None

    def _opened(self, jwe: dict[str, str]) -> bytes:
        header = json.loads(decode(jwe["protected"]))
        if (header["alg"], header["enc"]) != (ALGORITHM, CONTENT) or header.keys() - {"alg", "enc", "epk"}:
            raise ValueError("another algorithm")
        content_key = aes_key_unwrap(self._agreed(header["epk"]), decode(jwe["encrypted_key"]))
        iv, tag = decode(jwe["iv"]), decode(jwe["tag"])
        if (len(content_key), len(iv), len(tag)) != (KEY, IV, TAG):
            raise ValueError("a length is wrong")
        aad = jwe["protected"] + (f".{jwe['aad']}" if "aad" in jwe else "")
        return AESGCM(content_key).decrypt(iv, decode(jwe["ciphertext"]) + tag, aad.encode("ascii"))

    def _agreed(self, sender: dict[str, Any]) -> bytes:
        """The key that wraps the content key."""
        x, y = decode(sender["x"]), decode(sender["y"])
        if sender["kty"] != "EC" or sender["crv"] != CURVE or (len(x), len(y)) != (COORDINATE, COORDINATE):
            raise ValueError("another kind of key")
        numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), ec.SECP256R1())
        return concat(self._key.exchange(ec.ECDH(), numbers.public_key()))


def concat(agreed: bytes) -> bytes:
    """The Concat KDF of RFC 7518: the algorithm's name, two empty party infos, the length of the key in bits."""
    info = struct.pack(">I", len(ALGORITHM)) + ALGORITHM.encode() + bytes(8) + struct.pack(">I", 8 * KEY)
    return ConcatKDFHash(hashes.SHA256(), KEY, info).derive(agreed)


def encode(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """What `encode` wrote; ValueError for any other spelling."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not base64url") from error
    if encode(data) != text:
        raise ValueError("not the one spelling of base64url")
    return data


def _texts(answer: object) -> dict[str, str]:
    if not isinstance(answer, dict):
        raise TypeError("a JWE is an object")
    found = {name: value for name, value in answer.items() if value is not None and name != "header"}
    if not all(isinstance(value, str) for value in found.values()):
        raise TypeError("a JWE holds texts")
    return found
