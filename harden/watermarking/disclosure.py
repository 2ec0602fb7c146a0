"""One leaf of a claim's keys, shown to a third party, who can verify with it alone; the others stay secret.

Whoever has seen a leaf can take its part of the mark away, so a leaf is shown once and left out from then on.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha3_256
from typing import Any

from harden.errors import ConfigError, Untrusted
from harden.files import canonical_json
from harden.watermarking import claim as claims
from harden.watermarking.claim import ALTERED, Claim, keys_of
from harden.watermarking.key import SECRET, WatermarkKey
from harden.watermarking.mark import Mark
from harden.watermarking.merkle import climbed, path_to

FORMAT = "harden-leaf/1"


@dataclass(frozen=True)
class Disclosure:
    """A claim, the key of one of its leaves with the way up to the root, and the key of the slots."""

    claim: Claim
    number: int
    key: bytes = field(repr=False)
    slots: bytes = field(repr=False)
    path: tuple[bytes, ...] = field(repr=False)

    def encode(self) -> bytes:
        """The file `leaf.json`."""
        plain = {
            "format": FORMAT,
            "claim": self.claim.encode().decode(),
            "number": self.number,
            "key": self.key.hex(),
            "slots": self.slots.hex(),
            "path": [one.hex() for one in self.path],
        }
        return canonical_json(plain) + b"\n"

    @property
    def mark(self) -> Mark:
        """The part of the mark that the leaf shows."""
        body = self.claim.body
        return Mark(self.claim.layout, body.payload, {self.number: self.key}, self.slots, body.leaves)


def disclose(key: WatermarkKey, claim: Claim, number: int) -> Disclosure:
    """The leaf `number` of the claim. Raises ConfigError where there is no such leaf, Untrusted for another's claim."""
    if not 0 <= number < claim.body.leaves:
        raise ConfigError(f"leaf must be 0 to {claim.body.leaves - 1}, got {number}")
    claims.draw(key, claim)  # the key must be the one that the claim was made with
    keys = keys_of(claim.body, key)
    return Disclosure(claim, number, keys.leaf[number], keys.slots, tuple(path_to(keys.leaf, number)))


def parse(data: bytes, where: str, accept: Callable[[Claim], None]) -> Disclosure:
    """The disclosure in the bytes of `leaf.json`, whose leaf is one of the claim's root; `accept` checks the claim.

    Raises Untrusted.
    """
    try:
        plain: dict[str, Any] = json.loads(data)
        if plain["format"] != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        claim = claims.parse(plain["claim"].encode(), where)
        key, slots = bytes.fromhex(plain["key"]), bytes.fromhex(plain["slots"])
        path, number = tuple(bytes.fromhex(one) for one in plain["path"]), plain["number"]
        if type(number) is not int or len(key) != SECRET or len(slots) != SECRET:
            raise ValueError("its keys have wrong lengths")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Untrusted(f"{where}: shows no leaf, or was altered: {error}", ALTERED) from error
    accept(claim)
    leaves = claim.body.leaves
    grown = 0 <= number < leaves and 2 ** len(path) == leaves and climbed(number, key, path).hex() == claim.root
    if not grown or sha3_256(slots).hexdigest() != claim.slots:
        raise Untrusted(f"{where}: the leaf is not one of the claim's", ALTERED)
    return Disclosure(claim, number, key, slots, path)
