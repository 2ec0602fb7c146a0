"""What a user reads after a slip on the command line: one line that says what there is, one that says what to do."""

import importlib.util
import logging
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hydra.core.global_hydra import GlobalHydra

from harden import door
from harden.errors import DataError, Interrupted
from harden.evaluation.request import EvaluateRequest
from harden.schema import GROUPS, fields_of
from harden.training import TrainRequest

ATTACKS = ", ".join(sorted(GROUPS["attack"]))
ROOTS: dict[str, type] = {"train": TrainRequest, "evaluate": EvaluateRequest}


class Answer(NamedTuple):
    """What a door did: its exit code, its lines on stderr, and the requests that reached the work."""

    code: int
    lines: list[str]
    requests: list[Any]


Ask = Callable[..., Answer]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Runs a door over the words of a command line, with work that only takes note of the request."""

    def run(*words: str, work: door.Work | None = None) -> Answer:
        requests: list[Any] = []

        def note(request: Any, _overrides: list[str]) -> int:
            requests.append(request)
            return 0

        verb = words[0] if words[0] in ROOTS else "train"
        monkeypatch.setattr(sys, "argv", [verb, *(words[1:] if words[0] in ROOTS else words)])
        GlobalHydra.instance().clear()
        with pytest.raises(SystemExit) as left:
            door.run(verb, ROOTS[verb], work or note)
        return Answer(int(left.value.code or 0), capsys.readouterr().err.splitlines(), requests)

    return run


def has_launcher(name: str) -> bool:
    """Whether Hydra's launcher of that name is installed."""
    return importlib.util.find_spec("hydra_plugins") is not None and (
        importlib.util.find_spec(f"hydra_plugins.hydra_{name}_launcher") is not None
    )


PLUGINS = {"joblib": ["joblib"], "submitit": ["submitit_local", "submitit_slurm"], "ray": ["ray", "ray_aws"]}
LAUNCHERS = ", ".join(
    sorted(
        ["basic", "cores", "ray_cluster", "slurm"]
        + [one for name in PLUGINS if has_launcher(name) for one in PLUGINS[name]]
    )
)

