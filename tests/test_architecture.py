"""Who may import whom, read from the source; and what a fresh process has loaded."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

BASE = {"errors", "kernels", "seeds", "threat"}
ROOMS: dict[str, set[str]] = {
    "__init__": set(),
    "openmp": set(),
    "environment": set(),
    "errors": set(),
    "kernels": {"errors"},
    "files": {"errors"},
    "spelling": {"errors"},
    "entry": {"errors"},
    "seeds": {"errors", "kernels"},
    "threat": {"errors", "kernels", "seeds"},
    "data": {"errors", "seeds", "files", "entry"},
    "models": {"errors", "seeds", "files", "entry", "sealing", "__init__"},
    "ledger": {"errors", "files"},
    "pictures": {"errors", "files"},
    "reporting": {"errors"},
    "sealing": {"errors", "files"},
    "attacks": BASE,
    "certification": {"errors", "seeds", "threat"},
    "evaluation": BASE | {"files", "ledger", "attacks", "data", "sealing"},
    "watermarking": {"errors", "files", "seeds", "models"},
    "training": BASE
    | {"files", "spelling", "ledger", "attacks", "certification", "data", "models", "evaluation", "sealing"}
    | {"watermarking"},
}
"""Room -> the rooms it may name."""

LOBBY: dict[str, set[str]] = {
    "complaint": set(),
    "schema": {"complaint", "marking"},
    "overrides": {"schema"},
    "door": {"schema", "overrides", "complaint"},
    "console": set(),
    "drawing": set(),
    "recording": set(),
    "session": {"console", "drawing", "recording", "keeping"},
    "loading": {"console", "schema"},
    "stages": {"loading"},
    "showcase": {"loading", "stages"},
    "archiving": {"loading"},
    "verdicts": set(),
    "examination": {"console", "schema", "loading", "stages", "showcase", "archiving"},
    "reexamination": {"loading", "stages", "schema", "examination", "showcase"},
    "asking": set(),
    "pairs": {"asking"},
    "crossing": {"asking"},
    "vouching": set(),
    "unlocking": {"asking"},
    "sheets": set(),
    "marking": set(),
    "keeping": {"owners", "unlocking"},
    "owners": {"unlocking"},
    "weighing": {"loading", "marking"},
    "branding": {"marking", "owners", "unlocking", "weighing"},
    "inquiry": {"marking", "owners", "unlocking", "weighing"},
    "testimony": {"branding", "inquiry", "marking", "owners"},
    "retraining": set(),
    "besieging": {"inquiry", "loading", "marking", "owners", "retraining", "unlocking"},
    "siegework": {"besieging", "console", "marking", "testimony"},
}
"""Files that serve doors: the others of their kind that they may name, beside every room."""

DOORS = {"train", "evaluate", "watermark", "keygen", "seal", "unseal", "verify", "__main__"}
"""These may name all of the above; nothing names them."""

MAY_IMPORT = (
    ROOMS
    | {name: others | ROOMS.keys() for name, others in LOBBY.items()}
    | {name: ROOMS.keys() | LOBBY.keys() for name in DOORS}
)

FOREIGN: dict[str, set[str]] = {
    "hydra": {"door", "overrides", "complaint", "schema"},
    "omegaconf": {"door", "complaint", "schema"},
    "rich": {"console", "verdicts"},
    "art": {"attacks/art"},
    "jinja2": {"reporting"},
    "cryptography": {"sealing", "watermarking/key"},
    "scipy": {"certification", "evaluation/paired", "watermarking/pvalue", "watermarking/align/matching"},
    "yaml": {"training/folder"},
    "mlflow": {"ledger/mlflow"},
    "matplotlib": {"pictures"},
    "sklearn": {"data", "watermarking/stealth/detector"},
    "PIL": {"data", "reporting", "evaluation/unseen/corruptions"},
    "oqs": {"sealing/liboqs"},
    "pkcs11": {"sealing"},
    "safetensors": {"data", "models", "training", "evaluation"},
    "numba": {"kernels"},
    "cuda": {"kernels"},
    "numpy": {"data", "kernels", "pictures", "reporting", "seeds", "evaluation/evidence"}
    | {"evaluation/unseen/corruptions", "watermarking"},
    "torch": {"attacks", "certification", "data", "evaluation", "kernels", "models", "training", "seeds", "threat"}
    | {"watermarking", "weighing", "keeping", "branding", "inquiry", "besieging", "retraining", "drawing", "session"}
    | {"loading", "stages", "showcase", "examination", "reexamination"},
}
"""Package -> the rooms or files that may name it; what is not listed may be named nowhere."""

FORBIDDEN = {"pickle", "torch.load", "torch.save", "eval", "exec", "marshal", "shelve", "dill", "joblib"}
"""What turns bytes into running code."""


def modules() -> dict[str, Path]:
    """Every file of the package by its dotted name below harden, such as `attacks.pgd` and `attacks.__init__`."""
    trees = {"": ROOT / "harden", "kernels.": ROOT / "kernels"}
    files = {prefix + str(p.relative_to(top)): p for prefix, top in trees.items() for p in top.rglob("*.py")}
    return {name.removesuffix(".py").replace("/", "."): path for name, path in sorted(files.items())}


MODULES = modules()


def room_of(module: str) -> str:
    """The row of the table that a module belongs to."""
    return module.split(".", 1)[0]


def named(tree: ast.AST) -> Iterator[str]:
    """The dotted names that a file imports; `from harden import x` names harden.x."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((f"{module}.{alias.name}" for alias in node.names) if module == "harden" else [module])


