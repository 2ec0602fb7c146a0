"""A review, as doors make one: read from the store, rendered, signed, written, and kept with the round's run."""

from collections.abc import Mapping
from pathlib import Path

from harden.chronicling import told
from harden.errors import ConfigError
from harden.files import write_bytes
from harden.ledger import Store
from harden.reviewing import Review, digests, rendered, review
from harden.reviewing.request import ReviewRequest
from harden.rounds.keys import FOLDER, trust_in
from harden.sealing import Signer, Trust, signer_from
from harden.sealing.keyfiles import SIGNER
from harden.sealing.provenance.statements import SUFFIX, attest
from harden.unlocking import Desk

KIND = "urn:harden:review:1"
SIGNATURE = "review" + SUFFIX


def reviewed(request: ReviewRequest) -> tuple[Review, Path]:
    """The review and the folder that it was written to, signed. Nothing is written where anything is wrong."""
    home = Path(request.home)
    store = Store.at(request.tracking.uri, home)
    names = sorted(request.rounds)
    folder = Path(request.output) if request.output else home / "reviews" / f"{names[0]}-{names[-1]}"
    if (folder / SIGNATURE).exists() and not request.overwrite:
        raise ConfigError(f"{folder} holds a review", "choose another output, or say overwrite=true")
    trust, signer = _trust(request, home), _signer(request, home)
    made = review(told(store, names, programme=request.programme, trust=trust), owner=request.owner)
    write(made, folder, signer)
    store.keep(made.newest.run, folder, "review")
    return made, folder


def write(made: Review, folder: Path, signer: Signer | None) -> Mapping[str, str]:
    """Writes the three files and a signed statement of their digests, which it returns."""
    files = rendered(made)
    for name, data in files.items():
        write_bytes(folder / name, data)
    found = digests(files)
    if signer is not None:
        rounds = [row.round for row in made.rows]
        attest(folder / SIGNATURE, KIND, found, {"programme": made.programme, "rounds": rounds}, signer, overwrite=True)
    return found


def _trust(request: ReviewRequest, home: Path) -> Trust | None:
    there = (home / FOLDER / f"{SIGNER}.pub").is_file()
    return trust_in(home, request.trust) if request.trust or there else None


def _signer(request: ReviewRequest, home: Path) -> Signer:
    desk, secret = Desk(request), home / FOLDER / f"{SIGNER}.key"
    if request.signer is None and not secret.is_file():
        raise ConfigError(
            "signer=FILE is missing: a review is signed", "python -m harden.keygen action=signer output=acme"
        )
    return signer_from(Path(request.signer) if request.signer else secret, desk.ask, desk.provider)
