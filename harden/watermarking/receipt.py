"""What an embedding did, signed: for whoever wants to know what was written, and how loud it is."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from harden.errors import Untrusted
from harden.files import canonical_json
from harden.watermarking.claim import ALTERED, Check, Sign
from harden.watermarking.key import LABEL

FORMAT = "harden-receipt/1"


@dataclass(frozen=True)
class Receipt:
    """Numbers are texts, so that there is one spelling of each.

    weights_sha256: of the marked file; margin: the smallest of a bit; log10_p: by the type that the weights are
    stored in; accuracy: clean and robust, before and after, where measured; visibility, detectable: what a detector
    of the variance can go by, and the bound on the area under its curve.
    """

    claim_id: str
    weights_sha256: str
    marked_digest: str
    alpha: str
    margin: str
    log10_p: Mapping[str, str]
    visibility: str
    detectable: str
    accuracy: Mapping[str, str]

    @property
    def message(self) -> bytes:
        """What is signed."""
        return LABEL + b"receipt\0" + canonical_json(asdict(self))


def encode(receipt: Receipt, public: bytes, sign: Sign) -> bytes:
    """The file `receipt.json`."""
    plain = {"format": FORMAT, "receipt": asdict(receipt), "public": public.hex()}
    return canonical_json(plain | {"signature": sign(receipt.message).hex()}) + b"\n"


def parse(data: bytes, owner: str, by: Check, where: str) -> Receipt:
    """The receipt in the bytes of a file, signed by `owner`. Raises Untrusted."""
    try:
        plain: dict[str, Any] = json.loads(data)
        receipt = Receipt(**plain["receipt"])
        if plain["format"] != FORMAT or plain["receipt"].keys() != {one.name for one in fields(Receipt)}:
            raise ValueError("not a receipt")
        public, signature = bytes.fromhex(plain["public"]), bytes.fromhex(plain["signature"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Untrusted(f"{where}: is no receipt, or was altered", ALTERED) from error
    if wrong := by(owner, public, receipt.message, signature):
        raise Untrusted(f"{where}: {wrong}", ALTERED)
    return receipt
