"""What doors share: the start through Hydra, exit codes, and errors in one line with a hint.

Exit codes: 0 done (and the answer is yes), 1 could not, 2 misuse, 3 done but the answer is no, 4 not to be
trusted, 5 a round is overdue, 130 stopped on request.
"""

import argparse
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

import harden.openmp  # noqa: F401  before torch, which complaint imports
from harden import complaint, overrides
from harden.errors import ConfigError, HardenError, Interrupted
from harden.schema import register

Work = Callable[[Any, list[str]], int]
"""The request and the overrides that made it -> the exit code."""


Actions = Mapping[str, tuple[type, Work]]
"""What else a verb can do, by the word behind `action=`: other requests, other work. The verb may be among them."""


def run(verb: str, request: type, work: Work, actions: Actions | None = None) -> NoReturn:
    """Runs `work` once for each request on the command line and leaves with the highest exit code."""
    root = verb
    try:
        if actions and (action := _taken(actions)):
            request, work = actions[action]
            root = verb if action == verb else f"{verb}_{action}"
    except ConfigError as error:
        raise SystemExit(say(error)) from None
    others = () if root != verb else tuple(one for one in actions or () if one != verb)
    register(root, request, actions=others)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="harden-") as codes:
        raise SystemExit(_all_runs(root, request, work, Path(codes)))


def _all_runs(root: str, request: type, work: Work, codes: Path) -> int:
    """The highest exit code. Jobs leave theirs as files in `codes`: a launcher may give them processes of their own."""

    def task(cfg: DictConfig) -> None:
        code = 1  # stands if `work` dies
        try:
            code = _answer(cfg, request, work)
        finally:
            if codes.is_dir():  # not on another machine: there, the launcher's log is what tells
                (codes / f"{os.getpid()}-{time.monotonic_ns()}").write_text(str(code))

    sys.argv[1:] = overrides.quoted(sys.argv[1:], request)
    try:
        _check_words(request)
        with _raising():
            hydra.main(**_version_base(), config_path=str(_configs()), config_name=root)(task)()
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") or any(codes.iterdir()):
            raise
        return say(complaint.of(error))
    except KeyboardInterrupt:
        return say(Interrupted("stopped before anything was written"))
    return max((int(one.read_text()) for one in codes.iterdir()), default=0)


def say(error: HardenError) -> int:
    """Prints the error as one line and its hint as another on stderr; the exit code it stands for."""
    kind = "stopped" if isinstance(error, Interrupted) else "error"
    lines = [f"harden: {kind}: {_one_line(error.message)}"]
    if error.hint:
        lines.append(f"harden: hint: {_one_line(error.hint)}")
    sys.stderr.write("\n".join(lines) + "\n")
    return error.exit_code


@contextmanager
def stoppable() -> Iterator[Callable[[], bool]]:
    """Inside, Ctrl-C and SIGTERM ask politely: the yielded function says whether they did.

    A second Ctrl-C interrupts at once.
    """
    asked: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _taken(actions: Actions) -> str | None:
    """The action that the command line names, taken off it, so that Hydra sees the action's own keys only."""
    words = [word for word in sys.argv[1:] if word.startswith("action=")]
    for word in words:
        sys.argv.remove(word)
        if (name := word.removeprefix("action=")) not in actions:
            raise ConfigError(f"there is no action '{name}'; there are: {', '.join(actions)}", "or leave action= out")
    if len(words) > 1:
        raise ConfigError(f"one action at a time, got {', '.join(words)}")
    return words[0].removeprefix("action=") if words else None


def _check_words(request: type) -> None:
    """Raises ConfigError for a flag, key or option that does not exist."""
    parser = get_args_parser()
    parser.exit_on_error = False
    try:
        known, unknown = parser.parse_known_args()
    except argparse.ArgumentError as error:
        raise ConfigError(f"{error.argument_name}: {error.message}", "see --help") from error
    for word in unknown:
        if word.startswith("-"):
            raise ConfigError(f"there is no flag {word}", "see --hydra-help for those that there are")
        raise ConfigError(f"{word} stands behind a flag", "write flags such as -m before all keys")
    if not known.shell_completion:  # its install=bash looks like a key
        overrides.check(known.overrides, request, multirun=known.multirun)


@contextmanager
def _raising() -> Iterator[None]:
    """Inside, Hydra raises instead of printing and leaving, so that the text can be ours."""
    name, before = "HYDRA_FULL_ERROR", os.environ.get("HYDRA_FULL_ERROR")
    os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def _answer(cfg: DictConfig, request: type, work: Work) -> int:
    try:
        try:
            wish = OmegaConf.to_object(cfg)
        except Exception as error:
            raise complaint.of(error) from error
        if not isinstance(wish, request):
            raise ConfigError("the configuration is not one of this verb")
        code = work(wish, list(HydraConfig.get().overrides.task))
        sys.stdout.flush()
        return code
    except (
        BrokenPipeError
    ):  # whoever read the results has gone, such as head: nobody is left to tell, and no yes is given
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Interrupted as stop:  # ends a sweep too: its other runs are not begun
        raise SystemExit(say(stop)) from None
    except HardenError as error:
        return say(error)


def _configs() -> Path:
    """The folder of YAML files: beside the code when installed, one up in a checkout."""
    here = Path(__file__).resolve().parent
    for folder in (here / "configs", here.parent / "configs"):
        if (folder / "train.yaml").is_file():
            return folder
    raise SystemExit(say(HardenError("the configuration files are not there", "run: pip install -e .")))


def _version_base() -> dict[str, str]:
    """Hydra 1.4 deprecates the argument that 1.3 wants."""
    return {"version_base": "1.3"} if hydra.__version__.startswith("1.3") else {}


def _one_line(text: str) -> str:
    return " ".join(text.split())
