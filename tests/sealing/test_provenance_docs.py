"""The page on provenance: its reader of its own, run on real files; and a real run gathered, sealed and vouched for."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harden.data import DataSet
from harden.sealing import Facts, provider, seal_bytes, seal_file
from harden.sealing.checking import verify
from harden.sealing.identity import KeyRecipient
from harden.sealing.keyfiles import RECIPIENT, SIGNER, PublicKey, generate, write_public
from harden.sealing.provenance import Evidence, check_against, digest_of, gather, manifest_path, walk, write_manifest
from harden.sealing.signing import signer_of
from harden.sealing.suites import HYBRID
from harden.sealing.trust import OneSigner
from harden.training import Compute, Job, Recipe, results
from harden.training import folder as place

PAGE = Path(__file__).parents[2] / "docs" / "provenance.md"
BY = provider()
ACME = signer_of(HYBRID, bytes(64), BY)
TO = [KeyRecipient(HYBRID, generate(RECIPIENT, HYBRID, BY).public.public, BY)]


def ask(folder: Path) -> subprocess.CompletedProcess[str]:
    """The page's last block of Python, which does without harden."""
    script = folder / "check.py"
    script.write_text(re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)[-1])
    assert not re.search(r"^(import|from) harden", script.read_text(), re.MULTILINE)
    names = ["F.sealed", "F.sealed.manifest.json", "acme.pub"]
    words = [sys.executable, "-W", "ignore", str(script), *(str(folder / name) for name in names)]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("size", [0, 5, 16384, 3 << 20])
def test_the_pages_reader_accepts_what_we_write_and_refuses_what_was_changed(tmp_path: Path, size: int) -> None:
    sealed = tmp_path / "F.sealed"
    seal_bytes(bytes(size), sealed, to=TO, facts=Facts("lenet"), signer=ACME)
    write_manifest(sealed, Evidence(), ACME)
    write_public(tmp_path / "acme.pub", PublicKey(SIGNER, HYBRID, ACME.key.public))
    done = ask(tmp_path)
    assert done.stdout == "lenet, epoch 1, after nothing: as signed\n", done.stderr
    for path in (sealed, manifest_path(sealed)):
        whole = path.read_bytes()
        at = len(whole) // 2 if path != sealed else verify(sealed, OneSigner(ACME.key)).head.layout.payload + 40
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert ask(tmp_path).returncode != 0
        path.write_bytes(whole)


def test_a_real_run_is_gathered_sealed_and_vouched_for(
    dots: DataSet, recipe_of: Callable[..., Recipe], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    job = Job(recipe_of(attack=None), dots, compute=Compute(device="cpu"))
    list(job.run(run))
    place.write_config(run, {"is": "TrainRequest"})
    place.write_record(run, "17")
    summary = results.write(job, run, run_id="17", commit="c" * 40)
    evidence = gather(run, weights=digest_of(run / place.WEIGHTS))
    assert (evidence.data, evidence.recipe, evidence.run) == ({"dots": dots.digest}, job.recipe.digest, "17")
    assert evidence.code == "c" * 40
    assert summary["weights_sha256"] not in str(evidence)
    sealed = tmp_path / "dots.sealed"
    seal_file(run / place.WEIGHTS, sealed, to=TO, facts=Facts("dots"), signer=ACME)
    write_manifest(sealed, evidence, ACME)
    trust = OneSigner(ACME.key)
    (link,) = walk(sealed, trust)
    check_against(link.manifest, verify(sealed, trust))
    assert link.manifest.evidence == evidence


def test_the_room_is_light_and_starts_no_process() -> None:
    code = (
        "import sys\n"
        "bad = 'subprocess', 'os.fork', 'os.exec', 'socket'\n"
        "sys.addaudithook(lambda name, _: name.startswith(bad) and sys.exit(9))\n"
        "import harden.sealing.provenance\n"
        "print(sorted({'torch', 'numpy', 'oqs', 'yaml', 'hydra'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
