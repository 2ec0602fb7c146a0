"""Sealed weights: hybrid post-quantum encryption and signatures around one file. Format: docs/sealed-format.md.

A 32-byte file key, wrapped for each recipient by HPKE (X-Wing: ML-KEM-768 and X25519), opens a payload of
AES-256-GCM chunks (Cobblestone-256); a hash list over the ciphertext is signed with ML-DSA-65 and Ed25519.

    suites, layout, core, slots, payload, leaves, signing     the format, a part a file
    ciphertext                the payload's bytes, none of which is used before its leaf was checked
    derive                    every label, and what is derived under it
    sealer, writing           seal a file or bytes
    rewrapping, rotating      change who can open it
    heads, opening            reading and believing, in the one order that is safe
    unsealing, mapping        to a file, to memory, or a tensor at a time
    checking                  inspect and verify, without a secret
    keyfiles, passphrase, trust     .key and .pub files; Argon2id; whom to believe, and which epoch was seen
    provider, pyca, liboqs    the library behind it all; liboqs_detect and bare_kem serve the second one
    publish, memory           whole files or none; where plaintext lies
    provenance                signed manifests beside sealed files, and the chain of rounds
    release, age              tokens and key brokers; age files; nothing here imports them
    request, request_keys, request_files     what the doors are asked for
    canonical, tensors        the JSON that has one spelling; where tensors lie in safetensors

Seams. A second library is an `Engine` (provider). Who opens a file is an `Identity`, whom it is sealed for a
`Recipient` (identity): key pairs and passphrases are here, tokens (entry type 3) and attested release (type 4) are
more of the same. Whom to believe is a `Trust` (trust).

Every door's request imports this package, few doors seal: the names below are imported when they are asked for, and
`cryptography` with them.
"""

import importlib
from typing import TYPE_CHECKING

from harden.sealing.provider import Engine, Provider, provider  # light, and called as its module is

if TYPE_CHECKING:
    from harden.sealing.checking import Report, inspect, verify
    from harden.sealing.core import Core, Facts
    from harden.sealing.identity import Identity, PassphraseIdentity, PassphraseRecipient, Recipient
    from harden.sealing.keyfiles import identity_of, recipient_of, signer_from, signer_key_of
    from harden.sealing.mapping import SealedTensors, Tensor, open_sealed
    from harden.sealing.rewrapping import Change, rewrap
    from harden.sealing.rotating import rotate
    from harden.sealing.sealer import Sealed, seal_bytes, seal_file
    from harden.sealing.signing import Signer, SignerKey
    from harden.sealing.trust import Trust, TrustStore, trust_of
    from harden.sealing.unsealing import unseal_bytes, unseal_file
else:
    _HOMES = {
        "checking": ("Report", "inspect", "verify"),
        "core": ("Core", "Facts"),
        "identity": ("Identity", "PassphraseIdentity", "PassphraseRecipient", "Recipient"),
        "keyfiles": ("identity_of", "recipient_of", "signer_from", "signer_key_of"),
        "mapping": ("SealedTensors", "Tensor", "open_sealed"),
        "rewrapping": ("Change", "rewrap"),
        "rotating": ("rotate",),
        "sealer": ("Sealed", "seal_bytes", "seal_file"),
        "signing": ("Signer", "SignerKey"),
        "trust": ("Trust", "TrustStore", "trust_of"),
        "unsealing": ("unseal_bytes", "unseal_file"),
    }

    def __getattr__(name):
        """What `name` is called in the file that has it; asked once, then the package has it itself."""
        home = next((home for home, names in _HOMES.items() if name in names), None)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(importlib.import_module(f"{__name__}.{home}"), name)
        return found

    def __dir__():
        return sorted({*globals(), *__all__})


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