SLIPS: dict[str, tuple[str, str]] = {
    # option groups
    "+attack=pdg": (f"attack has no option 'pdg'; there are: {ATTACKS}", "did you mean +attack=pgd?"),
    "attack=pgd": ("attack=pgd lacks a plus sign: no attack is chosen so far", "write +attack=pgd"),
    "+attack=pgd +attack=fgsm": ("attack is chosen twice: +attack=pgd and +attack=fgsm", "say one of them"),
    "+attack=": (f"attack has no option ''; there are: {ATTACKS}", ""),
    "+attack=[pgd,fgsm]": (f"attack takes the name of one option, got ['pgd', 'fgsm']; there are: {ATTACKS}", ""),
    "+attack@x=pgd": ("+attack@x=pgd: an option of attack has one place only", "write +attack=..."),
    "threat=null": ("threat takes the name of one option, got null; there are: l1, l2, linf", ""),
    "optim=adm": ("optim has no option 'adm'; there are: adamw, sgd", "did you mean optim=adamw?"),
    "+optim=sgd": ("+optim=sgd has a plus sign, but optim is chosen already", "write optim=sgd"),
    "hydra/launcher=foo": (f"hydra/launcher has no option 'foo'; there are: {LAUNCHERS}", ""),
    "evaluate +attack=pgd": ("+attack=pgd has a plus sign, but attack is chosen already", "write attack=pgd"),
    "evaluate weights=w attack=pdg": (f"attack has no option 'pdg'; there are: {ATTACKS}", "did you mean attack=pgd?"),
    # keys
    "data.shfit=1": ("there is no key data.shfit; data has: flip, shift", "did you mean data.shift?"),
    "compute.precison=fp32": (
        "there is no key compute.precison; compute has: compile, device, graph, precision, threads",
        "did you mean compute.precision?",
    ),
    "schedule.epoch=3": (
        "there is no key schedule.epoch; schedule has: batch_size, clip, ema, epochs, ramp, shape, validate_every,"
        " validation, warmup",
        "did you mean schedule.epochs?",
    ),
    "+attack=pgd attack.step_size=1": (
        "there is no key attack.step_size; attack has: keep, loss, restarts, start, step, steps, target",
        "did you mean attack.steps?",
    ),
    "+attack=fgsm attack.steps=3": (
        "there is no key attack.steps; attack has: start, step",
        "did you mean attack.step?",
    ),
    "+attack=pgd attack.eps=0.1": (
        "there is no key attack.eps; attack has: keep, loss, restarts, start, step, steps, target",
        "did you mean attack.steps?",
    ),
    "attack.steps=3": (
        "there is no key attack.steps: nothing is chosen for attack",
        f"choose by +attack=; there are: {ATTACKS}",
    ),
    "model.hidden=[1]": (
        "there is no key model.hidden: nothing is chosen for model",
        "choose by model=; there are: cnn, cnn_small, custom, mlp, preact_resnet18, wrn_28_10",
    ),
    "model=mlp model.hiden=[1]": ("there is no key model.hiden; model has: hidden", "did you mean model.hidden?"),
    "+attack=pgd +attack.foo=1": (
        "there is no key attack.foo; attack has: keep, loss, restarts, start, step, steps, target",
        "see --help",
    ),
    "+schedule.epochs=3": ("there is a key schedule.epochs already", "leave out the plus sign: schedule.epochs=3"),
    "~seed": ("nothing can be left out, got ~seed", "say key=value to change a value"),
    "watchdog=3": ("watchdog is no single value; it has: budget, every, fall, images, memory, trips", ""),
    "hydra.foo=3": ("hydra.foo: key 'foo' not in 'HydraConf'", "see --help"),
    "evaluate imges=3": (
        f"there is no key imges; there are: {', '.join(fields_of(EvaluateRequest))}",
        "did you mean images?",
    ),
    "evaluate optim=sgd": (
        f"there is no key optim; there are: {', '.join(fields_of(EvaluateRequest))}",
        "see --help",
    ),
    # values
    "seed=abc": ("seed must be a whole number, got 'abc'", ""),
    "seed=1.5": ("seed must be a whole number, got '1.5'", ""),
    "seed=null": ("seed must have a value, got null", ""),
    "seed=???": ("seed must have a value, got ???", ""),
    "overwrite=maybe": ("overwrite must be true or false, got 'maybe'", ""),
    "+attack=pgd attack.step=8/255": ("attack.step must be a number, got '8/255'", ""),
    "threat.norm=l3": ("threat.norm must be one of linf, l2, l1, got 'l3'", ""),
    "schedule.epochs=[1,2]": ("schedule.epochs must be a number, got '[1, 2]'", ""),
    "model=mlp model.hidden=[a]": ("model.hidden[0] must be a whole number, got 'a'", ""),
    "threat.eps=-1": ("threat.eps must be finite and >= 0, got '-1'", ""),
    "threat.eps=nan": ("threat.eps must be finite and >= 0, got 'nan'", ""),
    "threat.eps=8/0": ("threat.eps must be a number, got '8/0'", "write 0.1 or 8/255"),
    "threat.eps=8": (
        "threat.eps must lie within the pixel box 0..1, got '8'",
        "pixels run from 0 to 1 here: write 8/255, not 8",
    ),
    "schedule.epochs=nan": ("schedule.epochs must be > 0, got nan", ""),
    "schedule.epochs=inf": ("schedule.epochs must be > 0, got inf", ""),
    "optim.lr=-1": ("optim.lr must be > 0 and optim.weight_decay >= 0, got -1 and 0.0005", ""),
    "optim.lr=nan": ("optim.lr must be > 0 and optim.weight_decay >= 0, got nan and 0.0005", ""),
    "checkpoint_seconds=nan": ("checkpoint_seconds must be > 0, got nan", ""),
    "objective=trades": ("objective=trades needs an attack", "add +attack=pgd"),
    "resume=a overwrite=true": ("resume and overwrite contradict each other", "say one of them"),
    "evaluate": ("weights=FILE is missing", "train a model first: python -m harden.train +attack=pgd"),
    # syntax
    "foo": (
        "foo is not of the form key=value",
        "quote a value with special characters, for the shell too: 'output=\"a=b\"'",
    ),
    "seed=a(b": (
        "seed=a(b is not of the form key=value",
        "quote a value with special characters, for the shell too: 'output=\"a=b\"'",
    ),
    "=3": (
        "=3 is not of the form key=value",
        "quote a value with special characters, for the shell too: 'output=\"a=b\"'",
    ),
    "seed=1,2": (
        "seed=1,2 names several values",
        "to run with each of them put -m first: -m seed=1,2; for one list write key=[a,b]",
    ),
    "-m seed=1,x": ("seed must be a whole number, got 'x'", ""),
    "--hlep": ("there is no flag --hlep", "see --hydra-help for those that there are"),
    "--cfg foo": ("--cfg/-c: invalid choice: 'foo' (choose from 'job', 'hydra', 'all')", "see --help"),
    "--config-name=foo": ("there is no configuration called 'foo'", "see --help"),
}


@pytest.mark.parametrize(
    "value", ["a=b", "a(b", "my file; and more", "pkcs11:token=T;object=K?module-path=/usr/lib/t.so"]
)
def test_plain_text_needs_no_quotes_beside_the_shells(value: str, ask: Ask) -> None:
    answer = ask("train", f"output={value}")
    assert [request.output for request in answer.requests] == [value]


@pytest.mark.parametrize("words", SLIPS)
def test_a_slip_is_answered_in_one_line_and_a_hint(words: str, ask: Ask) -> None:
    error, hint = SLIPS[words]
    answer = ask(*words.split())
    assert answer.lines == [f"harden: error: {error}"] + ([f"harden: hint: {hint}"] if hint else [])
    assert (answer.code, answer.requests) == (2, [])