def rooms_named(tree: ast.AST) -> set[str]:
    """The rooms of harden that a file names; its version counts as `__init__`."""
    names = [name.split(".")[1] for name in named(tree) if name.startswith("harden.")]
    return {"__init__" if name == "__version__" else name for name in names}


def parse(module: str) -> ast.Module:
    """The source of a module."""
    return ast.parse(MODULES[module].read_text())


@pytest.mark.parametrize("module", MODULES)
def test_a_file_imports_only_the_rooms_it_may(module: str) -> None:
    room = room_of(module)
    assert room in MAY_IMPORT, f"{room} is new: give it a row"
    strangers = rooms_named(parse(module)) - MAY_IMPORT[room] - {room}
    assert not strangers, f"{module} imports {strangers}"


@pytest.mark.parametrize("module", MODULES)
def test_a_file_names_only_the_packages_it_may(module: str) -> None:
    tops = {name.split(".")[0] for name in named(parse(module))}
    assert "" not in tops, "relative imports hide where a name comes from"
    for package in tops - set(sys.stdlib_module_names) - {"harden"}:
        places = FOREIGN.get(package, set())
        assert {room_of(module), module.replace(".", "/")} & places, f"{module} imports {package}"


@pytest.mark.parametrize("module", MODULES)
def test_no_file_can_run_code_out_of_data(module: str) -> None:
    tree = parse(module)
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not (calls | set(named(tree))) & FORBIDDEN
    assert not {call for call in calls if call.endswith(("hydra.utils.instantiate", "yaml.load", "unsafe_load"))}


@pytest.mark.parametrize("module", [name for name in MODULES if name != "seeds"])
def test_only_seeds_touches_a_global_generator(module: str) -> None:
    calls = {ast.unparse(node.func) for node in ast.walk(parse(module)) if isinstance(node, ast.Call)}
    assert not {call for call in calls if call.endswith(("manual_seed", "random.seed", "manual_seed_all"))}


def test_the_table_has_no_cycle_and_no_row_too_many() -> None:
    order = list(TopologicalSorter({row: may - {row} for row, may in MAY_IMPORT.items()}).static_order())
    assert set(order) == {room_of(module) for module in MODULES}


def test_no_foreign_row_is_idle() -> None:
    used = {name.split(".")[0] for module in MODULES for name in named(parse(module))}
    assert FOREIGN.keys() <= used


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda path: path.stem)
def test_no_configuration_names_code(path: Path) -> None:
    assert "_target_" not in path.read_text()


