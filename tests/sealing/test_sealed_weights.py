"""Sealed weights in the place of plain ones: the same model, the same numbers, and nothing of them on disk."""

import json
import logging
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

import harden.evaluate
import harden.train
from harden import unlocking
from harden.errors import ConfigError
from harden.files import sha256_of
from harden.models import Keys, digest_of_weights, load, opening, read, sealed_state
from harden.sealing import Change, Facts, rewrap, seal_file
from harden.sealing.errors import Damaged, RolledBack, UnknownSigner, WrongKey
from harden.sealing.keyfiles import write_public, write_secret
from harden.sealing.trust import OneSigner

TINY = [
    *("model=mlp", "model.hidden=[16]", "schedule.epochs=1", "schedule.batch_size=256", "schedule.validate_every=1"),
    *("judge.images=20", "judge.steps=2", "judge.restarts=1", "judge.validation_steps=1", "watchdog.every=0"),
    "tracking.uri=none",
]
LOOK = ["images=20", "attack=pgd", "attack.steps=2", "tracking.uri=none"]
OPENS = ["identity=alice.key", "trust=acme.pub"]
MAINS = {"train": harden.train.main, "evaluate": harden.evaluate.main}

Ask = Callable[..., tuple[int, str]]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Ask:
    """Runs a verb where one stands: its exit code and what it said on stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARDEN_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(unlocking, "forbid_dumps", lambda: None)

    def run(verb: str, *words: str) -> tuple[int, str]:
        GlobalHydra.instance().clear()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", [verb, *words])
            with pytest.raises(SystemExit) as stop:
                MAINS[verb]()
        return int(stop.value.code or 0), capfd.readouterr().err

    return run


@pytest.fixture(scope="module")
def built(cast: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model, plain and sealed for alice, and her and acme's keys."""
    folder = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train", "+attack=fgsm", *TINY, "baseline=false", f"output={folder / 'run'}"])
        GlobalHydra.instance().clear()
        with pytest.raises(SystemExit) as stop:
            harden.train.main()
    assert not stop.value.code
    shutil.copy(folder / "run" / "weights.safetensors", folder / "w.safetensors")
    write_secret(folder / "alice.key", cast.keys["alice"], None)
    write_secret(folder / "carol.key", cast.keys["carol"], None)
    for name in ("acme", "mallory"):
        write_public(folder / f"{name}.pub", cast.keys[name].public)
    to = [cast.recipients["alice"], cast.recipients["bob"]]
    seal_file(folder / "w.safetensors", folder / "w.sealed", to=to, signer=cast.signers["acme"], facts=Facts("m"))
    return folder


@pytest.fixture
def house(built: Path, tmp_path: Path) -> Path:
    """A copy of that folder, where one stands."""
    return Path(shutil.copytree(built, tmp_path, dirs_exist_ok=True))


in_the_house = pytest.mark.usefixtures("house")


def test_a_sealed_state_dict_loads_into_a_model(cast: Any, built: Path) -> None:
    model, _ = load(built / "w.safetensors")
    wanted = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    with sealed_state(built / "w.sealed", cast.identities["alice"], trust=cast.trust) as state:
        assert set(state) == set(wanted)
        model.load_state_dict(state)
    torch.testing.assert_close(dict(model.state_dict()), wanted, rtol=0, atol=0)


def test_weights_are_read_sealed_as_plain(cast: Any, built: Path) -> None:
    plain, card = read(built / "w.safetensors")
    with opening(lambda: Keys(cast.identities["bob"], cast.trust, cast.provider)):
        found, same = read(built / "w.sealed")
        assert same == card
        torch.testing.assert_close(found, plain, rtol=0, atol=0)
        assert load(built / "w.sealed")[1] == card
    with pytest.raises(ConfigError, match="is sealed"):
        read(built / "w.sealed")


