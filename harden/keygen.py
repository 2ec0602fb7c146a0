"""Make keys: `python -m harden.keygen action=recipient output=alice` makes alice.key and alice.pub.

`action=signer output=acme` makes a signer's, `action=owner output=acme` that of somebody who marks weights, and
`action=trust output=trust.json add=[acme.pub]` a trust store. A passphrase is asked for on the terminal, or read from
`passphrase_fd=N`; `protect=none` leaves the secret bare.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from harden import door
from harden.pairs import fresh_pair
from harden.sealing.keyfiles import OWNER, RECIPIENT, SIGNER, owner_key_of, signer_key_of
from harden.sealing.memory import forbid_dumps
from harden.sealing.request import KeygenRequest, OwnerRequest, RecipientRequest, SignerRequest, TrustRequest
from harden.sealing.signing import SignerKey
from harden.sealing.trust import ACTIVE, with_signers


def main() -> NoReturn:
    """Runs the command line."""
    actions: door.Actions = {
        "recipient": (RecipientRequest, recipient),
        "signer": (SignerRequest, signer),
        "owner": (OwnerRequest, owner),
        "trust": (TrustRequest, trust),
    }
    door.run("keygen", KeygenRequest, nothing, actions)


def nothing(_request: KeygenRequest, _overrides: list[str]) -> int:
    """Never runs: the request refuses itself."""
    return 2


def recipient(request: RecipientRequest, _overrides: list[str]) -> int:
    """Makes, tries and writes the key pair of a recipient; 0."""
    forbid_dumps()
    secret, public = fresh_pair(RECIPIENT, request)
    sys.stdout.write(f"secret    {secret}: opens what is sealed for it; keep it\npublic    {public}: hand it out\n")
    return 0


def signer(request: SignerRequest, _overrides: list[str]) -> int:
    """Makes, tries and writes the key pair of a signer; 0."""
    forbid_dumps()
    secret, public = fresh_pair(SIGNER, request)
    told = f"secret    {secret}: signs what is sealed; keep it\npublic    {public}: hand it out, on a safe way\n"
    sys.stdout.write(f"{told}id        {signer_key_of(public).id}\n")
    return 0


def owner(request: OwnerRequest, _overrides: list[str]) -> int:
    """Makes, tries and writes the key pair of somebody who marks weights; 0."""
    forbid_dumps()
    secret, public = fresh_pair(OWNER, request)
    told = (
        f"secret    {secret}: marks weights and signs claims; keep it\npublic    {public}: hand it out, on a safe way\n"
    )
    sys.stdout.write(f"{told}id        {owner_key_of(public).id}\n")
    return 0


def trust(request: TrustRequest, _overrides: list[str]) -> int:
    """Makes or changes a trust store; 0."""
    store = Path(str(request.output))
    add, retire = (
        {key.id: key for key in map(signer_key_of, map(Path, some))} for some in (request.add, request.retire)
    )
    for name, (key, status) in sorted(with_signers(store, add=add, retire=retire).signers.items()):
        sys.stdout.write(f"{'trusted' if status == ACTIVE else status:<9} {name} ({key.suite.name})\n")
    return 0


def _by_id(paths: Sequence[str]) -> dict[str, SignerKey]:
    keys = [signer_key_of(Path(path)) for path in paths]
    return {key.id: key for key in keys}


if __name__ == "__main__":
    main()
