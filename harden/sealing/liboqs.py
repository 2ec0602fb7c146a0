"""The second engine: ML-KEM and ML-DSA from liboqs by way of liboqs-python 0.16; the bytes are those of `pyca`.

For comparing two implementations, and on request (`sealing.provider=oqs`); liboqs itself advises against relying on
it (README, read). X25519, Ed25519, AES-GCM and HKDF stay with `cryptography`, for liboqs has none of them.

The wrapper copies what it is given into buffers of fixed size, so that short input becomes zero-padded input (26
Wycheproof cases that must be refused pass, measured): `Provider` checks lengths in front of this module, `exact`
before each call of the wrapper, and behind it. HPKE and X-Wing around the bare KEM: `bare_kem`.

liboqs makes ML-DSA keys from its own random bytes only. FIPS 204's seed is the one draw of 32 bytes that a key pair
takes, so the seed is handed out as that draw; `engine` proves by known keys that the library at hand does this.
"""

import ctypes
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from harden.sealing import liboqs_detect, pyca
from harden.sealing.bare_kem import (
    SHARED,
    LowOrder,
    combined,
    curve_key,
    exact,
    exchange,
    expanded,
    lattice_enc,
    lattice_public,
    schedule,
)
from harden.sealing.provider import Engine, Opener, Signing
from harden.sealing.suites import ED25519, ML_DSA_65, ML_DSA_87, ML_KEM_1024, X_WING, Kem, Scheme

LATTICE = {X_WING.name: "ML-KEM-768", ML_KEM_1024.name: "ML-KEM-1024"}
"""A KEM -> the mechanism in it. "Kyber768" of liboqs is round 3 of the contest, which is another algorithm."""
KEMS, SIGNATURES = (X_WING, ML_KEM_1024), (ML_DSA_65, ML_DSA_87)
CONTEXT = 255
"""Most bytes of an ML-DSA context (FIPS 204)."""


@cache
def engine() -> Engine:
    """The engine; MissingExtra where package or library are not here, or not what they should be."""
    found = liboqs_detect.find()
    built = Liboqs(_wrapper(found))
    _compare(built, pyca.engine())
    return built


def _wrapper(found: liboqs_detect.Found) -> Any:
    """The package `oqs`, imported so that it can start nothing; what it loaded is what was checked."""
    try:
        with liboqs_detect.supervised():
            import oqs
        loaded, version = Path(oqs.native()._name), oqs.oqs_version()
        mechanisms = {*oqs.get_enabled_kem_mechanisms(), *oqs.get_enabled_sig_mechanisms()}
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit, and what the supervision raises
        raise liboqs_detect.missing(f"liboqs-python cannot be imported: {type(error).__name__} {error}") from None
    if loaded != found.library:
        raise liboqs_detect.missing(f"oqs has loaded {loaded} (liboqs {version}), not {found.library}")
    lacking = {*LATTICE.values(), ML_DSA_65.name, ML_DSA_87.name} - mechanisms
    if lacking:
        raise liboqs_detect.missing(f"{loaded} was built without {', '.join(sorted(lacking))}")
    return oqs


def _compare(ours: Engine, other: Engine) -> None:
    """Raise unless both make the same public keys of a seed: liboqs has to take it for what FIPS 203 and 204 mean."""
    same_kem = all(
        ours.public_of_kem(kem, bytes(kem.seed)) == other.public_of_kem(kem, bytes(kem.seed)) for kem in KEMS
    )
    seed = bytes(32)
    if not same_kem or any(ours.public_of_scheme(s, seed) != other.public_of_scheme(s, seed) for s in SIGNATURES):
        raise liboqs_detect.missing("this liboqs makes other keys of a seed than FIPS 203 and FIPS 204 say")


