"""Open a sealed file: `python -m harden.unseal sealed=F.sealed identity=alice.key trust=acme.pub output=F`.

`trust=` is the signer's .pub, or a trust store, which also refuses older epochs. The plain file appears after the
last check, mode 0600, or not at all.
"""

import sys
from pathlib import Path
from typing import NoReturn

from harden import door
from harden.sealing import unseal_file
from harden.sealing.memory import forbid_dumps
from harden.sealing.request import UnsealRequest
from harden.unlocking import Desk


def main() -> NoReturn:
    """Runs the command line."""
    door.run("unseal", UnsealRequest, work)


def work(request: UnsealRequest, _overrides: list[str]) -> int:
    """Writes the plain file; 0."""
    forbid_dumps()
    output = Path(str(request.output))
    with Desk(request) as desk:
        head = unseal_file(
            Path(str(request.sealed)),
            output,
            desk.identity(request.identity),
            trust=desk.trust(request),
            overwrite=request.overwrite,
            by=desk.provider,
        )
    facts = head.core.facts
    origin = f"signed by {head.core.signer}" if request.trust else "of unknown origin"
    sys.stdout.write(f"unsealed  {output}: model {facts.model_id}, epoch {facts.epoch}, {origin}\n")
    return 0


if __name__ == "__main__":
    main()
