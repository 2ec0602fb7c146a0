"""Both doors over a tiny round: what stands afterwards, and how bad input is refused without a change."""

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra

import harden.review
import harden.round
from harden.files import sha256_of
from harden.ledger import Store
from harden.models import digest_of_weights, load
from harden.rounds.keys import chain_in
from harden.sealing import identity_of, open_sealed, provider, trust_of

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")]
"""What mlflow's own imports warn of is not ours to mend."""

MAINS = {"round": harden.round.main, "review": harden.review.main}
TINY = (
    *("+attack=pgd", "attack.steps=2", "model=mlp", "model.hidden=[16]", "schedule.epochs=2", "minutes=600"),
    *("schedule.validate_every=1", "watchdog.every=0", "suite=quick", "images=30"),
)


class Answer(NamedTuple):
    """A door's exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> list[str]:
        """The lines that begin with harden."""
        return [line for line in self.err.splitlines() if line.startswith("harden:")]


Ask = Callable[..., Answer]


def answer(verb: str, *words: str) -> int:
    """The exit code of a door over the words of a command line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [verb, *words])
        GlobalHydra.instance().clear()
        with pytest.raises(SystemExit) as left:
            MAINS[verb]()
    return int(left.value.code or 0)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished round. Copied before it is changed."""
    home = tmp_path_factory.mktemp("finished")
    before = Path.cwd()
    os.chdir(home)
    try:
        assert answer("round", "round=2026Q1", *TINY) in (0, 3)
    finally:
        os.chdir(before)
    return home


@pytest.fixture
def home(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The finished round in a folder of the test's own, which is the current one; its store stays the first one's."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@pytest.fixture
def ask(home: Path, capfd: pytest.CaptureFixture[str]) -> Ask:
    assert Path.cwd() == home

    def run(verb: str, *words: str) -> Answer:
        return Answer(answer(verb, *words), *capfd.readouterr())

    return run


def state(home: Path) -> dict[str, str]:
    """Every file of the rounds by digest, the store apart, which a question may touch."""
    files = sorted(path for path in (home / "rounds").rglob("*") if path.is_file())
    return {str(path): sha256_of(path) for path in files if "mlflow.db" not in path.name}


def told(path: Path) -> Any:
    return json.loads(path.read_bytes())


def test_what_was_sealed_is_what_was_evaluated(home: Path) -> None:
    folder = home / "rounds" / "2026Q1"
    record = told(folder / "record.json")
    weights = digest_of_weights(folder / "train" / "weights.safetensors")
    assert record["stages"]["seal"]["result"]["weights_sha256"] == weights
    assert told(folder / "evaluate" / "evaluation.json")["weights"]["sha256"] == weights
    keys = home / "rounds" / "keys"
    identity = identity_of(keys / "recipient.key", lambda _: "", provider())
    with open_sealed(folder / "seal" / "model.sealed", identity, trust=trust_of(keys / "signer.pub")) as tensors:
        assert set(tensors) == set(load(folder / "train" / "weights.safetensors")[0].state_dict())


def test_the_record_names_every_file_by_digest(home: Path) -> None:
    folder = home / "rounds" / "2026Q1"
    record = told(folder / "record.json")
    named: dict[str, str] = {}
    for stage, entry in record["stages"].items():
        files = entry["outputs"] | record["circumstances"]["stages"][stage]["files"]
        named |= {f"{stage}/{file}": digest for file, digest in files.items()}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert there - {f"{stage}/entry.json" for stage in record["stages"]} - {"record.json", "record.json.sig"} == set(
        named
    )
    assert {name: sha256_of(folder / name) for name in named} == named


def test_no_plain_weights_are_in_the_store(finished: Path) -> None:
    store = Store.at(None, finished / "rounds")
    weights = sha256_of(finished / "rounds" / "2026Q1" / "train" / "weights.safetensors")
    files = [path for path in (finished / "rounds" / "mlartifacts").rglob("*") if path.is_file()]
    assert files
    assert weights not in {sha256_of(path) for path in files}
    promoted = told(finished / "rounds" / "2026Q1" / "record.json")["verdict"]["promoted"]
    wanted = {"candidate": "1"} | ({"champion": "1"} if promoted else {})
    assert store.aliases("digits-linf-0.1") == wanted


def test_a_round_that_exists_is_refused(home: Path, ask: Ask) -> None:
    before = state(home)
    found = ask("round", "round=2026Q1", *TINY)
    assert found.code == 2
    assert "round 2026Q1 exists in rounds and is finished" in found.told[0]
    assert state(home) == before


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("round=2026Q4",), "leaves a gap in the chain after the last one, 2026Q1"),
        (("round=2025Q4",), "lies before the last one"),
        (("round=2026Q2", "schedule.epochs=3"), "the plan of a later round comes from the round before it"),
        (("round=2026Q2", "init=w"), "init= has no place in a round"),
        (("round=2026q2",), "round must be a quarter"),
        (("round=2026Q2", "tracking.uri=none"), "a round needs a tracking store"),
        (("round=2026Q2", "suite=all"), "there is no suite 'all'"),
        (("round=2026Q2", "gates.level=2"), "gates.level must lie in"),
    ],
)
def test_misuse_is_one_line_and_changes_nothing(home: Path, ask: Ask, words: tuple[str, ...], why: str) -> None:
    before = state(home)
    found = ask("round", *words)
    assert found.code == 2
    assert why in found.told[0]
    assert state(home) == before


def test_a_server_that_does_not_answer_is_refused(home: Path, ask: Ask) -> None:
    before = state(home)
    found = ask("round", "round=2026Q2", "tracking.uri=http://127.0.0.1:9")
    assert found.code == 1
    assert "is unreachable" in found.told[0]
    assert state(home) == before


def test_a_second_round_at_once_is_refused(home: Path, ask: Ask) -> None:
    handle = os.open(home / "rounds" / "keys", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        before = state(home)
        found = ask("round", "round=2026Q2")
    finally:
        os.close(handle)
    assert found.code == 1
    assert "another round is being run here" in found.told[0]
    assert state(home) == before


def test_an_altered_record_is_refused_by_round_and_field(home: Path, ask: Ask) -> None:
    file = home / "rounds" / "2026Q1" / "record.json"
    file.write_bytes(file.read_bytes().replace(b'"number":1', b'"number":2'))
    for words in (("round=2026Q2",), ("action=history",), ("action=due",)):
        found = ask("round", *words)
        assert found.code == 4
        assert "round 2026Q1: field number is not as it was signed" in found.told[0]


def test_a_missing_predecessor_is_told(home: Path, ask: Ask) -> None:
    """As when the folder of a round was lost: only a later one is there."""
    (home / "rounds" / "2026Q1").rename(home / "rounds" / "2026Q3")
    found = ask("round", "round=2026Q4")
    assert found.code == 4
    assert "the record is of round 2026Q1, wanted 2026Q3" in found.told[0]


def test_a_round_begun_and_not_finished_comes_first(home: Path, ask: Ask) -> None:
    (home / "rounds" / "2026Q2" / "plan").mkdir(parents=True)
    found = ask("round", "round=2026Q3")
    assert found.code == 2
    assert "round 2026Q2 was begun in rounds and is not finished" in found.told[0]


def edited(home: Path, ask: Ask, **change: Any) -> Path:
    """The proposed plan with fields changed."""
    path = home / "plan.yaml"
    assert ask("round", "action=plan", "round=2026Q2", f"output={path}").code == 0
    plan = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(plan | change))
    return path


def test_an_edited_plan_needs_a_reason(home: Path, ask: Ask) -> None:
    path = edited(home, ask, images=20)
    found = ask("round", "round=2026Q2", f"plan={path}")
    assert found.code == 2
    assert "differs from the proposal in images" in found.told[0]
    assert not (home / "rounds" / "2026Q2").exists()


def test_a_plan_that_breaks_its_budget_is_refused(home: Path, ask: Ask) -> None:
    path = edited(home, ask, minutes=0.0001)
    found = ask("round", "round=2026Q2", f"plan={path}", "why=in a hurry")
    assert found.code == 2
    assert "the plan of 2026Q2 breaks its budget" in found.told[0]
    assert not (home / "rounds" / "2026Q2").exists()


@pytest.mark.parametrize("change", [{"suite": "all"}, {"extra": 1}, {"round": "2026Q3"}, {"recipe": {"is": "Nothing"}}])
def test_a_plan_that_is_none_is_refused(home: Path, ask: Ask, change: dict[str, Any]) -> None:
    path = edited(home, ask, **change)
    found = ask("round", "round=2026Q2", f"plan={path}", "why=a test")
    assert found.code == 2
    assert "plan.yaml" in found.told[0]


def test_the_plan_of_the_next_round_is_shown_with_its_reasons(ask: Ask) -> None:
    found = ask("round", "action=plan", "round=2026Q2")
    assert found.code == 0
    assert "worst classes" in found.out
    assert "eps" in found.out


@pytest.mark.parametrize(
    ("day", "code", "word"), [("2026-03-31", 0, "done"), ("2026-04-01", 3, "due"), ("2026-07-01", 5, "overdue")]
)
def test_a_calendar_is_answered_by_exit_code(ask: Ask, day: str, code: int, word: str) -> None:
    found = ask("round", "action=due", f"today={day}")
    assert (found.code, found.out.partition(":")[0]) == (code, word)


def test_a_folder_without_rounds_is_due_and_stays_empty(ask: Ask) -> None:
    found = ask("round", "action=due", "home=nowhere", "today=2026-11-26")
    assert (found.code, found.out.partition(":")[0]) == (3, "due")
    assert not Path("nowhere").exists()


def test_the_history_is_a_table_and_a_picture(home: Path, ask: Ask) -> None:
    found = ask("round", "action=history", "output=history.svg")
    assert found.code == 0
    assert "2026Q1" in found.out
    assert (home / "history.svg").read_text().startswith("<?xml")


def test_a_review_needs_the_store_alone_and_gives_equal_bytes(home: Path, ask: Ask) -> None:
    shutil.rmtree(home / "rounds" / "2026Q1")
    found = [ask("review", "rounds=[2026Q1]", f"output={name}") for name in ("one", "other")]
    assert [one.code for one in found] == [0, 0]
    for name in ("review.html", "review.md", "review.json"):
        assert (home / "one" / name).read_bytes() == (home / "other" / name).read_bytes()
    again = ask("review", "rounds=[2026Q1]", "output=one")
    assert again.code == 2
    assert "holds a review" in again.told[0]


def test_a_store_that_was_changed_is_not_believed(home: Path, ask: Ask, finished: Path) -> None:
    kept = next((finished / "rounds" / "mlartifacts").rglob("gates/gates.json"))
    before = kept.read_bytes()
    try:
        kept.write_bytes(before.replace(b"clean accuracy", b"clean accuracies", 1))
        found = ask("review", "rounds=[2026Q1]", "output=changed")
    finally:
        kept.write_bytes(before)
    assert found.code == 4
    assert "round 2026Q1: gates/gates.json is not what the round wrote" in found.told[0]
    assert not (home / "changed").exists()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("rounds=[2025Q1]",), "holds no round 2025Q1; there are: 2026Q1"),
        (("rounds=[]",), "rounds=[...] is missing"),
        (("rounds=[2026Q1,2026Q1]",), "rounds names one twice"),
        (("rounds=[spring]",), "round must be a quarter"),
        (("rounds=[2026Q1]", "programme=other"), "holds no round 2026Q1"),
    ],
)
def test_a_review_of_nothing_is_refused(ask: Ask, words: tuple[str, ...], why: str) -> None:
    found = ask("review", *words)
    assert found.code == 2
    assert why in found.told[0]


def test_a_bad_round_is_refused_by_its_gates_and_does_not_become_champion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert answer("round", "round=2026Q1", *TINY, "gates.robust_least=0.99") == 3
    chain = chain_in(tmp_path / "rounds")
    assert [record.promoted for record in chain] == [False]
    assert chain[0].said["verdict"]["champion"] is None
    gates = {gate["name"]: gate for gate in told(tmp_path / "rounds" / "2026Q1" / "gates" / "gates.json")["gates"]}
    assert gates["worst case, lower limit"]["answer"] == "shut"
    assert Store.at(None, tmp_path / "rounds").aliases("digits-linf-0.1") == {"candidate": "1"}
    assert (tmp_path / "rounds" / "2026Q1" / "review" / "review.html").is_file()