@pytest.mark.parametrize(
    ("words", "hint"),
    [("epochs=3", "schedule.epochs"), ("sed=3", "seed"), ("atack=pgd", "attack"), ("eps=0.1", "threat.eps")],
)
def test_an_unknown_key_lists_all_keys_and_names_the_nearest_wherever_it_stands(
    words: str, hint: str, ask: Ask
) -> None:
    error, suggestion = ask(words).lines
    keys = ", ".join(sorted(TrainRequest.__dataclass_fields__))
    assert error == f"harden: error: there is no key {words.partition('=')[0]}; there are: {keys}"
    assert suggestion == f"harden: hint: did you mean {hint}?"


def test_a_flag_behind_the_keys_is_told_where_it_belongs(ask: Ask) -> None:
    answer = ask("+attack=pgd", "-m", "seed=1,2")
    assert answer.code == 2
    assert answer.lines[1:] == ["harden: hint: write flags such as -m before all keys"]


def test_a_sweep_makes_one_request_for_each_combination(ask: Ask) -> None:
    answer = ask("-m", "+attack=fgsm,pgd", "++attack.step=0.5", "seed=1,2")
    assert answer.code == 0
    made = [(type(request.attack).__name__, request.attack.step, request.seed) for request in answer.requests]
    assert made == [("Fgsm", 0.5, 1), ("Fgsm", 0.5, 2), ("Pgd", 0.5, 1), ("Pgd", 0.5, 2)]


def test_a_key_of_what_is_swept_over_needs_two_plus_signs_and_the_hint_says_so(ask: Ask) -> None:
    answer = ask("-m", "+attack=fgsm,pgd", "attack.step=0.5")
    assert answer.lines == [
        "harden: error: attack.step belongs to options of a sweep over attack",
        "harden: hint: write ++attack.step=0.5",
    ]
    assert ask("-m", "schedule=digits,mnist", "schedule.epochs=1").code == 0


@pytest.mark.parametrize(
    "words", ["++seed=3", "judge={steps:3}", "model=custom +model.arguments.width=3", "+attack=pgd attack.steps=3"]
)
def test_what_hydra_allows_besides_is_allowed(words: str, ask: Ask) -> None:
    assert ask(*words.split()).code == 0


def test_a_folder_of_the_users_own_may_hold_more_options(ask: Ask, tmp_path: Any) -> None:
    (tmp_path / "attack").mkdir()
    (tmp_path / "attack" / "mine.yaml").write_text("defaults: [/schema/attack/pgd@_here_, _self_]\nsteps: 3\n")
    answer = ask(f"hydra.searchpath=[file://{tmp_path}]", "+attack=mine", "attack.restarts=2")
    assert [(r.attack.steps, r.attack.restarts) for r in answer.requests] == [(3, 2)]
    answer = ask(f"hydra.searchpath=[file://{tmp_path}]", "+attack=yours")
    assert answer.lines == [
        f"harden: error: attack has no option 'yours'; there are: {', '.join(sorted([*GROUPS['attack'], 'mine']))}"
    ]


def test_an_error_at_work_is_told_in_one_line_with_its_own_exit_code(ask: Ask) -> None:
    def work(_request: Any, _overrides: list[str]) -> int:
        raise DataError("one\n  two", "three\nfour")

    answer = ask("seed=1", work=work)
    assert answer.lines == ["harden: error: one two", "harden: hint: three four"]
    assert answer.code == 1


def test_the_worst_exit_code_of_a_sweep_counts(ask: Ask) -> None:
    assert ask("-m", "seed=0,3,1", work=lambda request, _overrides: int(request.seed)).code == 3


def test_a_stop_ends_the_whole_sweep(ask: Ask) -> None:
    seeds = []

    def work(request: Any, _overrides: list[str]) -> int:
        seeds.append(request.seed)
        raise Interrupted("stopped; the run is kept", "go on")

    answer = ask("-m", "seed=1,2", work=work)
    assert (answer.code, seeds) == (130, [1])
    assert answer.lines == ["harden: stopped: stopped; the run is kept", "harden: hint: go on"]


def test_ctrl_c_at_work_is_no_traceback(ask: Ask) -> None:
    def work(_request: Any, _overrides: list[str]) -> int:
        raise KeyboardInterrupt

    answer = ask("seed=1", work=work)
    assert (answer.code, answer.lines) == (130, ["harden: stopped: stopped before anything was written"])


def test_an_error_of_ours_keeps_its_traceback(ask: Ask) -> None:
    def work(_request: Any, _overrides: list[str]) -> int:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError, match="a bug"):
        ask("seed=1", work=work)


def test_a_door_leaves_environment_and_logging_as_they_were(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    handlers = list(logging.getLogger().handlers)
    ask("seed=1")
    assert "HYDRA_FULL_ERROR" not in os.environ
    assert logging.getLogger().handlers == handlers
