"""What a run stood on: the commit of the code, the versions, the machine.

Asks packages for their metadata and imports none of them, so that it costs milliseconds.
"""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

PACKAGES = ("harden", "torch", "numpy", "numba", "mlflow", "hydra-core", "safetensors", "scikit-learn")
GIT_SECONDS = 5.0


def environment() -> dict[str, str]:
    """Facts by name, as text; what cannot be found out is left out.

    `commit` (ending in `-dirty` where tracked files differ), `python`, a version for each of `PACKAGES`,
    `platform`, `cpu`, `cores` (those this process may use), `memory`, `gpu` (only where torch is already
    imported: asking would load it).
    """
    facts = {
        "commit": commit(Path(__file__)),
        "python": platform.python_version(),
        **dict(_versions()),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": str(_cores()),
        "memory": _memory(),
        "gpu": _gpu(),
    }
    return {name: fact for name, fact in facts.items() if fact is not None}


def commit(file: Path) -> str | None:
    """The commit of the checkout that `file` belongs to, None where it is in none.

    An installed package may lie inside somebody else's repository (a virtual environment there); hence the
    question whether git tracks the very file.
    """
    if _git(file.parent, "ls-files", "--error-unmatch", file.name) is None:
        return None
    head = _git(file.parent, "rev-parse", "HEAD")
    changes = _git(file.parent, "status", "--porcelain", "--untracked-files=no")
    return f"{head}-dirty" if head and changes else head


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says, None where it fails or is not there."""
    # without optional locks git writes nothing, so a read-only checkout or a commit under way does no harm
    outside = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            env={**outside, "GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            timeout=GIT_SECONDS,
            check=True,
            text=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def _versions() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            continue


def _cpu() -> str | None:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or None


def _cores() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _memory() -> str | None:
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
    return f"{pages * size / 2**30:.1f} GiB"


def _gpu() -> str | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
