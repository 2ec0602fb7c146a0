"""`package.module:name` resolves to the user's object, and every way to get it wrong is told in one line."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harden.entry import resolve
from harden.errors import ConfigError


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Each test stands in its own folder, and the modules it wrote there are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    yield
    for name in [name for name in sys.modules if name.startswith("entry_")]:
        del sys.modules[name]


def test_an_installed_object_is_found() -> None:
    assert resolve("json:dumps", option="model.entry") is json.dumps


def test_a_dotted_module_is_found() -> None:
    assert resolve("json.decoder:JSONDecoder", option="model.entry") is json.JSONDecoder


def test_a_module_in_the_current_folder_is_found() -> None:
    Path("entry_mynets.py").write_text("def build():\n    return 'mine'\n")
    assert resolve("entry_mynets:build", option="model.entry")() == "mine"


def test_a_package_in_the_current_folder_is_found() -> None:
    Path("entry_package").mkdir()
    Path("entry_package/nets.py").write_text("answer = 42\n")
    assert resolve("entry_package.nets:answer", option="data.entry") == 42


def test_the_search_path_is_the_same_afterwards() -> None:
    before = list(sys.path)
    Path("entry_path.py").write_text("build = 1\n")
    resolve("entry_path:build", option="model.entry")
    assert sys.path == before


def test_the_search_path_is_the_same_after_a_failure() -> None:
    before = list(sys.path)
    with pytest.raises(ConfigError):
        resolve("entry_nowhere:build", option="model.entry")
    assert sys.path == before


def test_a_folder_the_module_itself_adds_to_the_search_path_stays() -> None:
    Path("entry_adds.py").write_text("import sys\nsys.path.append('/entry/extra')\nbuild = 1\n")
    try:
        resolve("entry_adds:build", option="model.entry")
        assert "/entry/extra" in sys.path
    finally:
        sys.path.remove("/entry/extra")


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "mynets",
        "mynets:",
        ":build",
        "mynets.py:1",
        "my nets:build",
        "a:b:c",
        "a..b:c",
        ".a:b",
        "a/b:c",
        "a:b.c",
    ],
)
def test_a_wrong_spelling_is_refused_with_the_right_one(entry: str) -> None:
    with pytest.raises(ConfigError, match=r"^model\.entry must name an object as package") as caught:
        resolve(entry, option="model.entry")
    assert repr(entry) in caught.value.message
    assert "package.module:name" in caught.value.hint


def test_a_missing_module_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^data\.entry: there is no module 'entry_nowhere\.deep'$"):
        resolve("entry_nowhere.deep:build", option="data.entry")


def test_a_missing_name_is_told_with_the_file_that_was_read() -> None:
    Path("entry_empty.py").write_text("")
    with pytest.raises(ConfigError, match=r"^model\.entry: module entry_empty holds no 'build'") as caught:
        resolve("entry_empty:build", option="model.entry")
    assert "entry_empty.py" in caught.value.hint


def test_a_module_that_lacks_its_own_import_is_not_called_missing() -> None:
    Path("entry_lacks.py").write_text("import entry_not_installed\n")
    with pytest.raises(ConfigError, match=r"importing entry_lacks failed: ModuleNotFoundError: "):
        resolve("entry_lacks:build", option="model.entry")


@pytest.mark.parametrize(
    ("source", "reason"),
    [("def build(:\n", "SyntaxError"), ("raise RuntimeError('two\\nlines')\n", "RuntimeError: two lines")],
)
def test_a_module_that_fails_on_import_is_told_in_one_line(source: str, reason: str) -> None:
    Path("entry_fails.py").write_text(source)
    with pytest.raises(ConfigError, match=reason) as caught:
        resolve("entry_fails:build", option="model.entry")
    assert "\n" not in caught.value.message
    assert caught.value.__cause__ is not None
