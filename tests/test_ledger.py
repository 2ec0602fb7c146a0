"""The ledger against a real MLflow store in SQLite; what is sent is read back with MLflow's own client."""

import enum
import json
import logging
import math
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harden.errors import ConfigError, LedgerError
from harden.ledger import Ledger, MemoryLedger, open_ledger, places
from harden.ledger.record import NAME_LIMIT, PARAM_LIMIT, name_of

# what mlflow's own imports warn of is not ours to mend
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

DIGEST = "0123456789abcdef" * 4


class Colour(enum.Enum):
    RED = "red"


@pytest.fixture(autouse=True)
def _no_store_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all tests: making its tables takes seconds. The name has what URIs must escape."""
    return tmp_path_factory.mktemp("runs with % and #")


@pytest.fixture
def ledger(folder: Path) -> Iterator[Ledger]:
    with open_ledger(uri=None, folder=folder, experiment="digits", name="first") as opened:
        yield opened


def client_of(ledger: Ledger) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(ledger.location)


def run_of(ledger: Ledger) -> Any:
    ledger.flush()
    return client_of(ledger).get_run(ledger.run_id)


def both(ledger: Ledger) -> list[Ledger]:
    return [ledger, MemoryLedger()]


def params_of(ledger: Ledger) -> dict[str, str]:
    return ledger.params if isinstance(ledger, MemoryLedger) else run_of(ledger).data.params


def tags_of(ledger: Ledger) -> dict[str, str]:
    return ledger.tags if isinstance(ledger, MemoryLedger) else run_of(ledger).data.tags


def break_store(ledger: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Makes every call of the store fail; returns the list in which the calls are counted."""
    calls: list[str] = []

    class Dead:
        def __getattr__(self, name: str) -> Any:
            def fail(*_: object, **__: object) -> None:
                calls.append(name)
                raise ConnectionError("http://ann:secret@host:1 is gone\nsecond line")

            return fail

    monkeypatch.setattr(ledger, "_client", Dead())
    return calls


def test_nested_parameters_come_back_flat_and_spelled_as_on_the_command_line(ledger: Ledger) -> None:
    asked = {"attack": {"steps": 10, "norm": Colour.RED}, "flag": True, "none": None, "list": [1, 2.5, "a"]}
    wanted = {
        "attack.steps": "10",
        "attack.norm": "red",
        "flag": "true",
        "none": "null",
        "list": '[1, 2.5, "a"]',
    }
    for each in both(ledger):
        each.note(asked | {"path": Path("a/b"), "empty": "", "void": {}, "nan": math.nan})
        assert params_of(each) == wanted | {"path": "a/b", "empty": '""', "void": "{}", "nan": "NaN"}


def test_a_long_parameter_keeps_its_beginning_its_length_and_its_digest(ledger: Ledger) -> None:
    for each in both(ledger):
        each.note({"long": "x" * 7000, "fits": "y" * PARAM_LIMIT})
        held = params_of(each)
        assert held["fits"] == "y" * PARAM_LIMIT
        assert len(held["long"]) == PARAM_LIMIT
        # head -c 7000 /dev/zero | tr '\0' x | sha256sum
        assert held["long"].endswith("xxx ... [7000 characters, sha256 bad0f0b22623cfba]")


def test_more_parameters_than_one_batch_takes_arrive(ledger: Ledger) -> None:
    ledger.note({f"p{index}": index for index in range(250)})
    assert len(run_of(ledger).data.params) == 250


