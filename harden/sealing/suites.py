"""The suites: which primitives a file uses, by the number in its preamble. No negotiation, no mixing.

X-Wing: draft-connolly-cfrg-xwing-kem, HPKE id 0x647A; ML-KEM: FIPS 203; ML-DSA: FIPS 204; Ed25519: RFC 8032;
HPKE: RFC 9180 with draft-ietf-hpke-pq. The payload of every suite is Cobblestone-256 (c2sp.org/chunked-encryption).
"""

from dataclasses import dataclass

from harden.sealing.errors import UnknownVersion

FILE_KEY = 32
"""Bytes of the key that opens a file, and all that recipients get."""

TAG = 16
"""Bytes of an AES-GCM tag."""


@dataclass(frozen=True)
class Kem:
    """A key encapsulation as HPKE uses it. Sizes in bytes; `kdf` names the hash of HPKE's key schedule."""

    name: str
    hpke_id: int
    kdf: str
    seed: int
    public: int
    enc: int

    @property
    def blob(self) -> int:
        """Bytes of a wrapped file key: enc, then the AES-256-GCM ciphertext."""
        return self.enc + FILE_KEY + TAG


@dataclass(frozen=True)
class Scheme:
    """A signature scheme. Sizes in bytes; the secret is a seed."""

    name: str
    seed: int
    public: int
    signature: int


X_WING = Kem("X-Wing", 0x647A, "sha256", seed=32, public=1216, enc=1120)
ML_KEM_1024 = Kem("ML-KEM-1024", 0x0042, "sha384", seed=64, public=1568, enc=1568)
ML_DSA_65 = Scheme("ML-DSA-65", seed=32, public=1952, signature=3309)
ML_DSA_87 = Scheme("ML-DSA-87", seed=32, public=2592, signature=4627)
ED25519 = Scheme("Ed25519", seed=32, public=32, signature=64)


@dataclass(frozen=True)
class Suite:
    """A row of the table. `digest` is the hash of the hash list; a signature needs every one of `schemes`."""

    number: int
    name: str
    kem: Kem
    digest: str
    schemes: tuple[Scheme, ...]

    @property
    def digest_size(self) -> int:
        """Bytes of a leaf of the hash list."""
        return {"sha256": 32, "sha384": 48}[self.digest]

    @property
    def signature(self) -> int:
        """Bytes of all signatures together."""
        return sum(scheme.signature for scheme in self.schemes)

    @property
    def signer_public(self) -> int:
        """Bytes of a signer's public keys."""
        return sum(scheme.public for scheme in self.schemes)

    @property
    def signer_seed(self) -> int:
        """Bytes of a signer's seeds."""
        return sum(scheme.seed for scheme in self.schemes)


HYBRID = Suite(0x0001, "hybrid", X_WING, "sha256", (ML_DSA_65, ED25519))
CNSA = Suite(0x0002, "cnsa", ML_KEM_1024, "sha384", (ML_DSA_87,))

SUITES = {suite.number: suite for suite in (HYBRID, CNSA)}
NAMES = {suite.name: suite for suite in SUITES.values()}


def suite_of(number: int, where: str) -> Suite:
    """The suite with this number; UnknownVersion, naming `where`, if there is none."""
    if number not in SUITES:
        known = ", ".join(f"{one:#06x} ({suite.name})" for one, suite in SUITES.items())
        raise UnknownVersion(f"{where}: suite {number:#06x} is unknown; known: {known}", "a later harden may read it")
    return SUITES[number]


def hint_of(name: str) -> str:
    """What to say to somebody who writes Kyber; empty for any other name. liboqs's Kyber is round 3's, not FIPS 203."""
    if "kyber" not in name.lower():
        return ""
    return "Kyber became ML-KEM (FIPS 203): suite=hybrid has ML-KEM-768 with X25519, suite=cnsa ML-KEM-1024"
