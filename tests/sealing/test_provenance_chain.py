"""Four rounds, and each way in which they may not hang together."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha512
from pathlib import Path

import pytest

from harden.errors import ConfigError, SealError
from harden.sealing import Facts, TrustStore, inspect, provider, seal_bytes, trust_of
from harden.sealing.errors import (
    BadSignature,
    BrokenChain,
    Damaged,
    Forked,
    Mismatch,
    RolledBack,
    UnknownSigner,
    Unreadable,
)
from harden.sealing.identity import KeyRecipient
from harden.sealing.keyfiles import RECIPIENT, generate
from harden.sealing.provenance import Evidence, Manifest, envelope, manifest_path, read_manifest, walk, write_manifest
from harden.sealing.signing import Signer, signer_of
from harden.sealing.suites import HYBRID
from harden.sealing.trust import OneSigner, Trust, with_signers

BY = provider()
ACME, EVE, OLD = (signer_of(HYBRID, bytes([n]) * 64, BY) for n in range(3))
TRUST = OneSigner(ACME.key)
RECIPIENTS = [KeyRecipient(HYBRID, generate(RECIPIENT, HYBRID, BY).public.public, BY)]


def put(folder: Path, manifest: Manifest, signer: Signer = ACME, name: str | None = None) -> Path:
    path = folder / f"{name or manifest.file}.manifest.json"
    path.write_bytes(envelope.encode(envelope.sign(manifest.encode(), signer)))
    return path


def one(epoch: int, parent: Manifest | None, *, signer: Signer = ACME, model: str = "lenet", tag: str = "") -> Manifest:
    """A round whose file is only named."""
    h = sha512(f"{model} {epoch} {tag}".encode()).hexdigest()
    facts = Facts(model, epoch, parent.h if parent else "", {"round": f"r{epoch}"})
    name = f"{model}-{epoch}{tag}.sealed"
    return Manifest(name, facts, h, "cd" * 32, signer.key.id, parent.digest if parent else "")


@dataclass(frozen=True)
class Rounds:
    """Rounds 1 to 4 in a folder."""

    folder: Path
    manifests: list[Manifest]

    def path(self, epoch: int) -> Path:
        return self.folder / f"lenet-{epoch}.sealed.manifest.json"


@pytest.fixture
def rounds(tmp_path: Path) -> Rounds:
    made: list[Manifest] = []
    for epoch in range(1, 5):
        made.append(one(epoch, made[-1] if made else None))
        put(tmp_path, made[-1])
    return Rounds(tmp_path, made)


def refused(kind: type[SealError], start: Path, match: str, trust: Trust = TRUST) -> None:
    with pytest.raises(kind, match=match) as caught:
        walk(start, trust)
    assert type(caught.value) is kind


def test_four_rounds_are_walked_from_the_first_to_the_last(rounds: Rounds) -> None:
    for start in (rounds.path(4), rounds.folder):
        links = walk(start, TRUST)
        assert [link.manifest for link in links] == rounds.manifests
        assert [link.path for link in links] == [rounds.path(epoch) for epoch in range(1, 5)]
    assert [link.manifest for link in walk(rounds.path(2), TRUST)] == rounds.manifests[:2]


def test_sealed_files_are_walked_and_compared(tmp_path: Path) -> None:
    before: Manifest | None = None
    for epoch in range(1, 5):
        sealed = tmp_path / f"{epoch}.sealed"
        facts = Facts("lenet", epoch, before.h if before else "")
        seal_bytes(bytes(epoch), sealed, to=RECIPIENTS, facts=facts, signer=ACME)
        write_manifest(sealed, Evidence(), ACME, parent=before)
        before = read_manifest(manifest_path(sealed), TRUST)
    links = walk(tmp_path / "4.sealed", TRUST)
    assert [link.sealed for link in links] == [tmp_path / f"{epoch}.sealed" for epoch in range(1, 5)]
    (tmp_path / "1.sealed").unlink()  # an old file may be gone, its manifest is enough
    assert walk(tmp_path / "4.sealed", TRUST)[0].sealed is None
    shutil.copy(tmp_path / "3.sealed", tmp_path / "2.sealed")
    for start in (tmp_path / "4.sealed", tmp_path):
        refused(Mismatch, start, r"2\.sealed: is not the file of its manifest \(lenet, epoch 2\)")
    (tmp_path / "4.sealed").unlink()
    refused(Unreadable, tmp_path / "4.sealed", r"4\.sealed: no such file")


def test_a_round_without_its_parents_manifest_is_not_signed(tmp_path: Path) -> None:
    facts = Facts("lenet", 2, "ab" * 64)
    sealed = tmp_path / "2.sealed"
    seal_bytes(b"x", sealed, to=RECIPIENTS, facts=facts, signer=ACME)
    with pytest.raises(ConfigError, match="whose manifest is missing"):
        write_manifest(sealed, Evidence(), ACME)
    with pytest.raises(ConfigError, match="continues another file"):
        write_manifest(sealed, Evidence(), ACME, parent=one(1, None))
    with pytest.raises(ConfigError, match="of model lenet, the round before of vgg"):
        write_manifest(sealed, Evidence(), ACME, parent=replace(one(1, None, model="vgg"), h="ab" * 64))
    with pytest.raises(ConfigError, match="does not come after"):
        write_manifest(sealed, Evidence(), ACME, parent=replace(one(2, None), h="ab" * 64))
    write_manifest(sealed, Evidence(), ACME, parent=replace(one(1, None), h="ab" * 64))


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_missing_round_is_named(rounds: Rounds, epoch: int) -> None:
    rounds.path(epoch).unlink()
    for start in (rounds.path(4), rounds.folder):
        refused(BrokenChain, start, rf"lenet, epoch {epoch + 1} \(round r{epoch + 1}\): the round before it is missing")


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_round_that_its_own_signer_rewrote_is_noticed(rounds: Rounds, epoch: int) -> None:
    put(rounds.folder, replace(rounds.manifests[epoch - 1], evidence=Evidence(code="f" * 40)))
    for start in (rounds.path(4), rounds.folder):
        refused(
            BrokenChain, start, rf"lenet, epoch {epoch + 1} \(round r{epoch + 1}\): the round before it was changed"
        )


@pytest.mark.parametrize("epoch", [1, 2, 3, 4])
def test_a_round_with_a_broken_signature_is_named(rounds: Rounds, epoch: int) -> None:
    found = envelope.decode(rounds.path(epoch).read_bytes(), "m")
    other = envelope.sign(b"other", ACME).signatures
    changed = replace(found, signatures=(found.signatures[0], other[1]))
    rounds.path(epoch).write_bytes(envelope.encode(changed))
    for start in (rounds.path(4), rounds.folder):
        refused(BadSignature, start, rf"epoch {epoch} \(round r{epoch}\): .*Ed25519 said no")


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_damaged_file_is_told_where_its_round_is_missing(rounds: Rounds, epoch: int) -> None:
    rounds.path(epoch).write_bytes(rounds.path(epoch).read_bytes()[:-2])
    refused(BrokenChain, rounds.path(4), rf"epoch {epoch + 1}.*missing.*1 cannot be read, such as .*lenet-{epoch}\.")
    refused(Damaged, rounds.folder, rf"lenet-{epoch}\.sealed\.manifest\.json")


def chain(folder: Path, last: Callable[[Manifest], Manifest]) -> Path:
    """Rounds 1 and 2, then what `last` makes of round 2."""
    first = one(1, None)
    second = one(2, first)
    for manifest in (first, second, end := last(second)):
        put(folder, manifest)
    return folder / f"{end.file}.manifest.json"


def test_another_model_in_the_chain_is_named(tmp_path: Path) -> None:
    end = chain(tmp_path, lambda before: one(3, before, model="vgg"))
    refused(BrokenChain, end, r"vgg, epoch 3 \(round r3\): the round before it is of another model: lenet")


@pytest.mark.parametrize("epoch", [1, 2])
def test_an_epoch_that_does_not_rise_is_named(tmp_path: Path, epoch: int) -> None:
    end = chain(tmp_path, lambda before: one(epoch, before, tag="b"))
    refused(BrokenChain, end, rf"epoch {epoch} \(round r{epoch}\): its epoch does not rise: .*epoch 2 \(round r2\)")


def test_a_circle_is_named(tmp_path: Path) -> None:
    first, second = one(1, None), one(2, None)
    first = replace(first, facts=replace(first.facts, parent=second.h), parent_statement="0" * 64)
    second = replace(second, facts=replace(second.facts, parent=first.h), parent_statement=first.digest)
    put(tmp_path, first)
    refused(BrokenChain, put(tmp_path, second), r"epoch 1 \(round r1\): goes in a circle")
    refused(BrokenChain, tmp_path, "lenet goes in a circle")


@pytest.mark.parametrize("epoch", [2, 3, 4])
def test_a_fork_is_named(rounds: Rounds, epoch: int) -> None:
    put(rounds.folder, one(epoch, rounds.manifests[epoch - 2], tag="b"))
    for start in (rounds.path(4), rounds.folder):
        refused(Forked, start, rf"lenet-{epoch}b\.sealed.*: lenet, epoch {epoch}")


def test_a_second_first_round_and_a_second_file_of_an_epoch_are_forks(rounds: Rounds) -> None:
    path = put(rounds.folder, one(9, None, tag="b"))
    refused(Forked, rounds.path(4), "lenet-9b")
    path.unlink()
    elsewhere = one(2, None, tag="c")
    put(rounds.folder, one(3, elsewhere, tag="b"))
    refused(Forked, rounds.path(4), "lenet-3b")


def test_two_statements_about_the_last_file_are_a_fork_in_a_folder(rounds: Rounds) -> None:
    put(rounds.folder, replace(rounds.manifests[3], evidence=Evidence(run="x")), name="again")
    refused(Forked, rounds.folder, r"again\.manifest\.json|lenet-4\.sealed")


def test_a_later_round_is_no_fork_of_an_earlier_one(rounds: Rounds) -> None:
    assert len(walk(rounds.path(3), TRUST)) == 3


@pytest.mark.parametrize("epoch", [1, 3, 4])
def test_a_strangers_round_is_named(rounds: Rounds, epoch: int) -> None:
    made: list[Manifest] = []
    for number in range(1, 5):
        signer = EVE if number == epoch else ACME
        made.append(one(number, made[-1] if made else None, signer=signer))
        put(rounds.folder, made[-1], signer)
    for start in (rounds.path(4), rounds.folder):
        refused(
            UnknownSigner, start, rf"lenet, epoch {epoch} \(round r{epoch}\): its signer {EVE.key.id} is not trusted"
        )


def test_a_round_of_a_retired_signer_is_named(tmp_path: Path) -> None:
    first = one(1, None, signer=OLD)
    put(tmp_path, first, OLD)
    end = put(tmp_path, one(2, first))
    store = tmp_path / "trust.json"
    with_signers(store, add={signer.key.id: signer.key for signer in (ACME, OLD)}, retire={})
    assert len(walk(end, TrustStore(store))) == 2
    with_signers(store, add={}, retire={OLD.key.id: OLD.key})
    refused(UnknownSigner, end, r"epoch 1 \(round r1\): its signer .* is retired", trust_of(store))


def test_a_round_older_than_what_the_store_has_seen_is_rolled_back(rounds: Rounds) -> None:
    store = rounds.folder / "trust.json"
    with_signers(store, add={ACME.key.id: ACME.key}, retire={})
    TrustStore(store).advance(ACME.key.id, "lenet", rounds.manifests[3].seen, "m")
    assert len(walk(rounds.path(4), TrustStore(store))) == 4
    refused(RolledBack, rounds.path(3), r"epoch 3 \(round r3\)", TrustStore(store))
    assert len(walk(rounds.path(3), TrustStore(store, allow_rollback=True))) == 3


def test_what_strangers_put_beside_a_chain_does_not_stop_it(rounds: Rounds) -> None:
    fork = one(4, rounds.manifests[2], signer=EVE, tag="b")
    put(rounds.folder, fork, EVE)
    forged = envelope.sign(rounds.manifests[1].encode(), EVE)
    (rounds.folder / "a-first.manifest.json").write_bytes(envelope.encode(forged))
    (rounds.folder / "junk.manifest.json").write_bytes(b"[" * 1000)
    (rounds.folder / "folder.manifest.json").mkdir()
    assert [link.manifest for link in walk(rounds.path(4), TRUST)] == rounds.manifests
    with pytest.raises(SealError):
        walk(rounds.folder, TRUST)


def test_earlier_rounds_may_lie_elsewhere(rounds: Rounds, tmp_path_factory: pytest.TempPathFactory) -> None:
    archive = tmp_path_factory.mktemp("archive")
    for epoch in (1, 2):
        rounds.path(epoch).rename(archive / f"{epoch}.manifest.json")
    assert len(walk(rounds.path(4), TRUST, among=[archive])) == 4
    named = [archive / "1.manifest.json", archive / "2.manifest.json"]
    assert len(walk(rounds.path(4), TRUST, among=named)) == 4


def test_a_folder_holds_one_model(rounds: Rounds, tmp_path_factory: pytest.TempPathFactory) -> None:
    put(rounds.folder, one(1, None, model="vgg"))
    with pytest.raises(ConfigError, match="of 2 models"):
        walk(rounds.folder, TRUST)
    assert len(walk(rounds.path(4), TRUST)) == 4
    with pytest.raises(ConfigError, match="of 0 models"):
        walk(tmp_path_factory.mktemp("empty"), TRUST)


def test_a_missing_start_is_unreadable(tmp_path: Path) -> None:
    for start in (tmp_path / "no.sealed", tmp_path / "no.manifest.json", tmp_path / "no" / "no.sealed"):
        refused(Unreadable, start, "no such file")


def test_the_epoch_a_chain_ends_at_is_that_of_the_file(tmp_path: Path) -> None:
    sealed = tmp_path / "1.sealed"
    seal_bytes(b"x", sealed, to=RECIPIENTS, facts=Facts("lenet", 7), signer=ACME)
    write_manifest(sealed, Evidence(), ACME)
    assert walk(sealed, TRUST)[-1].manifest.h == inspect(sealed).head.bound.hex()