def test_a_parameter_that_changes_becomes_a_tag_and_spoils_no_other(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    for each in both(ledger):
        each.note({"seed": 1, "lr": 0.1})
        each.note({"seed": 2, "lr": 0.1, "eps": "8/255"})
        assert params_of(each) == {"seed": "1", "lr": "0.1", "eps": "8/255"}
        assert tags_of(each)["harden.changed.seed"] == "2"
        assert "harden.changed.lr" not in tags_of(each)
    assert [record.getMessage() for record in caplog.records] == [
        f"run {ledger.run_id} was begun with other values of: seed"
    ]


def test_thousands_of_metrics_come_back_in_order_each_with_its_step(ledger: Ledger) -> None:
    for step in range(2345):
        ledger.log({"loss": 1 / (step + 1)}, step)
    ledger.flush()
    points = client_of(ledger).get_metric_history(ledger.run_id, "loss")
    assert sorted((point.step, point.value) for point in points) == [(s, 1 / (s + 1)) for s in range(2345)]


def test_metrics_are_sent_without_a_flush_once_a_batch_is_full(ledger: Ledger) -> None:
    for step in range(1001):
        ledger.log({"loss": 0.5}, step)
    assert len(client_of(ledger).get_metric_history(ledger.run_id, "loss")) == 1000


def test_a_number_that_is_not_finite_is_a_tag_and_no_metric(ledger: Ledger) -> None:
    for each in both(ledger):
        each.log({"loss": 1.0, "grad": math.inf}, 1)
        each.log({"loss": math.nan, "grad": -math.inf}, 2)
        assert tags_of(each)["harden.nonfinite.loss"] == "nan at step 2"
        assert tags_of(each)["harden.nonfinite.grad"] == "inf at step 1"
    assert run_of(ledger).data.metrics == {"loss": 1.0}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("robust_acc.linf 8-255", "robust_acc.linf 8-255"),
        ("robust[8/255]", "robust_8/255_"),
        ("/../a//./b/", "a/b"),
        ("größe:1", "gr__e_1"),
        ("..", "_"),
        ("", "_"),
    ],
)
def test_names_keep_to_the_alphabet_of_mlflow(ledger: Ledger, name: str, wanted: str) -> None:
    ledger.log({name: 2.0}, 0)
    assert run_of(ledger).data.metrics == {wanted: 2.0}


def test_two_long_names_stay_apart(ledger: Ledger) -> None:
    ledger.log({"n" * 300 + "a": 1.0, "n" * 300 + "b": 2.0}, 0)
    assert sorted(run_of(ledger).data.metrics.values()) == [1.0, 2.0]
    assert len(name_of("n" * 300)) == NAME_LIMIT


def test_a_data_set_is_an_input_with_its_whole_digest_in_a_tag(ledger: Ledger) -> None:
    ledger.data(name="digits", digest=DIGEST, source="embedded", context="train")
    ledger.data(name="digits", digest="f" * 64, source="embedded", context="test")
    run = run_of(ledger)
    tags = [{tag.key: tag.value for tag in entry.tags} for entry in run.inputs.dataset_inputs]
    found = {tag["mlflow.data.context"]: tag["harden.data.sha256"] for tag in tags}
    assert found == {"train": DIGEST, "test": "f" * 64}
    dataset = next(entry.dataset for entry in run.inputs.dataset_inputs if entry.dataset.digest[0] == "0")
    assert (dataset.name, dataset.digest) == ("digits", DIGEST[:32])
    assert json.loads(dataset.source) == {"uri": "embedded"}
    assert run.data.tags["harden.data.sha256"] == f"{DIGEST} {'f' * 64}"


def test_files_and_directories_are_kept_beside_the_store(ledger: Ledger, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "leaf.txt").write_text("leaf")
    (tmp_path / "note.txt").write_text("note")
    ledger.keep(tmp_path / "note.txt", "texts")
    ledger.keep(tmp_path / "tree")
    root = folder / "mlartifacts" / ledger.run_id / "artifacts"
    assert (root / "texts" / "note.txt").read_text() == "note"
    assert (root / "tree" / "leaf.txt").read_text() == "leaf"


