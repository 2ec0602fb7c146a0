"""Check a sealed file: `python -m harden.verify sealed=F.sealed trust=acme.pub`. No key that opens it is needed.

Exit code 0: a trusted signer made exactly this file, and no later epoch was seen; 4: not so; 3: it is good, but a
rewrap was cut short, and `python -m harden.seal action=rewrap` finishes it.
"""

import sys
from pathlib import Path
from typing import NoReturn

from harden import door
from harden.desk import Desk
from harden.sealing import trust_of, verify
from harden.sealing.memory import forbid_dumps
from harden.sealing.request import VerifyRequest
from harden.sheets import facts_sheet


def main() -> NoReturn:
    """Runs the command line."""
    door.run("verify", VerifyRequest, work)


def work(request: VerifyRequest, _overrides: list[str]) -> int:
    """Checks, and prints what holds; 0, or 3 where the slots differ."""
    forbid_dumps()
    desk = Desk(request)
    report = verify(
        Path(str(request.sealed)),
        trust_of(Path(str(request.trust)), allow_rollback=request.allow_rollback),
        identity=desk.identity(request.identity) if request.identity else None,
        by=desk.provider,
    )
    sys.stdout.write(facts_sheet(report))
    schemes = " and ".join(scheme.name for scheme in report.head.preamble.suite.schemes)
    opened = "every tag is right, too" if request.identity else "whether a key opens it was not asked: identity=..."
    sys.stdout.write(
        f"verified  the signatures of {schemes}, the signer, every byte of the payload\nnote      {opened}\n"
    )
    if not report.settled:
        sys.stdout.write("slots     differ: a rewrap was cut short: python -m harden.seal action=rewrap finishes it\n")
    return 0 if report.settled else 3


if __name__ == "__main__":
    main()
