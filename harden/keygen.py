"""Make keys: `python -m harden.keygen action=recipient output=alice` makes alice.key and alice.pub.

`action=signer output=acme` makes a signer's; `action=trust output=trust.json add=[acme.pub]` a trust store;
`action=token token='pkcs11:...'` a key in a PKCS#11 token. A passphrase or PIN is asked for on the terminal, or read
from `passphrase_fd=N`; `protect=none` leaves the secret bare.
"""

import sys
from pathlib import Path
from typing import NoReturn

from harden import door
from harden.asking import asker
from harden.pairs import fresh_pair
from harden.sealing.keyfiles import RECIPIENT, SIGNER, signer_key_of
from harden.sealing.memory import forbid_dumps
from harden.sealing.release.pkcs11 import make_key
from harden.sealing.release.places import place_of
from harden.sealing.request_keys import KeygenRequest, RecipientRequest, SignerRequest, TokenRequest, TrustRequest
from harden.sealing.trust import ACTIVE, with_signers


def main() -> NoReturn:
    """Runs the command line."""
    actions: door.Actions = {
        "recipient": (RecipientRequest, recipient),
        "signer": (SignerRequest, signer),
        "trust": (TrustRequest, trust),
        "token": (TokenRequest, token),
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


def trust(request: TrustRequest, _overrides: list[str]) -> int:
    """Makes or changes a trust store; 0."""
    store = Path(str(request.output))
    add, retire = (
        {key.id: key for key in map(signer_key_of, map(Path, some))} for some in (request.add, request.retire)
    )
    for name, (key, status) in sorted(with_signers(store, add=add, retire=retire).signers.items()):
        sys.stdout.write(f"{'trusted' if status == ACTIVE else status:<9} {name} ({key.suite.name})\n")
    return 0


def token(request: TokenRequest, _overrides: list[str]) -> int:
    """Makes a key in a PKCS#11 token; 0."""
    forbid_dumps()
    place = place_of(str(request.token))
    make_key(place, asker(request.passphrase_fd))
    sys.stdout.write(f"made      {place.key} in token {place.token}: AES-256, it cannot leave; seal with token=...\n")
    return 0


if __name__ == "__main__":
    main()
