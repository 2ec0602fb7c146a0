"""The values that docs/sealed-format.md prints, so that another implementation has something to compare with."""

import hashlib
import os

import pytest
from cryptography.cobblestone import Cobblestone256Decryptor

from harden.sealing import core as cores
from harden.sealing import layout as layouts
from harden.sealing import leaves
from harden.sealing.core import Core, Facts
from harden.sealing.derive import binding, payload_key, slot_key, slot_tag, wrap_info
from harden.sealing.errors import Damaged
from harden.sealing.layout import Preamble
from harden.sealing.payload import Payload, chunk_keys
from harden.sealing.suites import CNSA, HYBRID

CORE = (
    b'{"created":1,"epoch":1,"file_id":"000102030405060708090a0b0c0d0e0f","format":"bytes","metadata":{},'
    b'"model_id":"m","parent":"","plaintext_bytes":5,"signer":""}'
)
FILE_KEY = bytes(range(32))
SALT = b"\1" * 24
PREAMBLE = Preamble(HYBRID, len(CORE), 2560)
H = binding(PREAMBLE, CORE)
CHUNK = "6678c692e8007491ab23632d266fc17a2c44f50f66"


def payload() -> bytes:
    """Salt, commitment, and the one chunk that holds `hello`."""
    return SALT + chunk_keys(payload_key(FILE_KEY, H), SALT, H).commitment + bytes.fromhex(CHUNK)


def test_the_core_has_one_spelling() -> None:
    core = Core(Facts("m"), created=1, file_id=bytes(range(16)).hex(), format="bytes", plaintext_bytes=5, signer="")
    assert core.encode() == CORE
    assert cores.decode(CORE, "file") == core


def test_the_binding_leaves_the_length_of_slots_out() -> None:
    assert H.hex().startswith("680f783b76bc0bbea31a28c7")
    assert binding(Preamble(HYBRID, len(CORE), 4096), CORE) == H
    assert binding(Preamble(CNSA, len(CORE), 2560), CORE) != H


def test_keys_come_from_the_file_key_and_the_binding() -> None:
    assert slot_key(FILE_KEY, H).hex().startswith("83d9c733c1b7bafe4b0dbc30")
    assert payload_key(FILE_KEY, H).hex().startswith("438403ddb4f7a4aba0359580")
    keys = chunk_keys(payload_key(FILE_KEY, H), SALT, H)
    assert keys.commitment.hex().startswith("00983bf90ee4a56bbc923711")
    assert keys.aead.encrypt(keys.nonce(0), b"hello", None).hex() == CHUNK


def test_the_library_opens_what_the_values_say() -> None:
    decryptor = Cobblestone256Decryptor(payload_key(FILE_KEY, H), H)
    assert decryptor.update(payload()) + decryptor.finalize() == b"hello"


def test_the_root_of_one_leaf() -> None:
    leaf = leaves.leaf("sha256", memoryview(payload()))
    assert leaf == hashlib.sha256(b"\0" + payload()).digest()
    assert leaves.root("sha256", leaf, 1).hex().startswith("b4bb171edaf940ebf23de1b2")


def test_our_reader_opens_what_the_values_say() -> None:
    handle = os.memfd_create("payload")
    os.write(handle, payload())
    layout = layouts.Layout(0, 0, 0, len(payload()), 1, 32, 0, 0)
    reader = Payload(handle, layout, 5, leaves.leaf("sha256", memoryview(payload())), "sha256", "file")
    reader.unlock(payload_key(FILE_KEY, H), H)
    assert b"".join(map(bytes, reader.pieces())) == b"hello"
    with pytest.raises(Damaged, match="commitment"):
        reader.unlock(payload_key(FILE_KEY, H[::-1]), H)
    os.close(handle)


def test_a_wrapped_key_is_bound_to_suite_type_and_file() -> None:
    assert wrap_info(HYBRID, 1, H) == b"harden/seal/v1 wrap\0" + b"\0\1\0\1" + H
    assert wrap_info(CNSA, 2, H) == b"harden/seal/v1 wrap\0" + b"\0\2\0\2" + H


def test_the_tag_of_a_slot_covers_its_length() -> None:
    key = slot_key(FILE_KEY, H)
    tags = {slot_tag(key, Preamble(HYBRID, len(CORE), length), H, b"slot") for length in (2560, 3072)}
    assert len(tags) == 2


@pytest.mark.parametrize(("size", "length"), [(0, 72), (1, 73), (16383, 16455), (16384, 16472), (16385, 16473)])
def test_a_plaintext_has_one_payload_length(size: int, length: int) -> None:
    assert layouts.payload_length(size) == length


def test_the_smallest_signed_file_for_one_has_9109_bytes_and_a_plaintext() -> None:
    """The figure of the design: room for two, signed; 5632 bytes before the payload."""
    core = Core(Facts("m"), created=1, file_id="0" * 32, format="bytes", plaintext_bytes=0, signer="0" * 64)
    layout = layouts.layout_of(Preamble(HYBRID, len(core.encode()), layouts.slot_len_for(16 + 2 * 1176 + 64)), core)
    assert (layout.payload, layout.size) == (5632, 9109)