def test_a_file_that_is_not_there_is_told_of_and_does_not_stop_the_rest(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_ledger(uri=None, folder=folder, experiment="digits", name="gone") as ledger:
        ledger.keep(tmp_path / "gone.txt")
        ledger.log({"loss": 1.0}, 0)
    unsent = next(folder.glob("ledger-unsent*.json"))
    assert json.loads(unsent.read_text())["refused"]["artefacts"] == [
        {"path": str(tmp_path / "gone.txt"), "folder": ""}
    ]
    unsent.unlink()
    assert run_of(ledger).data.metrics == {"loss": 1.0}
    assert run_of(ledger).info.status == "FINISHED"
    assert "no such file" in caplog.text.lower()


@pytest.mark.parametrize(
    ("error", "status"), [(None, "FINISHED"), (ValueError("bad"), "FAILED"), (KeyboardInterrupt(), "KILLED")]
)
def test_the_end_of_the_block_is_the_status_of_the_run(folder: Path, error: BaseException | None, status: str) -> None:
    memory = MemoryLedger()
    ledger = open_ledger(uri=None, folder=folder, experiment="digits", name="ends")
    try:
        with memory, ledger:
            ledger.log({"last": 1.0}, 0)
            if error:
                raise error
    except (ValueError, KeyboardInterrupt):
        pass
    assert run_of(ledger).info.status == memory.status == status
    assert run_of(ledger).data.metrics == {"last": 1.0}


def test_a_second_close_changes_nothing_and_an_unknown_status_is_a_mistake(ledger: Ledger) -> None:
    for each in both(ledger):
        with pytest.raises(ValueError, match="FINISHED, FAILED, KILLED"):
            each.close("DONE")
        each.close("FAILED")
        each.close("FINISHED")
    assert run_of(ledger).info.status == "FAILED"


def test_a_run_goes_on_under_its_id(folder: Path) -> None:
    with open_ledger(uri=None, folder=folder, experiment="digits", name="long") as first:
        first.note({"seed": 1})
        first.data(name="digits", digest=DIGEST, source="embedded", context="train")
        first.log({"loss": 2.0}, 1)
    with open_ledger(uri=None, folder=folder, experiment="digits", name="long", run_id=first.run_id) as second:
        assert run_of(second).info.status == "RUNNING"
        second.note({"seed": 1, "epochs": 3})
        second.data(name="more", digest="f" * 64, source="file", context="extra")
        second.log({"loss": 1.0}, 2)
    assert second.run_id == first.run_id
    assert run_of(second).data.params == {"seed": "1", "epochs": "3"}
    assert run_of(second).data.tags["harden.data.sha256"] == f"{DIGEST} {'f' * 64}"
    assert [p.value for p in client_of(second).get_metric_history(second.run_id, "loss")] == [2.0, 1.0]
    assert run_of(second).info.status == "FINISHED"


def test_a_run_that_the_store_does_not_know_becomes_a_new_one_that_says_so(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_ledger(uri=None, folder=folder, experiment="digits", name="new", run_id="f" * 32) as ledger:
        assert ledger.run_id != "f" * 32
        assert run_of(ledger).data.tags["harden.resumed_from"] == "f" * 32
    assert "recording to a new run" in caplog.text


def test_a_deleted_experiment_is_an_error_with_the_way_out(folder: Path) -> None:
    with open_ledger(uri=None, folder=folder, experiment="to be deleted", name="a") as ledger:
        experiment = run_of(ledger).info.experiment_id
    client_of(ledger).delete_experiment(experiment)
    with pytest.raises(LedgerError, match="'to be deleted' was deleted") as caught:
        open_ledger(uri=None, folder=folder, experiment="to be deleted", name="b")
    assert f"--experiment-id {experiment}" in caught.value.hint


def test_what_a_dead_store_does_not_take_is_whole_in_a_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = open_ledger(uri=None, folder=folder, experiment="digits", name="dies")
    ledger.log({"loss": 2.0}, 1)
    ledger.flush()
    calls = break_store(ledger, monkeypatch)
    with ledger:
        ledger.note({"seed": 1})
        ledger.tag({"kind": "train"})
        ledger.data(name="digits", digest=DIGEST, source="embedded", context="train")
        for step in range(2, 1500):
            ledger.log({"loss": 1.0}, step)
        ledger.keep(tmp_path / "w.safetensors", "weights")
        assert calls == ["log_batch"]
    assert len(calls) == 2
    path = folder / "ledger-unsent.json"
    record = json.loads(path.read_text())
    path.unlink()
    assert (record["run_id"], record["status"]) == (ledger.run_id, "FINISHED")
    unsent = record["unsent"]
    assert unsent["params"] == {"seed": "1"}
    assert unsent["tags"] == {"kind": "train", "harden.data.sha256": DIGEST}
    assert [metric["step"] for metric in unsent["metrics"]] == list(range(2, 1500))
    assert unsent["data"][0]["digest"] == DIGEST
    assert unsent["artefacts"] == [{"path": str(tmp_path / "w.safetensors"), "folder": "weights"}]
    assert len(caplog.records) == 3  # once when it failed, once when it failed again, once where the rest is
    assert str(path) in caplog.text
    assert "secret" not in caplog.text
    assert "second line" not in caplog.text


def test_a_store_that_comes_back_gets_everything_at_the_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_ledger(uri=None, folder=folder, experiment="digits", name="back") as ledger:
        with monkeypatch.context() as broken:
            break_store(ledger, broken)
            ledger.note({"seed": 1})
            ledger.log({"loss": 1.0}, 1)
        ledger.log({"loss": 0.5}, 2)
    run = run_of(ledger)
    assert (run.data.params, run.data.metrics, run.info.status) == ({"seed": "1"}, {"loss": 0.5}, "FINISHED")
    assert not list(folder.glob("ledger-unsent*"))


def test_a_refused_value_is_set_aside_and_the_rest_arrives(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.exceptions import MlflowException

    def refuse(*_: object) -> None:
        raise MlflowException.invalid_parameter_value("no such tag")

    ledger = open_ledger(uri=None, folder=folder, experiment="digits", name="refused")
    with monkeypatch.context() as patched:
        patched.setattr(ledger, "_send_tags", refuse)
        ledger.tag({"odd": "value"})
    ledger.log({"loss": 1.0}, 0)
    ledger.close()
    unsent = folder / "ledger-unsent.json"
    assert json.loads(unsent.read_text())["refused"]["tags"] == {"odd": "value"}
    unsent.unlink()
    assert run_of(ledger).data.metrics == {"loss": 1.0}


def test_an_older_unsent_file_is_not_overwritten(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "ledger-unsent.json").write_text("older")
    ledger = open_ledger(uri=None, folder=folder, experiment="digits", name="second")
    break_store(ledger, monkeypatch)
    ledger.close()
    assert (folder / "ledger-unsent.json").read_text() == "older"
    for path in folder.glob("ledger-unsent*"):
        path.unlink()


def test_an_unreachable_server_is_replaced_by_the_local_store_within_seconds(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    uri = f"http://ann:secret@127.0.0.1:{free_port()}"
    start = time.monotonic()
    with open_ledger(uri=uri, folder=folder, experiment="digits", name="local", run_id="e" * 32) as ledger:
        assert time.monotonic() - start < 5
        assert ledger.location == f"sqlite:///{folder}/mlflow.db"
        assert run_of(ledger).data.tags["harden.resumed_from"] == "e" * 32
    warning = caplog.records[0].getMessage()
    assert warning.startswith("tracking server http://***@127.0.0.1")
    assert "refused" in warning
    assert "\n" not in warning
    assert "secret" not in caplog.text


def test_the_environment_names_the_store_where_the_caller_does_not(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    with open_ledger(uri=None, folder=tmp_path, experiment="digits", name="there") as ledger:
        assert ledger.location == f"sqlite:///{folder}/mlflow.db"
        assert ledger.how_to_look == f"mlflow ui --backend-store-uri '{ledger.location}'"
    assert not list(tmp_path.iterdir())


def test_none_tracks_nothing_and_touches_no_disk(tmp_path: Path) -> None:
    with open_ledger(uri="none", folder=tmp_path / "runs", experiment="e", name="n") as ledger:
        ledger.log({"loss": 1.0}, 3)
    assert isinstance(ledger, MemoryLedger)
    assert ledger.series("loss") == [(3, 1.0)]
    assert "off" in ledger.location
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "uri",
    ["runs", "./mlruns", "file:///tmp/mlruns", "sqlite://", "sqlite:///:memory:", "ftp://ann:secret@host/x"],
)
def test_a_store_that_mlflow_cannot_open_is_refused_with_the_way_out(uri: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="wanted sqlite:///") as caught:
        open_ledger(uri=uri, folder=tmp_path, experiment="e", name="n")
    assert "sqlite:///<folder>/mlflow.db" in caught.value.hint
    assert "secret" not in caught.value.message
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_database_is_refused_in_one_line_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database" * 100)
    refuses(tmp_path, "file is not a database")
    assert (tmp_path / "mlflow.db").read_text() == "not a database" * 100


def test_a_folder_that_cannot_be_made_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refuses(tmp_path / "file" / "runs", "not a directory")


def test_a_locked_database_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "LOCK_SECONDS", 0.1)
    holder = sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    refuses(tmp_path, "database is locked")
    holder.close()


def refuses(folder: Path, reason: str) -> None:
    with pytest.raises(LedgerError) as caught:
        open_ledger(uri=None, folder=folder, experiment="e", name="n")
    assert reason in caught.value.message.lower()
    assert "\n" not in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("http://ann:p@ss@host:5000/x", "http://***@host:5000/x"),
        ("postgresql://u:p@db/ml?password=abc&x=1", "postgresql://***@db/ml?password=***&x=1"),
        ("sqlite:////a@b/mlflow.db", "sqlite:////a@b/mlflow.db"),
    ],
)
def test_passwords_are_masked_and_paths_are_not(text: str, wanted: str) -> None:
    assert places.masked(text) == wanted


def test_importing_the_ledger_loads_no_mlflow_and_opening_one_litters_nothing(
    folder: Path, ledger: Ledger, tmp_path: Path
) -> None:
    assert ledger.run_id  # the store stands: a copy of it saves the seconds that its tables take
    (tmp_path / "runs").mkdir()
    shutil.copy(folder / "mlflow.db", tmp_path / "runs")
    # a fresh process, since mlflow reads its settings at import; pytest's own marks would hide its telemetry
    code = """
import os, sys
import harden.ledger
assert not {"mlflow", "torch", "sqlalchemy"} & set(sys.modules), "heavy import"
from pathlib import Path
with harden.ledger.open_ledger(uri=None, folder=Path("runs"), experiment="e", name="n") as ledger:
    ledger.log({"loss": 1.0}, 0)
import mlflow.telemetry.client as telemetry
assert telemetry.get_telemetry_client() is None, "telemetry is on"
assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
"""
    hidden = {"PYTEST_CURRENT_TEST", "CI", "GITHUB_ACTIONS"}
    clean = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=clean,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["mlflow.db"]


@pytest.mark.slow
def test_two_first_runs_at_once_share_one_new_store(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from harden.ledger import open_ledger\n"
        "with open_ledger(uri=None, folder=Path('runs'), experiment='e', name='n') as ledger:\n"
        "    ledger.note({'a': 1})"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.PIPE) for _ in range(2)]
    assert [run.communicate(timeout=180)[1] for run in runs] == [b"", b""]
    with open_ledger(uri=None, folder=tmp_path / "runs", experiment="e", name="n") as ledger:
        experiment = run_of(ledger).info.experiment_id
        assert len(client_of(ledger).search_runs([experiment])) == 3


