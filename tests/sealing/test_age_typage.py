"""age files travel both ways between harden and the reference implementation in JavaScript, npm's age-encryption.

HARDEN_TYPAGE names a folder with that package: `npm install age-encryption@0.3.1` in an empty one makes it.
"""

import base64
import hashlib
import io
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from harden.sealing.age import (
    HybridIdentity,
    NoMatch,
    Passphrase,
    decrypt,
    encrypt,
    identity_of,
    recipient_of,
)
from harden.sealing.age.payload import CHUNK

NODE, FOLDER = shutil.which("node"), Path(os.environ.get("HARDEN_TYPAGE", "."))
PACKAGE = FOLDER / "node_modules" / "age-encryption" / "package.json"
pytestmark = [
    pytest.mark.skipif(NODE is None, reason="node is not installed"),
    pytest.mark.skipif(not PACKAGE.is_file(), reason="HARDEN_TYPAGE names no folder with npm's age-encryption"),
]

LENGTHS = [0, 1, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 5]
ALICE, BOB = HybridIdentity(bytes(range(32))), HybridIdentity(bytes(range(1, 33)))
SCRIPT = """
import * as age from "age-encryption"
import { readFileSync } from "node:fs"
const base64 = (bytes) => Buffer.from(bytes).toString("base64")
const bytes = (text) => new Uint8Array(Buffer.from(text, "base64"))
const doing = {
  recipient: async ([identity]) => age.identityToRecipient(identity),
  identity: async ([kind]) => kind === "hybrid" ? age.generateHybridIdentity() : age.generateX25519Identity(),
  encrypt: async ([plain, recipients, armored]) => {
    const encrypter = new age.Encrypter()
    for (const recipient of recipients) encrypter.addRecipient(recipient)
    const sealed = await encrypter.encrypt(bytes(plain))
    return base64(armored ? Buffer.from(age.armor.encode(sealed)) : sealed)
  },
  passphrase: async ([plain, passphrase]) => {
    const encrypter = new age.Encrypter()
    encrypter.setPassphrase(passphrase)
    encrypter.setScryptWorkFactor(10)
    return base64(await encrypter.encrypt(bytes(plain)))
  },
  decrypt: async ([sealed, identity]) => {
    const decrypter = new age.Decrypter()
    decrypter.addIdentity(identity)
    return base64(await decrypter.decrypt(bytes(sealed)))
  },
}
const asked = JSON.parse(readFileSync(0, "utf8"))
const answers = []
for (const [what, ...rest] of asked) {
  try { answers.push(await doing[what](rest)) } catch (error) { answers.push({ error: String(error) }) }
}
console.log(JSON.stringify(answers))
"""


def typage(*asked: list[Any]) -> list[Any]:
    """What the reference implementation answers, one process for all questions."""
    command = [str(NODE), "--input-type=module", "--eval", SCRIPT]
    given = json.dumps(asked)
    done = subprocess.run(command, input=given, cwd=FOLDER, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    answers: list[Any] = json.loads(done.stdout)
    return answers


def text(data: bytes) -> str:
    """`data` as it travels in JSON."""
    return base64.b64encode(data).decode()


def sealed(plain: bytes, *identities: HybridIdentity) -> bytes:
    """An age file by harden."""
    target = io.BytesIO()
    encrypt(io.BytesIO(plain), target, [identity.recipient() for identity in identities])
    return target.getvalue()


def opened(age: str, *identities: Any) -> bytes:
    """The plaintext of an age file of theirs."""
    target = io.BytesIO()
    decrypt(io.BytesIO(base64.b64decode(age)), target, identities)
    return target.getvalue()


PLAINS = [hashlib.shake_128(b"plain").digest(length) for length in LENGTHS]


def test_the_package_is_the_version_that_was_agreed_on() -> None:
    assert json.loads(PACKAGE.read_text())["version"] == "0.3.1"


def test_typage_opens_what_we_seal() -> None:
    ages = [sealed(plain, BOB, ALICE) for plain in PLAINS]
    answers = typage(*(["decrypt", text(age), ALICE.spelled()] for age in ages))
    assert answers == [text(plain) for plain in PLAINS]


def test_we_open_what_typage_seals() -> None:
    recipients = [str(BOB.recipient()), str(ALICE.recipient())]
    answers = typage(*(["encrypt", text(plain), recipients, False] for plain in PLAINS))
    for age, plain in zip(answers, PLAINS, strict=True):
        assert opened(age, ALICE) == opened(age, BOB) == plain
        with pytest.raises(NoMatch):
            opened(age, HybridIdentity(bytes(32)))


def test_we_open_what_typage_armors() -> None:
    lengths = range(40)
    asked = (["encrypt", text(bytes(length)), [str(ALICE.recipient())], True] for length in lengths)
    assert [opened(age, ALICE) for age in typage(*asked)] == [bytes(length) for length in lengths]


def test_we_open_typage_s_classical_files() -> None:
    identity = typage(["identity", "x25519"])[0]
    recipient = typage(["recipient", identity])[0]
    age, protected = typage(["encrypt", text(b"old"), [recipient], False], ["passphrase", text(b"typed"), "hörse"])
    assert opened(age, identity_of(identity)) == b"old"
    assert opened(protected, Passphrase("hörse".encode())) == b"typed"


def test_identities_and_recipients_are_spelled_alike() -> None:
    theirs = typage(*[["identity", "hybrid"]] * 20)
    recipients = typage(*(["recipient", identity] for identity in theirs))
    for identity, recipient in zip(theirs, recipients, strict=True):
        ours = identity_of(identity)
        assert isinstance(ours, HybridIdentity)
        assert ours.spelled() == identity
        assert recipient_of(recipient) == ours.recipient()


def test_typage_refuses_a_changed_file_of_ours() -> None:
    age = bytearray(sealed(b"weights", ALICE))
    age[-1] ^= 1
    assert "error" in typage(["decrypt", text(bytes(age)), ALICE.spelled()])[0]