class Liboqs:
    """ML-KEM and ML-DSA (hedged) by the module `oqs`; the rest by `cryptography`."""

    def __init__(self, oqs: Any) -> None:
        self._oqs, self._pyca = oqs, pyca.engine()

    def public_of_kem(self, kem: Kem, seed: bytes) -> bytes:
        lattice, curve = expanded(kem, seed)
        return self._kem_pair(kem, lattice).public + (curve_key(curve) if curve else b"")

    def public_of_scheme(self, scheme: Scheme, seed: bytes) -> bytes:
        return self._pyca.public_of_scheme(scheme, seed) if scheme == ED25519 else self._sig_pair(scheme, seed).public

    def wrap(self, kem: Kem, public: bytes, file_key: bytes, info: bytes) -> bytes | None:
        try:
            enc, shared = self._encapsulated(kem, exact(public, kem.public))
        except (RuntimeError, LowOrder):  # RuntimeError is liboqs's word for a coefficient >= q
            return None
        key, nonce = schedule(kem, shared, info)
        return enc + AESGCM(key).encrypt(nonce, file_key, b"")

    def opener(self, kem: Kem, seed: bytes) -> Opener:
        lattice, curve = expanded(kem, seed)
        pair = self._kem_pair(kem, lattice)

        def unwrap(blob: bytes, info: bytes) -> bytes | None:
            enc = exact(blob, kem.blob)[: kem.enc]
            try:
                key, nonce = schedule(kem, _shared(kem, pair, enc, curve), info)
                return AESGCM(key).decrypt(nonce, blob[kem.enc :], b"")
            except (InvalidTag, RuntimeError, LowOrder):
                return None

        return unwrap

    def signing(self, scheme: Scheme, seed: bytes) -> Signing:
        if scheme == ED25519:
            return self._pyca.signing(scheme, seed)
        pair = self._sig_pair(scheme, seed)

        def sign(message: bytes, context: bytes) -> bytes:
            if len(context) > CONTEXT:
                raise ValueError(f"a context has at most {CONTEXT} bytes, got {len(context)}")
            return exact(pair.secret.sign_with_ctx_str(bytes(message), bytes(context)), scheme.signature)

        return sign

    def verifies(self, scheme: Scheme, public: bytes, message: bytes, signature: bytes, context: bytes) -> bool:
        if scheme == ED25519:
            return self._pyca.verifies(scheme, public, message, signature, context)
        if len(context) > CONTEXT:
            return False
        signature, public = exact(signature, scheme.signature), exact(public, scheme.public)
        with self._oqs.Signature(scheme.name) as verifier:
            return bool(verifier.verify_with_ctx_str(bytes(message), signature, bytes(context), public))

    def _kem_pair(self, kem: Kem, seed: bytes) -> "_Pair":
        secret = self._oqs.KeyEncapsulation(LATTICE[kem.name])
        return _Pair(secret, exact(secret.generate_keypair_seed(exact(seed, 64)), lattice_public(kem)))

    def _sig_pair(self, scheme: Scheme, seed: bytes) -> "_Pair":
        secret = self._oqs.Signature(scheme.name)
        with _drawing(self._oqs.native(), exact(seed, scheme.seed)):
            public = exact(secret.generate_keypair(), scheme.public)
        return _Pair(secret, public)

    def _encapsulated(self, kem: Kem, public: bytes) -> tuple[bytes, bytes]:
        """enc and the secret. RuntimeError or LowOrder for a key that is none."""
        size = lattice_public(kem)
        with self._oqs.KeyEncapsulation(LATTICE[kem.name]) as lattice:
            enc, shared = lattice.encap_secret(exact(public[:size], size))
        exact(shared, SHARED)
        if kem != X_WING:
            return exact(enc, kem.enc), shared
        ephemeral = X25519PrivateKey.generate()
        point = ephemeral.public_key().public_bytes_raw()
        curve = exchange(ephemeral, public[size:])
        return exact(enc + point, kem.enc), combined(shared, curve, point, public[size:])


@dataclass(eq=False)
class _Pair:
    """A key pair inside liboqs, wiped and freed when nobody needs it any more."""

    secret: Any = field(repr=False)
    public: bytes

    def __post_init__(self) -> None:
        weakref.finalize(self, self.secret.free)


def _shared(kem: Kem, pair: _Pair, enc: bytes, curve: bytes) -> bytes:
    """The secret in `enc`; `curve` is X25519's private key, empty without X25519."""
    size = lattice_enc(kem)
    lattice, point = _decapsulated(pair, enc[:size], size), enc[size:]
    if kem != X_WING:
        return lattice
    return combined(lattice, exchange(X25519PrivateKey.from_private_bytes(curve), point), point, curve_key(curve))


def _decapsulated(pair: _Pair, enc: bytes, size: int) -> bytes:
    return exact(pair.secret.decap_secret(exact(enc, size)), SHARED)


_one_at_a_time = threading.Lock()
_Random = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_size_t)


@contextmanager
def _drawing(native: Any, seed: bytes) -> Iterator[None]:
    """Inside, this thread's one draw of random bytes from liboqs is the seed; other threads draw the system's."""
    owner, asked = threading.get_ident(), list[int]()

    def draw(target: int, length: int) -> None:
        mine = threading.get_ident() == owner
        data = seed if mine and not asked and length == len(seed) else os.urandom(length)
        if mine:
            asked.append(length)
        ctypes.memmove(target, data, length)

    callback = _Random(draw)
    with _one_at_a_time:
        native.OQS_randombytes_custom_algorithm(callback)
        try:
            yield
        finally:
            native.OQS_randombytes_switch_algorithm(b"system")
    if asked != [len(seed)]:
        raise RuntimeError(f"liboqs drew {asked} random bytes for a key pair, not once {len(seed)}")