@pytest.mark.slow
def test_a_server_takes_a_run_and_its_death_loses_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "note.txt").write_text("note")
    port = free_port()
    server = start_server(tmp_path, port)
    try:
        uri = f"http://127.0.0.1:{port}"
        with open_ledger(uri=uri, folder=tmp_path / "runs", experiment="e", name="whole") as whole:
            whole.note({"seed": 1, "empty": ""})
            whole.log({"loss": 1.0}, 1)
            whole.data(name="digits", digest=DIGEST, source="embedded", context="train")
            whole.keep(tmp_path / "note.txt")
        run = run_of(whole)
        assert (run.info.status, run.data.metrics) == ("FINISHED", {"loss": 1.0})
        assert run.data.params == {"seed": "1", "empty": '""'}
        assert [item.path for item in client_of(whole).list_artifacts(whole.run_id)] == ["note.txt"]
        assert whole.how_to_look.startswith(f"open {uri}/#/experiments/")
        assert not caplog.records

        cut = open_ledger(uri=uri, folder=tmp_path / "runs", experiment="e", name="cut")
        cut.log({"loss": 3.0}, 1)
        cut.flush()
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    start = time.monotonic()
    cut.log({"loss": 2.0}, 2)
    cut.flush()
    cut.log({"loss": 1.0}, 3)
    cut.close()
    assert time.monotonic() - start < 30
    record = json.loads((tmp_path / "runs" / "ledger-unsent.json").read_text())
    assert [(m["step"], m["value"]) for m in record["unsent"]["metrics"]] == [(2, 2.0), (3, 1.0)]
    assert all(record.levelno == logging.WARNING for record in caplog.records)


def start_server(folder: Path, port: int) -> "subprocess.Popen[bytes]":
    store = [
        "--backend-store-uri",
        f"sqlite:///{folder}/server.db",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    server = subprocess.Popen(
        [*command, *store],
        cwd=folder,
        env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    for _ in range(600):
        if places.unreachable(f"http://127.0.0.1:{port}") is None:
            return server
        time.sleep(0.2)
    os.killpg(server.pid, signal.SIGKILL)
    raise RuntimeError("the server did not start")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
