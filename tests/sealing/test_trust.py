"""Whom a file must come from, and that no older or forked epoch passes."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harden.sealing import Facts, trust_of, verify
from harden.sealing.errors import BadSignature, Damaged, RolledBack, UnknownSigner, UnsafeKeyFile, Unsigned
from harden.sealing.keyfiles import write_public
from harden.sealing.signing import Signer
from harden.sealing.trust import OneSigner, Seen, TrustStore, read_store, with_signers

STORE = "trust.json"


@pytest.fixture
def store(cast: Any, tmp_path: Path) -> TrustStore:
    """A trust store that trusts acme."""
    key = cast.signers["acme"].key
    with_signers(tmp_path / STORE, add={key.id: key}, retire={})
    return TrustStore(tmp_path / STORE)


def sealed(cast: Any, folder: Path, epoch: int, **how: Any) -> bytes:
    """A file of this epoch of the model `m`."""
    data: bytes = cast.seal(os.urandom(10), folder / "f", **({"facts": Facts("m", epoch=epoch)} | how))
    return data


def test_an_unsigned_file_is_untrusted(cast: Any, tmp_path: Path) -> None:
    with pytest.raises(Unsigned):
        cast.open(sealed(cast, tmp_path, 1, signer=None))


def test_a_strangers_file_is_untrusted(cast: Any, tmp_path: Path, store: TrustStore) -> None:
    data = sealed(cast, tmp_path, 1, signer=cast.signers["mallory"])
    for trust in (cast.trust, store):
        with pytest.raises(UnknownSigner, match=cast.signers["mallory"].key.id):
            cast.open(data, trust=trust)


def test_a_signature_of_a_trusted_signer_on_another_file_does_not_help(cast: Any, tmp_path: Path) -> None:
    """Mallory writes acme's id into a core and puts one of acme's signatures behind it."""
    honest = sealed(cast, tmp_path, 1)
    impostor = Signer(cast.signers["acme"].key, cast.signers["mallory"].signings)
    with pytest.raises(BadSignature, match="ML-DSA-65 and Ed25519 said no"):
        cast.open(forged := sealed(cast, tmp_path, 1, signer=impostor))
    with pytest.raises(BadSignature):
        cast.open(forged[: -3309 - 64] + honest[-3309 - 64 :])


def test_no_older_epoch_passes_once_a_later_one_was_opened(cast: Any, tmp_path: Path, store: TrustStore) -> None:
    first, second, other = (sealed(cast, tmp_path, epoch) for epoch in (1, 2, 2))
    cast.open(first, trust=store)
    cast.open(second, trust=store)
    cast.open(second, trust=store)
    with pytest.raises(RolledBack, match="epoch 1, seen before: 2"):
        cast.open(first, trust=store)
    with pytest.raises(RolledBack, match="another file of epoch 2"):
        cast.open(other, trust=store)
    cast.open(sealed(cast, tmp_path, 1, facts=Facts("another model")), trust=store)


def test_a_rollback_that_is_asked_for_passes_and_lowers_nothing(
    cast: Any, tmp_path: Path, store: TrustStore, caplog: Any
) -> None:
    first, second = (sealed(cast, tmp_path, epoch) for epoch in (1, 2))
    cast.open(second, trust=store)
    cast.open(first, trust=TrustStore(store.path, allow_rollback=True))
    assert "let through, as asked" in caplog.text
    with pytest.raises(RolledBack):
        cast.open(first, trust=store)


def test_nothing_is_remembered_of_a_file_that_did_not_open(cast: Any, tmp_path: Path, store: TrustStore) -> None:
    before = store.path.read_bytes()
    data = bytearray(sealed(cast, tmp_path, 9))
    data[600] ^= 1  # in slot A
    with pytest.raises(Damaged):
        cast.open(bytes(data), trust=store)
    (tmp_path / "f").write_bytes(sealed(cast, tmp_path, 8))
    verify(tmp_path / "f", store)  # has no key, so it cannot know whether the file opens
    assert store.path.read_bytes() == before


def test_a_retired_signer_is_untrusted(cast: Any, tmp_path: Path, store: TrustStore) -> None:
    data, key = sealed(cast, tmp_path, 1), cast.signers["acme"].key
    cast.open(data, trust=store)
    with_signers(store.path, add={}, retire={key.id: key})
    with pytest.raises(UnknownSigner, match="retired"):
        cast.open(data, trust=store)
    assert read_store(store.path).seen[key.id]["m"].epoch == 1


def test_a_store_is_private_and_one_public_key_can_stand_in_its_place(
    cast: Any, tmp_path: Path, store: TrustStore
) -> None:
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    write_public(tmp_path / "acme.pub", cast.keys["acme"].public)
    assert trust_of(store.path) == store
    assert trust_of(tmp_path / "acme.pub") == OneSigner(cast.signers["acme"].key)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_store_that_others_can_change_is_refused(mode: int, store: TrustStore) -> None:
    store.path.chmod(mode)
    with pytest.raises(UnsafeKeyFile, match=f"its mode is {mode:04o}"):
        read_store(store.path)


@pytest.mark.parametrize("where", ["key", "id", "status", "suite", "epoch", "root", "model", "fields", "format"])
def test_a_changed_store_is_damaged(where: str, cast: Any, tmp_path: Path, store: TrustStore) -> None:
    cast.open(sealed(cast, tmp_path, 1), trust=store)
    raw, key = json.loads(store.path.read_text()), cast.signers["acme"].key
    signer, seen = raw["signers"][key.id], raw["seen"][key.id]["m"]
    {
        "key": lambda: signer.update(public=cast.signers["mallory"].key.public.hex()),
        "id": lambda: raw["signers"].update({"0" * 64: signer}),
        "status": lambda: signer.update(status="loved"),
        "suite": lambda: signer.update(suite="cnsa"),
        "epoch": lambda: seen.update(epoch="1"),
        "root": lambda: seen.update(root="zz"),
        "model": lambda: raw["seen"][key.id].update(m=1),
        "fields": lambda: raw.update(more={}),
        "format": lambda: raw.update(format=1),
    }[where]()
    store.path.write_text(json.dumps(raw, sort_keys=True, separators=(",", ":")))
    with pytest.raises(Damaged):
        read_store(store.path)


def test_many_processes_raise_one_epoch_and_none_is_lost(cast: Any, tmp_path: Path, store: TrustStore) -> None:
    code = f"""
import sys
from pathlib import Path
from harden.sealing.trust import Seen, TrustStore
store = TrustStore(Path({str(store.path)!r}))
for epoch in range(1, 16):
    store.advance({cast.signers["acme"].key.id!r}, sys.argv[1], Seen(epoch, "0" * 128, "0" * 64), "f")
"""
    crowd = [subprocess.Popen([sys.executable, "-c", code, f"m{n}"]) for n in range(4)]
    assert [one.wait(timeout=60) for one in crowd] == [0] * 4
    seen = read_store(store.path).seen[cast.signers["acme"].key.id]
    assert seen == {f"m{n}": Seen(15, "0" * 128, "0" * 64) for n in range(4)}
    assert [path.name for path in tmp_path.iterdir()] == [STORE]