def test_the_digest_is_that_of_what_is_sealed_and_survives_a_rewrap(cast: Any, built: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(built / "w.sealed", tmp_path))
    with opening(lambda: Keys(cast.identities["alice"], cast.trust, cast.provider)):
        assert digest_of_weights(path) == sha256_of(built / "w.safetensors")
        rewrap(path, cast.identities["alice"], Change(add=[cast.recipients["carol"]]), trust=cast.trust)
        assert digest_of_weights(path) == sha256_of(built / "w.safetensors")
    assert digest_of_weights(built / "w.safetensors") == sha256_of(built / "w.safetensors")


def _same(keys: Keys) -> Keys:
    return keys


def test_who_cannot_open_or_does_not_trust_reads_nothing(cast: Any, built: Path) -> None:
    stranger = OneSigner(cast.signers["mallory"].key)
    for name, trust, error in (("carol", cast.trust, WrongKey), ("alice", stranger, UnknownSigner)):
        keys = Keys(cast.identities[name], trust, cast.provider)
        with opening(partial(_same, keys)), pytest.raises(error):
            load(built / "w.sealed")


@pytest.mark.slow
@in_the_house
def test_an_evaluation_of_sealed_weights_gives_the_numbers_of_the_plain_ones(ask: Ask) -> None:
    code, told = ask("evaluate", "weights=w.sealed", *OPENS, *LOOK, "output=sealed")
    assert code == 0, told
    assert ask("evaluate", "weights=w.safetensors", *LOOK, "output=plain")[0] == 0
    sealed, plain = (json.loads(Path(name, "evaluation.json").read_text()) for name in ("sealed", "plain"))
    for key in ("clean", "worst_case"):
        assert sealed[key].get("accuracy", sealed[key]) == plain[key].get("accuracy", plain[key])
    assert sealed["weights"]["sha256"] == plain["weights"]["sha256"]
    assert ask("evaluate", "action=verify", "evidence=sealed", "weights=w.sealed", *OPENS)[0] == 0
    compared = ask("evaluate", "weights=w.safetensors", "against=w.sealed", *OPENS, *LOOK, "output=against")
    assert compared[0] == 0, compared[1]


@in_the_house
def test_training_from_sealed_weights_writes_them_nowhere(
    ask: Ask, tmp_path: Path, built: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither a checkpoint nor the model before: every tensor of the sealed file is looked for, byte by byte."""
    caplog.set_level(logging.INFO)
    (tmp_path / "w.safetensors").unlink()
    shutil.rmtree(tmp_path / "run")
    words = ("+attack=fgsm", "init=w.sealed", *OPENS, *TINY[2:], "checkpoint_seconds=0.001", "output=o")
    code, told = ask("train", *words)
    assert code == 0, told
    assert "no checkpoints" in caplog.text
    tensors, _ = read(built / "w.safetensors")
    marks = [tensor.numpy().tobytes()[:64] for name, tensor in tensors.items() if "weight" in name]
    assert len(marks) >= 2
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert (tmp_path / "o" / "summary.json") in files
    assert not (tmp_path / "o" / "ordinary.safetensors").exists()
    assert [path for path in files for mark in marks if mark in path.read_bytes()] == []
    assert json.loads((tmp_path / "o" / "summary.json").read_text())["baseline"] == "as given"


@in_the_house
@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("weights=w.sealed",), 2, "trust=FILE is missing"),
        (("weights=w.sealed", "identity=carol.key", "trust=acme.pub"), 4, "w.sealed: the key does not open it"),
        (("weights=w.sealed", "identity=alice.key", "trust=mallory.pub"), 4, "w.sealed: its signer"),
        (("weights=w.sealed", "identity=none.key", "trust=acme.pub"), 1, "none.key: no such file"),
    ],
)
def test_what_does_not_open_is_told_in_one_line(
    words: tuple[str, ...], code: int, says: str, ask: Ask, tmp_path: Path
) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    found, told = ask("evaluate", *words, *LOOK)
    assert found == code
    assert f"harden: error: {says}" in told
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_errors_of_sealing_are_errors_of_the_house() -> None:
    assert Damaged.exit_code == RolledBack.exit_code == 4
