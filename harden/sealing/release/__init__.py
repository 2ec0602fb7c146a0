"""Who lets a file key go besides a key file or a passphrase. What is promised, and what is not: docs/key-release.md.

    places      how a token, a broker and its secrets are named
    places      how a token, a broker and its secrets are named: light, requests check them
    split       entry type 3: one share by HPKE to a key file, the other through a `KeyWrapper`
    pkcs11      a KeyWrapper: an AES-256 key in a token (extra `pkcs11`)
    attest      entry type 4: evidence, verdict, policy, and what binds them
    attested    type 4, both ends: the recipient, the broker, the reader
    software    an attestor without hardware, which says so
    jwe, kbs    Trustee's key broker protocol: its answers, its three steps over HTTPS
    trustee     a KeyWrapper and an identity of type 4 on top of it

Nothing else of `harden.sealing` imports this package but for `places`: it is for doors that were asked for it.
"""
