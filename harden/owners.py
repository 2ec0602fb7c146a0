"""Owners and their claims on disk: where the keys of sealing and the marks of watermarking meet."""

import json
import secrets
from dataclasses import dataclass, field, replace
from hashlib import sha3_256
from pathlib import Path
from typing import Any

from harden.errors import HardenError, Untrusted
from harden.sealing import Provider, Signer, SignerKey, owner_from, owner_key_of
from harden.sealing.publish import PRIVATE, naming, write_new
from harden.sealing.signing import failing
from harden.sealing.suites import HYBRID
from harden.unlocking import Desk
from harden.watermarking import Claim, Mark, WatermarkKey, draw
from harden.watermarking import claim as claims
from harden.watermarking.claim import CONTEXT, Check

WEIGHTS, CLAIM, RECEIPT, SIDECAR, BOOK = (
    *("weights.safetensors", "claim.json", "receipt.json", "weights.sidecar", "book.json"),
)
"""What a folder with marked weights holds. Sidecar and book are the owner's alone."""

LONGEST = 1 << 26
"""Bytes of the longest claim, receipt or leaf that is read."""


@dataclass(frozen=True)
class Owner:
    """Who marks: what signs, and the secret that marks come from."""

    signer: Signer
    key: WatermarkKey = field(repr=False)

    @property
    def id(self) -> str:
        """The signer's id, in hex."""
        return self.signer.key.id

    @property
    def public(self) -> bytes:
        """The public keys of all schemes."""
        return self.signer.key.public

    def sign(self, message: bytes) -> bytes:
        """Both signatures, in the context of marks."""
        return self.signer.sign(message, CONTEXT)

    def mark(self, claim: Claim) -> Mark:
        """The mark of a claim of this owner's. Raises Untrusted for another's."""
        if claim.body.owner != self.id:
            raise Untrusted(f"the claim is that of owner {claim.body.owner}, the key that of {self.id}")
        return draw(self.key, claim)


def owner_at(path: str, desk: Desk) -> Owner:
    """The owner in a .key file; raises as keys do."""
    signer, secret = owner_from(Path(path), desk.ask, desk.provider)
    return Owner(signer, WatermarkKey(secret))


def public_at(path: str, desk: Desk) -> str:
    """The id of the owner in a .pub or a .key file."""
    found = Path(path)
    return owner_at(path, desk).id if found.suffix == ".key" else owner_key_of(found).id


def checker(by: Provider) -> Check:
    """What checks a signature of an owner: that the public keys are the owner's, and that every half verifies."""

    def check(owner: str, public: bytes, message: bytes, signature: bytes) -> str:
        key = SignerKey(HYBRID, public)
        if key.id != owner:
            return f"its public keys are not those of its owner, {owner}"
        try:
            wrong = failing(key, message, signature, by, CONTEXT)
        except ValueError as error:
            return f"its signature is not whole: {error}"
        return f"the signature does not verify: {' and '.join(wrong)}" if wrong else ""

    return check


def claim_at(path: Path, by: Provider) -> Claim:
    """The claim in a file, its signature checked. Raises Untrusted."""
    claim = claims.parse(read_small(path), str(path))
    claims.check(claim, checker(by), str(path))
    return claim


def read_small(path: Path) -> bytes:
    """The bytes of a claim, a receipt or a leaf."""
    with naming(path), path.open("rb") as file:
        data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise HardenError(f"{path}: is larger than any claim")
    return data


@dataclass(frozen=True)
class Book:
    """What an owner keeps beside a claim: whose copy it is, with the salt, and which leaves were shown."""

    claim_id: str
    recipient: str = ""
    salt: str = ""
    shown: tuple[int, ...] = ()

    @property
    def digest(self) -> str:
        """What the claim says of the recipient; "" where there is none."""
        return recipient_digest(self.salt, self.recipient) if self.recipient else ""

    def write(self, path: Path) -> None:
        """Writes the book, mode 0600, over an older one."""
        plain = {"claim_id": self.claim_id, "recipient": self.recipient, "salt": self.salt, "shown": list(self.shown)}
        write_new(path, json.dumps(plain, sort_keys=True).encode() + b"\n", mode=PRIVATE, overwrite=True)

    def with_shown(self, leaf: int) -> "Book":
        """The book once the leaf was shown."""
        return replace(self, shown=tuple(sorted({*self.shown, leaf})))


def book_beside(claim_path: Path, claim: Claim) -> Book:
    """The book in the folder of a claim; an empty one where there is none, or where it is another claim's."""
    try:
        plain: dict[str, Any] = json.loads((claim_path.parent / BOOK).read_bytes())
        book = Book(plain["claim_id"], plain["recipient"], plain["salt"], tuple(map(int, plain["shown"])))
    except FileNotFoundError:
        return Book(claim.id)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HardenError(f"{claim_path.parent / BOOK}: cannot be read: {error}") from error
    return book if book.claim_id == claim.id else Book(claim.id)


def fresh_salt() -> str:
    """32 bytes in hex."""
    return secrets.token_hex(32)


def recipient_digest(salt: str, name: str) -> str:
    """What a claim says of its recipient, in hex."""
    return sha3_256(bytes.fromhex(salt) + name.encode()).hexdigest()
