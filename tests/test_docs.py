"""What README and docs name exists: verbs, keys, options, values that go together, modules, files, folder contents."""

import dataclasses
import importlib
import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from harden import door, marking
from harden.__main__ import VERBS
from harden.evaluation.request import EvaluateRequest, VerifyRequest
from harden.reviewing.request import ReviewRequest
from harden.rounds import request as rounds
from harden.schema import GROUPS, fields_of, register
from harden.sealing import request as sealing
from harden.training import TrainRequest
from harden.training import folder as place

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("**/*.md"))]
REQUESTS: dict[str, type] = {
    "train": TrainRequest,
    "evaluate": EvaluateRequest,
    "evaluate_verify": VerifyRequest,
    "keygen_recipient": sealing.RecipientRequest,
    "keygen_signer": sealing.SignerRequest,
    "keygen_owner": sealing.OwnerRequest,
    "keygen_trust": sealing.TrustRequest,
    "watermark_embed": marking.EmbedRequest,
    "watermark_verify": marking.VerifyMarkRequest,
    "watermark_trace": marking.TraceRequest,
    "watermark_disclose": marking.DiscloseRequest,
    "seal": sealing.SealRequest,
    "seal_rewrap": sealing.RewrapRequest,
    "seal_rotate": sealing.RotateRequest,
    "seal_inspect": sealing.InspectRequest,
    "unseal": sealing.UnsealRequest,
    "verify": sealing.VerifyRequest,
    "round": rounds.RoundRequest,
    "round_plan": rounds.PlanRequest,
    "round_due": rounds.DueRequest,
    "round_history": rounds.HistoryRequest,
    "review": ReviewRequest,
}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
SETTING = re.compile(r"\+?([a-z_][a-z_.]*[a-z_])=(\S*)")
LINK = re.compile(r"\]\(([^)#\s]+)")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def _commands(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Verb and arguments of every call of harden in the page's shell blocks."""
    for language, block in FENCE.findall(_text(page)):
        lines = block.splitlines() if language in ("sh", "bash", "console") else []
        for words in (shlex.split(part, comments=True) for line in lines for part in line.split("&&")):
            yield from _call(words)


def _call(words: list[str]) -> Iterator[tuple[str, list[str]]]:
    for at, word in enumerate(words):
        if word == "harden" and at + 1 < len(words):
            yield words[at + 1], words[at + 2 :]
        elif word.startswith("harden.") and words[at - 1] == "-m":
            yield word.removeprefix("harden."), words[at + 1 :]


COMMANDS = [
    pytest.param(verb, arguments, id=f"{page.name}: {verb} {' '.join(arguments)}")
    for page in PAGES
    for verb, arguments in _commands(page)
]


def _runs(arguments: list[str]) -> Iterator[list[str]]:
    """The overrides of each run that the arguments ask for; several after -m."""
    if "-m" not in arguments:
        yield arguments
        return
    pairs = [argument.split("=", 1) for argument in arguments if argument != "-m"]
    yield from map(list, itertools.product(*([f"{key}={one}" for one in value.split(",")] for key, value in pairs)))


def _request(root: str, overrides: list[str]) -> Any:
    register(root, REQUESTS[root])
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "configs"), **door._version_base()):
        return OmegaConf.to_object(compose(root, overrides))


def _root(verb: str, overrides: list[str]) -> tuple[str, list[str]]:
    """The configuration that answers, and what is left for it: the door takes `action=` off the command line."""
    actions = [word.removeprefix("action=") for word in overrides if word.startswith("action=")]
    return "_".join([verb, *actions]), [word for word in overrides if not word.startswith("action=")]


@pytest.mark.parametrize(("verb", "arguments"), COMMANDS)
def test_a_command_that_is_shown_makes_a_request(verb: str, arguments: list[str]) -> None:
    assert verb in VERBS
    for overrides in _runs([argument for argument in arguments if argument != "--help"]):
        wanted = overrides if verb != "evaluate" or "--help" not in arguments else ["weights=w", *overrides]
        root, wanted = _root(verb, wanted)
        assert isinstance(_request(root, wanted), REQUESTS[root])


