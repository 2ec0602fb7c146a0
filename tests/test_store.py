"""A tracking store that is read from: made whole, found again, changed by nobody unnoticed."""

from pathlib import Path

import pytest

from harden.errors import ConfigError, LedgerError
from harden.ledger import Store, open_ledger

# what mlflow's own imports warn of is not ours to mend
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one run, beside what a process that was killed while making a store had left."""
    home = tmp_path_factory.mktemp("store")
    (home / ".mlflow.db.part").write_bytes(b"half a store")
    store = Store.at(None, home)
    with open_ledger(uri=None, folder=home, experiment="programme", name="one") as ledger:
        ledger.tag({"harden.kind": "round"})
        ledger.log({"accuracy": 0.5}, 0)
        ledger.log({"accuracy": 0.75}, 1)
        (home / "kept.txt").write_text("kept")
        ledger.keep(home / "kept.txt", "below")
    assert store.location.endswith("mlflow.db")
    return home


def test_a_store_is_made_whole_under_another_name(folder: Path) -> None:
    assert (folder / "mlflow.db").is_file()
    assert not (folder / ".mlflow.db.part").exists()


def test_runs_are_found_by_their_tags_with_all_they_hold(folder: Path) -> None:
    store = Store.at(None, folder)
    found = store.runs("tags.`harden.kind` = 'round'")
    assert [run.name for run in found] == ["one"]
    assert found[0].metrics == {"accuracy": 0.75}
    assert store.history(found[0].id, "accuracy") == [(0, 0.5), (1, 0.75)]
    assert store.files(found[0].id) == ["below/kept.txt"]
    assert store.read(found[0].id, "below/kept.txt") == b"kept"
    assert store.runs("tags.`harden.kind` = 'other'") == []
    assert store.link(found[0]) == ""


def test_a_version_is_registered_once_and_aliases_point_to_it(folder: Path, tmp_path: Path) -> None:
    store = Store.at(None, folder)
    run = store.runs("tags.`harden.kind` = 'round'")[0].id
    (tmp_path / "model.sealed").write_bytes(b"sealed")
    tags = {"harden.round": "2026Q1"}
    first = store.register("digits-linf-0.1", tmp_path, run=run, tags=tags)
    assert store.register("digits-linf-0.1", tmp_path, run=run, tags=tags) == first
    assert store.register("digits-linf-0.1", tmp_path, run=run, tags={"harden.round": "2026Q2"}) != first
    store.point("digits-linf-0.1", "champion", first)
    assert store.aliases("digits-linf-0.1") == {"champion": first}
    assert store.aliases("another") == {}


def test_a_file_that_is_not_there_is_one_error_that_names_the_store(folder: Path) -> None:
    store = Store.at(None, folder)
    run = store.runs("tags.`harden.kind` = 'round'")[0].id
    with pytest.raises(LedgerError, match=r"mlflow\.db"):
        store.read(run, "nothing.txt")


def test_nothing_takes_the_place_of_a_server_that_does_not_answer(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="is unreachable"):
        Store.at("http://127.0.0.1:9", tmp_path)
    with pytest.raises(ConfigError, match="needs a tracking store"):
        Store.at("none", tmp_path)
    assert list(tmp_path.iterdir()) == []
