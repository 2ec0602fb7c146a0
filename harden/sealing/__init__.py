"""Sealed weights: hybrid post-quantum encryption and signatures around one file. Format: docs/sealed-format.md.

A 32-byte file key, wrapped for each recipient by HPKE (X-Wing: ML-KEM-768 and X25519), opens a payload of
AES-256-GCM chunks (Cobblestone-256); a hash list over the ciphertext is signed with ML-DSA-65 and Ed25519.

    suites, layout, core, slots, payload, leaves, signing     the format, a part a file
    derive                    every label, and what is derived under it
    sealer, writing           seal a file or bytes; rewrap and rotate change who can open it
    heads, opening            reading and believing, in the one order that is safe
    unsealing, mapping        to a file, to memory, or a tensor at a time
    checking                  inspect and verify, without a secret
    keyfiles, passphrase, trust     .key and .pub files; Argon2id; whom to believe, and which epoch was seen
    provider, pyca, liboqs    the library behind it all; liboqs_detect and bare_kem serve the second one
    publish, memory           whole files or none; where plaintext lies
    provenance                signed manifests beside sealed files, and the chain of rounds
    canonical, tensors        the JSON that has one spelling; where tensors lie in safetensors

Seams. A second library is an `Engine` (provider). Who opens a file is an `Identity`, whom it is sealed for a
`Recipient` (identity): key pairs and passphrases are here, tokens (entry type 3) and attested release (type 4) are
more of the same. Whom to believe is a `Trust` (trust).
"""

from harden.sealing.checking import Report, inspect, verify
from harden.sealing.core import Core, Facts
from harden.sealing.identity import Identity, PassphraseIdentity, PassphraseRecipient, Recipient
from harden.sealing.keyfiles import identity_of, owner_from, owner_key_of, recipient_of, signer_from, signer_key_of
from harden.sealing.mapping import SealedTensors, Tensor, open_sealed
from harden.sealing.provider import Engine, Provider, provider
from harden.sealing.rewrap import Change, rewrap
from harden.sealing.rotate import rotate
from harden.sealing.sealer import Sealed, seal_bytes, seal_file
from harden.sealing.signing import Signer, SignerKey
from harden.sealing.trust import Trust, TrustStore, trust_of
from harden.sealing.unsealing import unseal_bytes, unseal_file

__all__ = [
    "Change",
    "Core",
    "Engine",
    "Facts",
    "Identity",
    "PassphraseIdentity",
    "PassphraseRecipient",
    "Provider",
    "Recipient",
    "Report",
    "Sealed",
    "SealedTensors",
    "Signer",
    "SignerKey",
    "Tensor",
    "Trust",
    "TrustStore",
    "identity_of",
    "inspect",
    "open_sealed",
    "owner_from",
    "owner_key_of",
    "provider",
    "recipient_of",
    "rewrap",
    "rotate",
    "seal_bytes",
    "seal_file",
    "signer_from",
    "signer_key_of",
    "trust_of",
    "unseal_bytes",
    "unseal_file",
    "verify",
]