def test_commands_are_found_at_all() -> None:
    """Else the test above would say nothing."""
    readme = list(_commands(ROOT / "README.md"))
    assert ("train", ["+attack=pgd"]) in readme
    assert {verb for verb, _ in readme} == set(VERBS)


def test_a_key_that_does_not_exist_would_be_noticed() -> None:
    with pytest.raises(Exception, match="epoch"):
        _request("train", ["+attack=pgd", "schedule.epoch=3"])
    assert not _exists("schedule.epoch", "3")
    assert not _exists("threat", "l3")


@each_page
def test_every_setting_in_the_prose_exists(page: Path) -> None:
    spans = INLINE.findall(FENCE.sub("", _text(page)))
    settings = [found.groups() for span in spans for word in span.split() if (found := SETTING.fullmatch(word))]
    assert [f"{key}={value}" for key, value in settings if not _exists(key, value)] == []


@each_page
def test_every_dotted_key_in_the_prose_exists(page: Path) -> None:
    groups = {*GROUPS, "compute", "tracking", "judge", "watchdog"}
    spans = INLINE.findall(FENCE.sub("", _text(page)))
    keys = [span for span in spans if re.fullmatch(r"[a-z_]+\.[a-z_]+", span) and span.split(".")[0] in groups]
    assert [key for key in keys if not _exists(key, "")] == []


def _exists(key: str, value: str) -> bool:
    """Whether some request takes `key`, and, where it chooses an option, the option `value`."""
    first, _, rest = key.partition(".")
    if "|" in value:
        return all(_exists(key, one) for one in value.split("|"))
    if key == "action":
        return any(root.endswith(f"_{value}") for root in REQUESTS)
    if first in GROUPS and not rest:
        return not value or value in GROUPS[first] or value.startswith("<")
    kinds = set(GROUPS.get(first, {}).values()) or _parts(first)
    if rest:
        return any(rest.split(".")[0] in fields_of(kind) for kind in kinds)
    return any(first in fields_of(request) for request in REQUESTS.values())


def _parts(name: str) -> set[Any]:
    """The dataclasses of the requests' part `name`, such as judge, if there is one."""
    parts = [field for request in REQUESTS.values() for field in dataclasses.fields(request) if field.name == name]
    return {part.default_factory for part in parts if dataclasses.is_dataclass(part.default_factory)}


@each_page
def test_every_name_below_harden_in_the_page_exists(page: Path) -> None:
    missing = [name for name in re.findall(r"\bharden(?:\.[a-zA-Z_]+)+", _text(page)) if not _resolves(name)]
    assert missing == []


def _resolves(name: str) -> bool:
    if name == "harden.checkpoint":  # a key in the metadata of checkpoints
        return True
    module, _, last = name.rpartition(".")
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        try:
            return hasattr(importlib.import_module(module), last)
        except ModuleNotFoundError:
            return False
    return True


@each_page
def test_every_file_that_a_page_links_to_is_there(page: Path) -> None:
    links = [link for link in LINK.findall(_text(page)) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_formats_page_names_every_file_of_a_run() -> None:
    page = _text(ROOT / "docs" / "formats.md")
    assert [name for name in place.OURS if f"`{name}" not in page] == []


@pytest.mark.parametrize("group", GROUPS)
def test_the_readme_lists_every_option(group: str) -> None:
    rows = [line for line in _text(ROOT / "README.md").splitlines() if line.startswith(f"| `{group}` |")]
    assert len(rows) == 1
    cell = rows[0].split("|")[2]
    named = set(re.findall(r"[a-z_0-9]+", cell))
    if group != "schedule":  # its options are those of data
        assert set(GROUPS[group]) - named == set()


@pytest.mark.parametrize("option", GROUPS["data"])
def test_the_data_page_lists_every_option_with_its_own_keys(option: str) -> None:
    line = next(line for line in _text(ROOT / "docs" / "data.md").splitlines() if line.startswith(f"| `{option}`"))
    own = set(fields_of(GROUPS["data"][option])) - {"shift", "flip"}
    assert set(INLINE.findall(line.split("|")[3])) == own
