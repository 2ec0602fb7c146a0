"""Files of another writer (`vectors/writer.py`): each opens, or is refused by exactly the class of error it names."""

import hashlib
import json
import lzma
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from harden.errors import SealError
from harden.sealing import PassphraseIdentity, provider
from harden.sealing import errors as family
from harden.sealing.identity import Identity, key_identity
from harden.sealing.opening import unlocked
from harden.sealing.signing import signer_of
from harden.sealing.suites import SUITES, Suite
from harden.sealing.trust import OneSigner, Seen, Trust, TrustStore, read_store, with_signers, write_store

FILE = Path(__file__).parent / "vectors" / "cases.json.xz"
TOLD: dict[str, Any] = json.loads(lzma.decompress(FILE.read_bytes()))
SEEDS = {name: bytes.fromhex(seed) for name, seed in TOLD["seeds"].items()}
BY = provider()


def identity(case: dict[str, Any], suite: Suite) -> Identity:
    """Whoever opens: somebody by name, or whoever knows the passphrase that stands in the place of one."""
    who = case["identity"]
    return key_identity(suite, SEEDS[who][: suite.kem.seed], BY) if who in SEEDS else PassphraseIdentity(lambda _: who)


def trust(case: dict[str, Any], suite: Suite, store: Path) -> Trust | None:
    """acme by name, a store that trusts acme and has seen something, or nobody."""
    if not case["trust"]:
        return None
    key = signer_of(suite, SEEDS[case["trust"]][: suite.signer_seed], BY).key
    if "seen" not in case:
        return OneSigner(key)
    with_signers(store, add={key.id: key}, retire={})
    contents = read_store(store)
    write_store(store, contents.__class__(contents.signers, {key.id: {"m": Seen(**case["seen"])}}))
    return TrustStore(store)


def answer(case: dict[str, Any], memory: Any, store: Path) -> str:
    """The name of the error, or nothing."""
    suite = SUITES[case["suite"]]
    with memory(bytes.fromhex(case["file"])) as handle:
        try:
            found = unlocked(handle, "f", identity(case, suite), trust(case, suite, store), BY)
            plain = b"".join(map(bytes, found.payload.pieces()))
        except SealError as error:
            return type(error).__name__
    assert hashlib.sha256(plain).hexdigest() == case["plain_sha256"]
    return ""


@pytest.mark.parametrize("case", TOLD["cases"], ids=[case["name"] for case in TOLD["cases"]])
def test_a_file_is_accepted_or_refused_as_it_says(case: dict[str, Any], memory: Any, tmp_path: Path) -> None:
    assert answer(case, memory, tmp_path / "trust.json") == case["expect"]


def test_there_are_enough_and_of_every_kind() -> None:
    kinds = Counter(case["expect"] for case in TOLD["cases"])
    assert len(TOLD["cases"]) >= 400
    assert min(kinds[""], kinds["Damaged"], kinds["BadSignature"]) >= 10
    assert set(kinds) - {""} <= set(vars(family))
