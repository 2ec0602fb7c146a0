"""Seal a file: `python -m harden.seal weights=F to=[alice.pub,bob.pub] signer=acme.key output=F.sealed`.

`action=rewrap` changes who can open it, `action=rotate` its key, `action=inspect` says what it says of itself.
Sizes, the number of recipients and the facts are public; nobody's key is taken back from somebody who had it.
"""

import logging
import secrets
import sys
from pathlib import Path
from typing import NoReturn

from harden import door
from harden.desk import Desk
from harden.sealing import Change, Facts, inspect, rewrap, rotate, seal_file
from harden.sealing.memory import forbid_dumps
from harden.sealing.request import InspectRequest, RewrapRequest, RotateRequest, SealRequest
from harden.sheets import facts_sheet, sealed_sheet

logger = logging.getLogger(__name__)


def main() -> NoReturn:
    """Runs the command line."""
    actions: door.Actions = {
        "seal": (SealRequest, seal),
        "rewrap": (RewrapRequest, change),
        "rotate": (RotateRequest, renew),
        "inspect": (InspectRequest, describe),
    }
    door.run("seal", SealRequest, seal, actions)


def seal(request: SealRequest, _overrides: list[str]) -> int:
    """Seals a file; 0."""
    forbid_dumps()
    desk, output = Desk(request), Path(str(request.output))
    signer = desk.signer(request.signer)
    if signer is None:
        logger.warning("no signer: whoever can open the file could have made it")
    to = desk.recipients(request.to, passphrase=request.passphrase)
    made = seal_file(
        Path(str(request.weights)),
        output,
        to=to,
        facts=facts_of(request),
        signer=signer,
        room=request.room,
        overwrite=request.overwrite,
    )
    sys.stdout.write(sealed_sheet(made, len(to)))
    return 0


def change(request: RewrapRequest, _overrides: list[str]) -> int:
    """Changes the recipients; 0."""
    forbid_dumps()
    desk = Desk(request)
    identity, output = desk.identity(request.identity), Path(request.output) if request.output else None
    add = desk.recipients(request.add)
    to = desk.recipients(request.to, passphrase=request.passphrase)
    head, count = rewrap(
        Path(str(request.sealed)),
        identity,
        Change(to, add),
        trust=desk.trust(request),
        output=output,
        by=desk.provider,
    )
    sys.stdout.write(f"rewrapped {output or head.where}: {count} can open it now\n")
    sys.stdout.write("note      whoever could open it before may have kept the key or a copy\n")
    return 0


def renew(request: RotateRequest, _overrides: list[str]) -> int:
    """Seals what a sealed file holds under another key; 0."""
    forbid_dumps()
    desk = Desk(request)
    identity, signer = desk.identity(request.identity), desk.signer(request.signer)
    to = desk.recipients(request.to, passphrase=request.passphrase)
    made = rotate(
        Path(str(request.sealed)),
        Path(str(request.output)),
        identity,
        to=to,
        signer=signer,
        trust=desk.trust(request),
        overwrite=request.overwrite,
        by=desk.provider,
    )
    sys.stdout.write(sealed_sheet(made, len(to)))
    sys.stdout.write("note      whoever had the old file still has it\n")
    return 0


def describe(request: InspectRequest, _overrides: list[str]) -> int:
    """Prints what a sealed file says of itself; 0."""
    sys.stdout.write(facts_sheet(inspect(Path(str(request.sealed)))))
    sys.stdout.write("note      nothing of this is checked: harden.verify does\n")
    return 0


def facts_of(request: SealRequest) -> Facts:
    """The facts of a request, with what it leaves to its parent."""
    model_id, epoch, parent = request.model_id, request.epoch, ""
    if request.parent:
        head = inspect(Path(request.parent)).head
        before, parent = head.core.facts, head.bound.hex()
        model_id, epoch = model_id or before.model_id, before.epoch + 1 if epoch is None else epoch
    # a random id: two models that nobody named must not look like two epochs of one
    model_id = model_id or f"model-{secrets.token_hex(8)}"
    return Facts(model_id, 1 if epoch is None else epoch, parent, request.metadata)


if __name__ == "__main__":
    main()
