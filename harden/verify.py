"""Check a sealed file: `python -m harden.verify sealed=F.sealed trust=acme.pub`. No key that opens it is needed.

Where a manifest lies beside it, the rounds before are walked back to the first. Exit code 0: a trusted signer made
exactly this file, and no later epoch was seen; 4: not so, or a round is missing or changed; 3: it is good, but a
rewrap was cut short, and `python -m harden.seal action=rewrap` finishes it.
"""

import os
import sys
from pathlib import Path
from typing import NoReturn

from harden import door
from harden.sealing import Provider, Report, Trust, trust_of, verify
from harden.sealing.errors import BrokenChain
from harden.sealing.memory import forbid_dumps
from harden.sealing.provenance import Link, check_against, manifest_path, walk
from harden.sealing.request import VerifyRequest
from harden.sheets import chain_sheet, facts_sheet
from harden.unlocking import Desk


def main() -> NoReturn:
    """Runs the command line."""
    door.run("verify", VerifyRequest, work)


def work(request: VerifyRequest, _overrides: list[str]) -> int:
    """Checks, and prints what holds; 0, or 3 where the slots differ."""
    forbid_dumps()
    sealed = Path(str(request.sealed))
    trust = trust_of(Path(str(request.trust)), allow_rollback=request.allow_rollback)
    with Desk(request) as desk:
        identity = desk.identity(request.identity) if request.identity else None
        report = verify(sealed, trust, identity=identity, by=desk.provider)
        links = walked(request, report, trust, desk.provider)
    sys.stdout.write(facts_sheet(report))
    schemes = " and ".join(scheme.name for scheme in report.head.preamble.suite.schemes)
    opened = "every tag is right, too" if request.identity else "whether a key opens it was not asked: identity=..."
    sys.stdout.write(
        f"verified  the signatures of {schemes}, the signer, every byte of the payload\nnote      {opened}\n"
    )
    sys.stdout.write(chain_sheet(links) or "note      no manifest was looked at: how it came about is not known\n")
    if not report.settled:
        sys.stdout.write("slots     differ: a rewrap was cut short: python -m harden.seal action=rewrap finishes it\n")
    return 0 if report.settled else 3


def walked(request: VerifyRequest, report: Report, trust: Trust, by: Provider) -> list[Link]:
    """The rounds from the first to this one; none where the file has no manifest, or they are not asked for.

    Raises BrokenChain where a manifest is wanted and there is none; as `provenance.walk` does.
    """
    sealed = Path(report.head.where)
    manifest = manifest_path(sealed)
    if request.chain is False or (request.chain is None and not os.path.lexists(manifest)):
        return []
    if not os.path.lexists(manifest):
        raise BrokenChain(f"{manifest}: is not there", "get it from where the file comes from; or leave chain=true out")
    links = walk(sealed, trust, among=[Path(one) for one in request.among], by=by)
    check_against(links[-1].manifest, report)
    return links


if __name__ == "__main__":
    main()
