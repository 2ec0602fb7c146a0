"""A mark that is kept alive while a network is trained, as `mark=owner` of harden.train does it."""

import shutil
import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

import harden.train
from harden.data import Digits, load
from harden.errors import ConfigError, WatermarkError
from harden.keeping import Keeper
from harden.models import Mlp
from harden.models.container import decode
from harden.owners import Owner, claim_at, owner_at
from harden.sealing import provider
from harden.sealing.keyfiles import OWNER, generate, write_secret
from harden.sealing.request import Asking
from harden.sealing.suites import HYBRID
from harden.session import Session
from harden.training import TrainRequest
from harden.training.team import Team
from harden.unlocking import Desk
from harden.watermarking import verify
from harden.watermarking.embed import measure
from harden.watermarking.request import OwnerMark

TINY = (
    *("+attack=fgsm", "schedule.epochs=3", "schedule.validate_every=1", "watchdog.every=0", "baseline=false"),
    *("judge.images=20", "judge.steps=2", "judge.restarts=1", "judge.validation_steps=1", "tracking.uri=none"),
)


def trained(folder: Path, *words: str) -> int:
    GlobalHydra.instance().clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train", *words])
        patch.chdir(folder)
        with pytest.raises(SystemExit) as left:
            harden.train.main()
    return int(left.value.code or 0)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an owner's key and a finished run that was marked."""
    folder = tmp_path_factory.mktemp("marked")
    write_secret(folder / "acme.key", generate(OWNER, HYBRID, provider()), None)
    assert trained(folder, *TINY, "mark=owner", "mark.key=acme.key", "output=run") == 0
    return folder


@pytest.fixture
def owner(home: Path) -> Owner:
    return owner_at(str(home / "acme.key"), Desk(Asking()))


def test_both_claims_hold_and_every_margin_of_the_first(home: Path, owner: Owner) -> None:
    weights, _ = decode(home / "run" / "weights.safetensors")
    first, second = (
        claim_at(home / "run" / name / "claim.json", provider()) for name in ("watermark", "watermark/final")
    )
    assert second.body.parent == first.id
    assert first.body.sidecar_digest == ""
    mark = owner.mark(first)
    assert float(measure(weights, mark)[1].margins.min()) >= 3
    assert verify(weights, mark).level == "court"
    sidecar, _ = decode(home / "run" / "watermark" / "final" / "weights.sidecar")
    verdict = verify(weights, owner.mark(second), sidecar=sidecar)
    assert verdict.level == "court"
    assert verdict.reading.mode == "residual"


def test_the_sidecar_of_the_second_carries_the_first_mark_and_not_its_own(home: Path, owner: Owner) -> None:
    sidecar, _ = decode(home / "run" / "watermark" / "final" / "weights.sidecar")
    first, second = (
        claim_at(home / "run" / name / "claim.json", provider()) for name in ("watermark", "watermark/final")
    )
    assert verify(sidecar, owner.mark(first)).level == "court"
    assert abs(verify(sidecar, owner.mark(second)).blind.z) < 5


def test_a_run_that_is_resumed_goes_on_with_the_claim_that_it_began_with(
    home: Path, owner: Owner, tmp_path: Path
) -> None:
    shutil.copytree(home / "run", tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    before = (tmp_path / "run" / "watermark" / "claim.json").read_bytes()
    assert trained(tmp_path, "resume=run") == 0
    assert (tmp_path / "run" / "watermark" / "claim.json").read_bytes() == before
    weights, _ = decode(tmp_path / "run" / "weights.safetensors")
    assert verify(weights, owner.mark(claim_at(tmp_path / "run" / "watermark" / "claim.json", provider()))).holds


def test_training_with_a_mark_needs_a_key_and_a_network_that_can_carry_one(home: Path) -> None:
    data = load(Digits())
    with pytest.raises(ConfigError, match=r"mark\.key"):
        Keeper(OwnerMark(), TrainRequest(), data)

    with pytest.raises(WatermarkError, match="no layer"):
        Keeper(OwnerMark(key=str(home / "acme.key")), TrainRequest(model=Mlp(hidden=[16])), data)
    with pytest.raises(ConfigError, match="mark needs an option"):
        TrainRequest(mark="owner")


def test_several_processes_do_not_keep_a_mark(home: Path) -> None:
    request = TrainRequest(mark=OwnerMark(key=str(home / "acme.key")))
    with pytest.raises(ConfigError, match="one process, not in 2"):
        Session(request, Team(rank=1, size=2))
