"""What a Trustee key broker releases: a share's key (type 3, advised), or the seed of a release key (type 4).

The broker's own leg is ECDH on P-256, so an entry of type 4 is only as safe from quantum computers as the TLS around
it; an entry of type 3 keeps share 1 in HPKE to a key file, and stays safe.
"""

import base64
import logging
import os
from dataclasses import dataclass, field
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from harden.sealing.errors import Refused
from harden.sealing.provider import Provider
from harden.sealing.release.attest import NO_HARDWARE, POLICY_ID, policy_id
from harden.sealing.release.attested import suite_in
from harden.sealing.slots import RELEASE
from harden.sealing.suites import FILE_KEY, TAG

NONCE = 12
BLOB = NONCE + FILE_KEY + TAG

logger = logging.getLogger(__name__)


class Vault(Protocol):
    """What fetches secrets by name; `kbs.KeyBroker` does."""

    def fetch(self, resource: str) -> bytes:
        """The secret; Refused where the broker says no."""


@dataclass(frozen=True)
class SampleAttestor:
    """Trustee's `sample`: evidence that anybody can make."""

    tee: str = "sample"
    protection: str = NO_HARDWARE

    def evidence(self, report_data: bytes) -> dict[str, str]:
        """The digest, repeated."""
        logger.warning("attesting as Trustee's sample: %s", NO_HARDWARE)
        return {"svn": "1", "report_data": base64.b64encode(report_data).decode("ascii")}


@dataclass(frozen=True)
class ResourceWrapper:
    """A KeyWrapper under a 32-byte key that the broker keeps; fetched, with fresh evidence, at each use.

    blob = nonce 12 | AES-256-GCM(key, nonce, share, aad)
    """

    vault: Vault = field(repr=False)
    resource: str

    def wrap(self, share: bytes, aad: bytes) -> bytes:
        """The share under the broker's key, 60 bytes."""
        nonce = os.urandom(NONCE)
        return nonce + self._cipher().encrypt(nonce, share, aad)

    def unwrap(self, blob: bytes, aad: bytes) -> bytes | None:
        """The share; None where the tag is not one of this key and `aad`."""
        if len(blob) != BLOB:
            return None
        try:
            return self._cipher().decrypt(blob[:NONCE], blob[NONCE:], aad)
        except InvalidTag:
            return None

    def _cipher(self) -> AESGCM:
        return AESGCM(_fetched(self.vault, self.resource, FILE_KEY))


@dataclass(frozen=True)
class ResourceIdentity:
    """Whoever the broker gives the seed of a release key to; entries are a ReleaseRecipient's, see `policy_of`."""

    vault: Vault = field(repr=False)
    resource: str
    provider: Provider = field(repr=False)

    def unwrap(self, kind: int, blob: bytes, info: bytes) -> bytes | None:
        """The file key of an entry of type 4 for this resource; no other entry troubles the broker."""
        suite, policy = suite_in(info), policy_of(self.resource)
        if kind != RELEASE or len(blob) != POLICY_ID + suite.kem.blob or blob[:POLICY_ID] != policy:
            return None
        seed = _fetched(self.vault, self.resource, suite.kem.seed)
        return self.provider.opener(suite.kem, seed)(blob[POLICY_ID:], info + policy)


def policy_of(resource: str) -> bytes:
    """The policy id of entries for a resource: the rules themselves are the broker's."""
    return policy_id(b"trustee\0" + resource.encode())


def _fetched(vault: Vault, resource: str, size: int) -> bytes:
    found = vault.fetch(resource)
    if len(found) != size:
        raise Refused(f"the secret {resource} has {len(found)} bytes, wanted {size}")
    return found