def test_packages_lists_every_folder_that_holds_python() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    inits = (p.parent.relative_to(ROOT) for p in (ROOT / "harden").rglob("__init__.py"))
    folders = {".".join(folder.parts) for folder in inits}
    assert set(setuptools["packages"]) == folders | {"harden.kernels", "harden.configs"}
    assert {p.parent for p in (ROOT / "harden").rglob("*.py")} == {ROOT / name.replace(".", "/") for name in folders}, (
        "a folder with Python but without __init__.py"
    )
    assert not [p for p in (ROOT / "kernels").rglob("*.py") if p.parent != ROOT / "kernels"]


def test_every_yaml_file_is_package_data() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    configs = ROOT / setuptools["package-dir"]["harden.configs"]
    packed = {p for pattern in setuptools["package-data"]["harden.configs"] for p in configs.glob(pattern)}
    everything = {
        p for p in ROOT.rglob("*.yaml") if not any(part.startswith(".") for part in p.relative_to(ROOT).parts)
    }
    assert {p for p in everything if p.is_relative_to(configs)} == packed
    assert not [p for p in everything if p.is_relative_to(ROOT / "harden") or p.is_relative_to(ROOT / "kernels")]


def fresh(code: str) -> str:
    """What `code` prints in a Python process of its own."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "what",
    [
        "harden",
        "harden.__main__",
        "harden.errors, harden.files",
        "harden.ledger",
        "harden.sealing",
        "harden.sealing.provenance",
    ],
)
def test_what_must_be_light_loads_nothing_heavy(what: str) -> None:
    heavy = "{'torch', 'mlflow', 'numba', 'hydra', 'numpy', 'matplotlib', 'rich'}"
    assert fresh(f"import {what}, sys; print(sorted({heavy} & set(sys.modules)))") == "[]"


@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_a_door_loads_what_is_large_only_when_it_needs_it(verb: str) -> None:
    """Of sealing too: every request can name keys, few runs do."""
    code = f"import harden.{verb}, sys; print(sorted({{'mlflow', 'sklearn', 'cryptography'}} & set(sys.modules)))"
    assert fresh(code) == "[]"


@pytest.mark.parametrize("what", ["harden.sealing", "harden.sealing.request", "harden.complaint"])
def test_what_every_door_imports_of_sealing_is_without_cryptography(what: str) -> None:
    assert fresh(f"import {what}, sys; print('cryptography' in sys.modules)") == "False"


@pytest.mark.parametrize("first", ["harden.sealing.rewrapping", "harden.sealing.rotating", "harden.sealing.provider"])
def test_a_name_of_sealing_is_the_same_whatever_was_imported_before(first: str) -> None:
    """Importing a file sets a name in its package: none of those may hide a function of that name."""
    code = f"""
import {first}
from harden import sealing
kinds = {{type(getattr(sealing, name)).__name__ for name in sealing.__all__}}
print("module" in kinds, set(sealing.__all__) <= set(dir(sealing)), hasattr(sealing, "nonsense"))
"""
    assert fresh(code) == "False True False"


def test_kernels_and_attacks_get_by_with_torch_and_numpy() -> None:
    """As on a GPU host that has nothing else."""
    code = """
import importlib.metadata, sys
import torch, numpy
class Only:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in allowed:
            raise ModuleNotFoundError(f"{name} is not here", name=name)
allowed = {"harden", "torch", "numpy", "_distutils_hack"} | {name.partition(".")[0] for name in sys.modules}
allowed -= {"numba", "mlflow", "hydra", "omegaconf", "rich", "yaml", "sklearn", "matplotlib", "PIL", "safetensors"}
sys.meta_path.insert(0, Only())
from harden import kernels
from harden.attacks import Pgd
from harden.seeds import stream
from harden.threat import ThreatModel
x = torch.full((2, 1, 4, 4), 0.5)
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
x_adv = Pgd(steps=2)(model, x, torch.tensor([0, 1]), ThreatModel(), rng=stream(0).at(torch.arange(2)))
print(round((x_adv - x).abs().max().item(), 4), "numba" in sys.modules)
"""
    assert fresh(code) == "0.1 False"
