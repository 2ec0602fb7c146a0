"""age files (age-encryption.org/v1): the way out for which nothing of ours is needed, and the way in.

Written for post-quantum recipients only; read also for X25519, passphrases and armor. Framing is ours, every primitive
is pyca/cryptography's. The specification is c2sp.org/age (age.md, C2SP 037e546).
"""

from harden.sealing.age.classical import Passphrase, X25519Identity
from harden.sealing.age.faults import BadArmor, BadHeader, BadMac, BadPayload, NoMatch, NotAge
from harden.sealing.age.hybrid import HybridIdentity, HybridRecipient
from harden.sealing.age.paths import LOST_ON_EXPORT, Imported, export_age, exporting, import_age, importing
from harden.sealing.age.reader import AgeReader, decrypt
from harden.sealing.age.spelling import Identity, identities_of, identity_of, recipient_of
from harden.sealing.age.writer import AgeWriter, encrypt

__all__ = [
    "LOST_ON_EXPORT",
    "AgeReader",
    "AgeWriter",
    "BadArmor",
    "BadHeader",
    "BadMac",
    "BadPayload",
    "HybridIdentity",
    "HybridRecipient",
    "Identity",
    "Imported",
    "NoMatch",
    "NotAge",
    "Passphrase",
    "X25519Identity",
    "decrypt",
    "encrypt",
    "export_age",
    "exporting",
    "identities_of",
    "identity_of",
    "import_age",
    "importing",
    "recipient_of",
]
