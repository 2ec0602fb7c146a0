"""Seal a file: `python -m harden.seal weights=F to=[alice.pub,bob.pub] signer=acme.key output=F.sealed`.

`action=rewrap` changes who can open it, `action=rotate` its key, `action=vouch` who answers for it; `action=inspect`
says what it says of itself; `action=export` and `action=import` go to age files and back. Sizes, the number of
recipients and the facts are public; nobody's key is taken back from somebody who had it.
"""

import logging
import secrets
import sys
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from harden import door
from harden.crossing import age_identities, age_recipients, export_sealed, judge_of
from harden.errors import ConfigError
from harden.models import is_sealed
from harden.sealing import Change, Facts, Sealed, inspect, rewrap, rotate, seal_file, signer_from, verify
from harden.sealing.age import LOST_ON_EXPORT, export_age, import_age
from harden.sealing.memory import forbid_dumps
from harden.sealing.provenance import manifest_path
from harden.sealing.publish import check_free
from harden.sealing.request import InspectRequest
from harden.sealing.request_files import (
    ExportRequest,
    ImportRequest,
    RewrapRequest,
    RotateRequest,
    SealRequest,
    VouchRequest,
)
from harden.sheets import facts_sheet, imported_sheet, manifest_sheet, sealed_sheet
from harden.unlocking import Desk
from harden.vouching import Voucher, evidence_again, evidence_in, evidence_of, parent_of, trust_or_own, voucher

logger = logging.getLogger(__name__)


def main() -> NoReturn:
    """Runs the command line."""
    actions: door.Actions = {
        "seal": (SealRequest, seal),
        "rewrap": (RewrapRequest, change),
        "rotate": (RotateRequest, renew),
        "vouch": (VouchRequest, vouch),
        "inspect": (InspectRequest, describe),
        "export": (ExportRequest, leave),
        "import": (ImportRequest, enter),
    }
    door.run("seal", SealRequest, seal, actions)


def seal(request: SealRequest, _overrides: list[str]) -> int:
    """Seals a file, and writes its manifest where there is a signer; 0."""
    forbid_dumps()
    weights, output = Path(str(request.weights)), Path(str(request.output))
    before = Path(request.parent) if request.parent else None
    check_plain(weights, "action=rewrap changes who can open it, action=rotate its key")
    with Desk(request) as desk:
        signer, facts = desk.signer(request.signer), facts_of(request)
        if signer is None:
            logger.warning("no signer: whoever can open the file could have made it")
        to = desk.recipients(request.to, passphrase=request.passphrase)
        trust = trust_or_own(request.trust, signer) if signer else None
        parent = parent_of(request, before, signer, trust, desk.provider, facts) if before else None
        after = voucher(
            request,
            output,
            signer,
            lambda: evidence_of(request, weights),
            parent,
            before=before,
            overwrite=request.overwrite,
        )
        made = seal_file(
            weights, output, to=to, facts=facts, signer=signer, room=request.room, overwrite=request.overwrite
        )
    sys.stdout.write(sealed_sheet(made, len(to)))
    if after:
        sys.stdout.write(manifest_sheet(after.output, after.write(made)))
    return 0


def change(request: RewrapRequest, _overrides: list[str]) -> int:
    """Changes the recipients; 0."""
    forbid_dumps()
    output = Path(request.output) if request.output else None
    with Desk(request) as desk:
        identity = desk.identity(request.identity)
        add = desk.recipients(request.add, key_alone=request.key_alone)
        to = desk.recipients(request.to, passphrase=request.passphrase, key_alone=request.key_alone)
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
    """Seals what a sealed file holds under another key, and writes its manifest where there is a signer; 0."""
    forbid_dumps()
    sealed, output = Path(str(request.sealed)), Path(str(request.output))
    with Desk(request) as desk:
        identity, signer, trust = desk.identity(request.identity), desk.signer(request.signer), desk.trust(request)
        to = desk.recipients(request.to, passphrase=request.passphrase, key_alone=request.key_alone)
        parent = parent_of(request, sealed, signer, trust, desk.provider)
        after = voucher(
            request,
            output,
            signer,
            lambda: evidence_again(request, sealed, parent, identity, trust, desk.provider),
            parent,
            before=sealed,
            overwrite=request.overwrite,
        )
        made = rotate(
            sealed,
            output,
            identity,
            to=to,
            signer=signer,
            trust=trust,
            overwrite=request.overwrite,
            by=desk.provider,
        )
    sys.stdout.write(sealed_sheet(made, len(to)))
    if after:
        sys.stdout.write(manifest_sheet(after.output, after.write(made)))
    sys.stdout.write("note      whoever had the old file still has it\n")
    return 0


def vouch(request: VouchRequest, _overrides: list[str]) -> int:
    """Checks a sealed file, and writes a manifest beside it; 0."""
    forbid_dumps()
    sealed, before = Path(str(request.sealed)), Path(request.parent) if request.parent else None
    output = manifest_path(sealed)
    check_free(output, overwrite=request.overwrite)
    with Desk(request) as desk:
        signer = signer_from(Path(str(request.signer)), desk.ask, desk.provider)
        trust = trust_or_own(request.trust, signer, allow_rollback=request.allow_rollback)
        report = verify(sealed, trust, by=desk.provider)
        facts = report.head.core.facts
        if facts.parent and before is None:
            raise ConfigError(f"{sealed}: continues another file, and a manifest names that", "say parent=FILE")
        must = replace(request, manifest=True)
        parent = parent_of(must, before, signer, trust, desk.provider, facts) if before else None
    after = Voucher(signer, evidence_in(request), parent, output, request.overwrite)
    sys.stdout.write(manifest_sheet(output, after.write(Sealed(report.head, report.marked.root))))
    return 0


def describe(request: InspectRequest, _overrides: list[str]) -> int:
    """Prints what a sealed file says of itself; 0."""
    sys.stdout.write(facts_sheet(inspect(Path(str(request.sealed)))))
    sys.stdout.write("note      nothing of this is checked: harden.verify does\n")
    return 0


def leave(request: ExportRequest, _overrides: list[str]) -> int:
    """Writes an age file, and says what is lost; 0."""
    forbid_dumps()
    output, to = Path(str(request.output)), age_recipients(request.to)
    if request.weights:
        check_plain(Path(request.weights), "say sealed=FILE, and what opens it")
        count = export_age(Path(request.weights), output, to)
    else:
        with Desk(request) as desk:
            identity, trust = desk.identity(request.identity), desk.trust(request)
            count = export_sealed(Path(str(request.sealed)), output, to, identity, trust=trust, by=desk.provider)
    sys.stdout.write(f"exported  {output}: {count} bytes, for {len(to)}\nlost      {LOST_ON_EXPORT}\n")
    return 0


def enter(request: ImportRequest, _overrides: list[str]) -> int:
    """Writes what an age file holds, if it is vouched for; 0."""
    forbid_dumps()
    age, output = Path(str(request.age)), Path(str(request.output))
    with Desk(request) as desk:
        check, manifest = judge_of(request, desk.provider)
        found = import_age(age, output, age_identities(request.identity, desk.ask, desk.provider), check=check)
    sys.stdout.write(imported_sheet(output, found, manifest))
    return 0


def check_plain(path: Path, hint: str) -> None:
    """ConfigError for a sealed file in the place of a plain one."""
    if is_sealed(path):
        raise ConfigError(f"{path}: is sealed already", hint)


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
